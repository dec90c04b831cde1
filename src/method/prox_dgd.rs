//! Prox-DGD: `x⁺ = prox_{αr}(Wx − α∇(x))`. Biased: it stalls at a distance O(α/(1−ρ)); stable for `α ≤ (1 + λ_min(W))/L`.

use super::{About, Method, PUBLISHED, Scale, Setting, prox_rows, run, step_and_mixing, step_or};
use crate::algorithm::{Algorithm, AlgorithmError, Process};
use crate::field::Field;
use crate::graph::{Mixing, MixingKind};
use crate::network::Network;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// Decentralized proximal gradient descent.
pub struct ProxDgd {
    step: f64,
    weights: Vec<f64>,
}

impl ProxDgd {
    /// `weights`: the off-diagonal `w_ij` of `W` for every edge.
    pub fn new(step: f64, weights: &[f64]) -> Self {
        Self {
            step,
            weights: weights.to_vec(),
        }
    }
}

/// The iterate and scratch space.
pub struct State {
    x: Field,
    g: Field,
    mixed: Field,
}

impl Algorithm for ProxDgd {
    type State = State;

    fn init(&self, problem: &Problem, _: &mut Network) -> State {
        let field = || Field::zeros(problem.agents(), problem.dimension());
        let mut x = field();
        prox_rows(problem, self.step, &field(), &mut x);
        State {
            x,
            g: field(),
            mixed: field(),
        }
    }

    fn step(&self, s: &mut State, problem: &Problem, network: &mut Network) {
        problem.gradients(&s.x, &mut s.g);
        network.disagreement(&self.weights, &s.x, &mut s.mixed);
        // mixed = Wx − α∇, with Wx = x − (I − W)x
        s.mixed.values_mut().iter_mut().for_each(|m| *m = -*m);
        s.mixed.add_scaled(1.0, &s.x);
        s.mixed.add_scaled(-self.step, &s.g);
        prox_rows(problem, self.step, &s.mixed, &mut s.x);
    }

    fn iterate<'s>(&self, s: &'s State) -> &'s Field {
        &s.x
    }
}

/// Decentralized proximal gradient descent (biased).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `α`
    pub step: Option<f64>,
    /// `W`
    pub mixing: MixingKind,
}

impl Method for Options {
    fn name(&self) -> &'static str {
        "ProxDgd"
    }

    fn about(&self) -> About {
        About {
            exact: false,
            ..PUBLISHED
        }
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        step_and_mixing(&mut self.step, Scale::Step, &mut self.mixing)
    }

    fn start(
        &self,
        problem: &Problem,
        network: &mut Network,
    ) -> Result<Box<dyn Process>, AlgorithmError> {
        let mixing = Mixing::new(network.graph(), self.mixing);
        // Stable up to (1 + λ_min(W))/L.
        let factor = (1.0 + mixing.spectrum(network.graph())?.lambda_min).max(0.1);
        let step = step_or(self, self.step, factor, problem)?;
        run(ProxDgd::new(step, mixing.edge_weights()), problem, network)
    }
}
