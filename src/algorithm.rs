//! Algorithms: `init`, `step`, `iterate`. Handcrafted methods ([`crate::method`]) and frozen rules ([`crate::rule`]) wear the same trait.
//! What is written in RON is [`crate::roster::AlgorithmSpec`].

use crate::field::Field;
use crate::graph::{Graph, GraphError};
use crate::network::Network;
use crate::problem::Problem;

/// The most numbers in one field of agents and edges (2 GiB of `f64`).
const MOST_NUMBERS: f64 = (1_u64 << 28) as f64;

/// Why an algorithm could not be put to work.
#[derive(Debug, thiserror::Error)]
pub enum AlgorithmError {
    /// An option outside its range.
    #[error("{algorithm}: {option} is {found}, expected {expected}")]
    Option {
        /// The algorithm's name.
        algorithm: String,
        /// The option's name in RON.
        option: &'static str,
        /// The value given.
        found: f64,
        /// The range allowed.
        expected: &'static str,
    },
    /// The mixing matrix could not be analysed.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The rule file was refused.
    #[error(transparent)]
    Rule(Box<dyn std::error::Error + Send + Sync>),
    /// The rule does not fit the problem or the graph.
    #[error("{rule}: {reason}")]
    Misfit {
        /// The rule.
        rule: String,
        /// What does not fit.
        reason: String,
    },
    /// Problem and graph disagree.
    #[error("the problem has {problem} agents, the graph {graph}")]
    Agents {
        /// Agents of the problem.
        problem: usize,
        /// Agents of the graph.
        graph: usize,
    },
}

/// What an agent has computed, at most over the agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Gradients of its `f_i`.
    pub gradients: u64,
    /// Local minimisations.
    pub solves: u64,
}

/// A decentralized algorithm. All state lies in `State`; a step reads neighbours only through the network.
pub trait Algorithm: Send + Sync {
    /// Everything that changes from step to step.
    type State: Send;

    /// The state before the first step; may exchange constants.
    fn init(&self, problem: &Problem, network: &mut Network) -> Self::State;

    /// One iteration; one gradient evaluation per agent, unless [`Self::work`] says otherwise.
    fn step(&self, state: &mut Self::State, problem: &Problem, network: &mut Network);

    /// The agents' current points, `[agents, dimension]`.
    fn iterate<'s>(&self, state: &'s Self::State) -> &'s Field;

    /// The field whose sum over agents the method keeps at zero (dual variables), where it has one.
    fn dual<'s>(&self, _state: &'s Self::State) -> Option<&'s Field> {
        None
    }

    /// What an agent has computed, where it is not a gradient an iteration.
    fn work(&self, _state: &Self::State) -> Option<Work> {
        None
    }

    /// Share of a learned step's bounds that were met so far, where the method has a safeguard.
    fn clipped(&self, _state: &Self::State) -> Option<f64> {
        None
    }

    /// Puts the method at rest at `x` (one point for all agents, length `d`) with this dual, as if it had stood there for
    /// long; `false` where the method has no such state. For audits.
    fn rest_at(&self, _state: &mut Self::State, _x: &[f64], _dual: &Field) -> bool {
        false
    }
}

/// An algorithm together with its state, ready to step.
pub trait Process: Send {
    /// One iteration.
    fn step(&mut self, problem: &Problem, network: &mut Network);
    /// The agents' current points, `[agents, dimension]`.
    fn iterate(&self) -> &Field;
    /// The field whose sum over agents is kept at zero, where there is one.
    fn dual(&self) -> Option<&Field>;
    /// See [`Algorithm::work`].
    fn work(&self) -> Option<Work>;
    /// See [`Algorithm::clipped`].
    fn clipped(&self) -> Option<f64>;
    /// See [`Algorithm::rest_at`].
    fn rest_at(&mut self, x: &[f64], dual: &Field) -> bool;
}

struct Running<A: Algorithm> {
    algorithm: A,
    state: A::State,
}

impl<A: Algorithm> Process for Running<A> {
    fn step(&mut self, problem: &Problem, network: &mut Network) {
        self.algorithm.step(&mut self.state, problem, network);
    }
    fn iterate(&self) -> &Field {
        self.algorithm.iterate(&self.state)
    }
    fn dual(&self) -> Option<&Field> {
        self.algorithm.dual(&self.state)
    }
    fn work(&self) -> Option<Work> {
        self.algorithm.work(&self.state)
    }
    fn clipped(&self) -> Option<f64> {
        self.algorithm.clipped(&self.state)
    }
    fn rest_at(&mut self, x: &[f64], dual: &Field) -> bool {
        self.algorithm.rest_at(&mut self.state, x, dual)
    }
}

/// Starts `algorithm` on `problem`.
pub fn start<A: Algorithm + 'static>(
    algorithm: A,
    problem: &Problem,
    network: &mut Network,
) -> Box<dyn Process> {
    let state = algorithm.init(problem, network);
    Box::new(Running { algorithm, state })
}

/// Whether problem and graph go together and fit the memory; `name` is for messages.
pub(crate) fn fits(name: &str, problem: &Problem, graph: &Graph) -> Result<(), AlgorithmError> {
    if problem.agents() != graph.agents() {
        return Err(AlgorithmError::Agents {
            problem: problem.agents(),
            graph: graph.agents(),
        });
    }
    // Iterates are `[agents, d]`, edge flows `[edges, d]`: refused here rather than by the allocator.
    let rows = graph.agents() + graph.edges().len();
    if rows as f64 * problem.dimension() as f64 > MOST_NUMBERS {
        return Err(AlgorithmError::Misfit {
            rule: name.into(),
            reason: format!(
                "{} agents and {} edges in dimension {} are too many; expected (agents + edges) × dimension at most {MOST_NUMBERS}",
                graph.agents(),
                graph.edges().len(),
                problem.dimension()
            ),
        });
    }
    Ok(())
}
