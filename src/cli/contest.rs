//! What `eval` and `bench` share: the test problems, and who meets on them.

use super::stop;
use rayon::prelude::*;
use starling::algorithm::AlgorithmError;
use starling::algorithm::Process;
use starling::graph::Graph;
use starling::network::Network;
use starling::problem::{Optimum, Problem, ProblemSpec, Role, optimum};
use starling::roster::AlgorithmSpec;
use starling::rule::FrozenRule;
use starling::rule::frozen::start_frozen;
use starling::simulate::run::{COARSE, gap_certificate};
use starling::simulate::tuning::{Certified, Tuned};
use starling::simulate::{Options, Trace, simulate};
use std::path::Path;

/// The test problems with their certified optima, which are cached.
pub fn test_problems(
    spec: &ProblemSpec,
    graph: &Graph,
    trials: u64,
    seed: u64,
) -> anyhow::Result<Vec<Certified>> {
    (0..trials)
        .into_par_iter()
        .map(|trial| {
            anyhow::ensure!(
                !stop::requested(),
                "stopped while the test problems were solved"
            );
            // A data set has one test problem; further trials split its rows anew.
            let (seed, trial) = if spec.is_data() {
                (seed.wrapping_add(trial), 0)
            } else {
                (seed, trial)
            };
            let problem = spec.sample(graph.agents(), seed, Role::Test, trial)?;
            let best = optimum::solve_cached(&problem, optimum::cache_dir().as_deref())?;
            warn_where_useless(&problem, &best);
            Ok((problem, best))
        })
        .collect()
}

/// Warns where `F*` is known so coarsely that no run can be said to converge; the certificate of gaps.
pub fn warn_where_useless(problem: &Problem, best: &Optimum) -> f64 {
    let certificate = gap_certificate(problem, best);
    if certificate > COARSE {
        tracing::warn!(
            "{}: F* is known only to a gap of {certificate:.1e}: no run can be said to converge, and targets below that count as \
             missed; standardised columns or a regularizer help",
            problem.name()
        );
    }
    certificate
}

/// A rule, or a handcrafted method with what it was tuned to.
#[derive(Clone)]
pub struct Contestant {
    pub name: String,
    pub method: AlgorithmSpec,
    pub rule: Option<FrozenRule>,
    pub tuned: Option<Tuned>,
}

impl Contestant {
    /// The rule in a file.
    pub fn learned(path: &Path) -> anyhow::Result<Self> {
        let method = AlgorithmSpec::Rule(path.into());
        Ok(Self {
            name: method.name(),
            rule: Some(FrozenRule::read(path)?),
            tuned: None,
            method,
        })
    }

    /// A method, tuned or with its step from theory.
    pub fn handcrafted(method: AlgorithmSpec, tuned: Option<Tuned>) -> Self {
        Self {
            name: method.name(),
            rule: None,
            tuned,
            method,
        }
    }

    /// As it runs on `problem`.
    pub fn at(&self, problem: &Problem) -> AlgorithmSpec {
        match &self.tuned {
            Some(tuned) => tuned.at(problem),
            None => self.method.clone(),
        }
    }

    /// Warns where `problem` lies outside what the rule was trained on.
    pub fn warn_outside_envelope(&self, problem: &Problem) {
        for note in self.outside_envelope(problem) {
            tracing::warn!("{}: outside the trained envelope: {note}", self.name);
        }
    }

    /// What of `problem` lies outside what the rule was trained on, in words.
    pub fn outside_envelope(&self, problem: &Problem) -> Vec<String> {
        self.rule.as_ref().map_or(Vec::new(), |rule| {
            rule.outside_envelope(problem.agents(), problem.dimension())
        })
    }

    /// At the start of `problem`.
    pub fn start(
        &self,
        problem: &Problem,
        network: &mut Network,
    ) -> Result<Box<dyn Process>, AlgorithmError> {
        match &self.rule {
            Some(rule) => start_frozen(&self.name, rule.structure.clone(), problem, network),
            None => self.at(problem).start(problem, network),
        }
    }

    /// One run on one test problem, until it ends or the user stops it.
    pub fn run(
        &self,
        (problem, best): &Certified,
        graph: &Graph,
        options: &Options,
    ) -> anyhow::Result<Trace> {
        let mut network = Network::new(graph);
        let mut process = self.start(problem, &mut network)?;
        let options = &Options {
            stop: stop::requested,
            ..options.clone()
        };
        Ok(simulate(
            process.as_mut(),
            problem,
            &mut network,
            best,
            options,
            |_| {},
        )?)
    }
}
