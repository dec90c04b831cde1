//! Algorithms: `init`, `step`, `iterate`. Handcrafted methods and frozen rules wear the same trait.
//!
//! One method per file; the file opens with its update. What is written in RON is `rule::AlgorithmSpec`.

mod abc;
mod adaptive_tracking;
mod admm;
mod chebyshev;
mod dapg;
mod diagonal_nids;
mod fast_mix;
mod local_solve;
mod nids;
mod odapg;
mod opapc;
mod prox_dgd;
mod prox_ed_momentum;
mod sonata;

pub use abc::{Abc, AbcKind};
pub use adaptive_tracking::{AdaptiveTracking, StepRule};
pub use admm::Admm;
pub use chebyshev::Chebyshev;
pub use dapg::Dapg;
pub use diagonal_nids::diagonal_steps;
pub use fast_mix::FastMix;
pub use nids::Nids;
pub use odapg::Odapg;
pub use opapc::Opapc;
pub use prox_dgd::ProxDgd;
pub use prox_ed_momentum::ProxEdMomentum;
pub use sonata::Sonata;

use crate::field::Field;
use crate::network::Network;
use crate::problem::Problem;

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

/// `out_i = prox_{step·r}(v_i)` for every agent.
pub(crate) fn prox_rows(problem: &Problem, step: f64, v: &Field, out: &mut Field) {
    let r = *problem.regularizer();
    out.for_each_row(|i, row| {
        for (o, &v) in row.iter_mut().zip(v.row(i)) {
            *o = r.prox(step, v);
        }
    });
}
