//! Gradient tracking whose agents find their own steps from the gradients that they see, without `L_i`:
//!
//! ```text
//! x⁺ = W prox_{α_i r}(x_i − α_i s_i);      s⁺ = W(s + ∇(x⁺) − ∇(x)),  s⁰ = ∇(x⁰)
//! curvature:        α_i = min( √(1 + θ_i) α_i⁻,  ‖Δx_i‖ / (2‖Δ∇f_i‖) ),   θ_i = α_i⁻/α_i⁻⁻
//! Barzilai–Borwein: α_i = ⟨Δx_i, Δ∇f_i⟩ / ‖Δ∇f_i‖²
//! ```
//!
//! The first is AdGT's step (Ghaderyan & Werner, arXiv:2504.15196, after Malitsky & Mishchenko 2020), the second that of Gao, Liu, Dai et
//! al. 2022; both papers treat `r = 0`, the prox is added here. At rest `s_i = ∇f(x*)` for all agents, so the limit is exact whatever
//! the steps. Both start at `1/L_i`. `scale` multiplies every step; 1 is the published method. Two rounds per iteration.

use super::{About, Method, PUBLISHED, Scale, Setting, positive, run, step_and_mixing};
use crate::algorithm::{Algorithm, AlgorithmError, Process};
use crate::field::{Field, dot};
use crate::graph::{Mixing, MixingKind};
use crate::network::Network;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// How an agent finds its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepRule {
    /// From the local curvature, growing slowly (AdGT).
    Curvature,
    /// The shorter Barzilai–Borwein step.
    BarzilaiBorwein,
}

/// Gradient tracking with a step of its own for every agent and iteration.
pub struct AdaptiveTracking {
    rule: StepRule,
    scale: f64,
    weights: Vec<f64>,
}

impl AdaptiveTracking {
    /// `scale` multiplies every step; `weights`: the off-diagonal `w_ij` of `W` for every edge.
    pub fn new(rule: StepRule, scale: f64, weights: &[f64]) -> Self {
        Self {
            rule,
            scale,
            weights: weights.to_vec(),
        }
    }

    /// The next step of an agent from its last two, and how its point and gradient moved.
    fn next(&self, step: f64, last: f64, moved: &[f64], turned: &[f64]) -> f64 {
        let (along, across) = (dot(moved, turned), dot(turned, turned));
        // Nothing moved, or the agent's loss is flat there: nothing is learned.
        if across == 0.0 || across.is_nan() {
            return step;
        }
        match self.rule {
            StepRule::Curvature => {
                let grown = (1.0 + step / last).sqrt() * step;
                grown.min(0.5 * (dot(moved, moved) / across).sqrt())
            }
            StepRule::BarzilaiBorwein if along > 0.0 => along / across,
            StepRule::BarzilaiBorwein => step,
        }
    }
}

/// Iterates, tracked gradient, steps and scratch space.
pub struct State {
    x: Field,
    x_last: Field,
    s: Field,
    g: Field,
    g_last: Field,
    z: Field,
    mixed: Field,
    /// `α_i` and its predecessor.
    steps: Vec<(f64, f64)>,
}

impl Algorithm for AdaptiveTracking {
    type State = State;

    fn init(&self, problem: &Problem, _: &mut Network) -> State {
        let field = || Field::zeros(problem.agents(), problem.dimension());
        let x = field();
        let mut g = field();
        problem.gradients(&x, &mut g);
        let first = |i: usize| match problem.smoothness(i) {
            0.0 => 1.0 / problem.smoothness_max(),
            l => 1.0 / l,
        };
        State {
            x_last: x.clone(),
            x,
            s: g.clone(),
            g_last: field(),
            g,
            z: field(),
            mixed: field(),
            steps: (0..problem.agents())
                .map(|i| (first(i), first(i)))
                .collect(),
        }
    }

    fn step(&self, st: &mut State, problem: &Problem, network: &mut Network) {
        let r = *problem.regularizer();
        let (x, s, steps) = (&st.x, &st.s, &st.steps);
        st.z.for_each_row(|i, z| {
            let alpha = self.scale * steps[i].0;
            for ((z, x), s) in z.iter_mut().zip(x.row(i)).zip(s.row(i)) {
                *z = r.prox(alpha, x - alpha * s);
            }
        });
        network.disagreement(&self.weights, &st.z, &mut st.mixed);
        std::mem::swap(&mut st.x, &mut st.x_last);
        st.x.copy_from(&st.z);
        st.x.add_scaled(-1.0, &st.mixed);

        std::mem::swap(&mut st.g, &mut st.g_last);
        problem.gradients(&st.x, &mut st.g);
        st.s.add_scaled(1.0, &st.g);
        st.s.add_scaled(-1.0, &st.g_last);
        network.disagreement(&self.weights, &st.s, &mut st.mixed);
        st.s.add_scaled(-1.0, &st.mixed);

        // What moved, in the places of what is not needed any more.
        st.x_last
            .values_mut()
            .iter_mut()
            .zip(st.x.values())
            .for_each(|(last, x)| *last = x - *last);
        st.g_last
            .values_mut()
            .iter_mut()
            .zip(st.g.values())
            .for_each(|(last, g)| *last = g - *last);
        for (i, (step, last)) in st.steps.iter_mut().enumerate() {
            let next = self.next(*step, *last, st.x_last.row(i), st.g_last.row(i));
            (*last, *step) = (*step, next);
        }
    }

    fn iterate<'s>(&self, s: &'s State) -> &'s Field {
        &s.x
    }
}

/// Options of a method with this rule for its steps.
macro_rules! tracking {
    ($(#[$doc:meta])* $name:ident, $rule:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            /// Multiplies every agent's own step.
            pub step: Option<f64>,
            /// `W`
            pub mixing: MixingKind,
        }

        impl Method for $name {
            fn name(&self) -> &'static str {
                stringify!($name)
            }

            fn about(&self) -> About {
                PUBLISHED
            }

            fn settings(&mut self) -> Vec<Setting<'_>> {
                step_and_mixing(&mut self.step, Scale::Own, &mut self.mixing)
            }

            fn absolute(&self, factor: f64, second: f64, _: f64, _: f64) -> (f64, f64) {
                (factor, second)
            }

            fn start(
                &self,
                problem: &Problem,
                network: &mut Network,
            ) -> Result<Box<dyn Process>, AlgorithmError> {
                let mixing = Mixing::new(network.graph(), self.mixing);
                let scale = positive(self, "step", self.step.unwrap_or(1.0))?;
                let weights = mixing.edge_weights();
                let method = AdaptiveTracking::new(StepRule::$rule, scale, weights);
                run(method, problem, network)
            }
        }
    };
}

tracking!(
    /// Gradient tracking with steps from the local curvature.
    AdGt,
    Curvature
);
tracking!(
    /// Gradient tracking with local Barzilai–Borwein steps.
    BbTracking,
    BarzilaiBorwein
);
