//! Prox-DGD: `x⁺ = prox_{αr}(Wx − α∇(x))`. Biased: it stalls at a distance O(α/(1−ρ)); stable for `α ≤ (1 + λ_min(W))/L`.

use super::{Algorithm, prox_rows};
use crate::field::Field;
use crate::network::Network;
use crate::problem::Problem;

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
