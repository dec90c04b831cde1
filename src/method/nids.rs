//! NIDS (Li, Shi, Yan, arXiv:1704.07807) with a step of its own for every agent and coordinate, `Λ = diag(α_i)`:
//!
//! `x = prox_{α_i r}(z);  z⁺ = z − x + W~(2x − x⁻ − Λ(∇(x) − ∇(x⁻)))`, `W~ = I − cΛ(I − W)`, `c = 1/(2 max_i α_i)`,
//!
//! exact for `α_i < 2/L_i`, or `Λ⁻¹ ≻ ∇²f_i/2` where coordinates differ: every coordinate has its own `c` and `W~`.
//! `W~ = (I + W)/2` only when all steps are equal: with that `W~` and unequal steps the fixed point is wrong.
//! Computed as `z⁺ = x − Λ(∇ + G)`, `G⁺ = G + c(I − W)(2x − x⁻ − ΛΔ∇)`, which is the same recursion, `Σ G_i = 0` for ever.

use super::{
    About, Method, PUBLISHED, Scale, Setting, diagonal_nids::diagonal_steps, positive, run,
    step_and_mixing,
};
use crate::algorithm::{Algorithm, AlgorithmError, Process};
use crate::field::Field;
use crate::graph::{Mixing, MixingKind};
use crate::network::Network;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// Network-independent step sizes.
pub struct Nids {
    /// `α_i`, `[agents, dimension]`
    steps: Field,
    /// `c`, `[dimension]`
    scales: Vec<f64>,
    weights: Vec<f64>,
}

impl Nids {
    /// `steps`: `α_i`, `[agents, dimension]`; `weights`: the off-diagonal `w_ij` of `W` for every edge.
    pub fn new(steps: Field, weights: &[f64]) -> Self {
        let largest = |k: usize| {
            (0..steps.rows())
                .map(|i| steps.row(i)[k])
                .fold(0.0, f64::max)
        };
        Self {
            scales: (0..steps.dimension()).map(|k| 0.5 / largest(k)).collect(),
            steps,
            weights: weights.to_vec(),
        }
    }

    fn prox(&self, problem: &Problem, v: &Field, out: &mut Field) {
        let r = *problem.regularizer();
        out.for_each_row(|i, row| {
            for ((o, &v), &alpha) in row.iter_mut().zip(v.row(i)).zip(self.steps.row(i)) {
                *o = r.prox(alpha, v);
            }
        });
    }
}

/// `x`, `∇`, their predecessors and `G`.
pub struct State {
    z: Field,
    x: Field,
    x_last: Field,
    g: Field,
    g_last: Field,
    flow: Field,
    mixed: Field,
    started: bool,
}

impl Algorithm for Nids {
    type State = State;

    fn init(&self, problem: &Problem, _: &mut Network) -> State {
        let field = || Field::zeros(problem.agents(), problem.dimension());
        let mut x = field();
        self.prox(problem, &field(), &mut x);
        State {
            z: field(),
            x,
            x_last: field(),
            g: field(),
            g_last: field(),
            flow: field(),
            mixed: field(),
            started: false,
        }
    }

    fn step(&self, s: &mut State, problem: &Problem, network: &mut Network) {
        std::mem::swap(&mut s.g, &mut s.g_last);
        problem.gradients(&s.x, &mut s.g);
        let (x, x_last, g, g_last) = (&s.x, &s.x_last, &s.g, &s.g_last);
        // The first step is z¹ = x⁰ − Λ∇(x⁰): there is no message yet.
        if s.started {
            s.z.for_each_row(|i, u| {
                let alpha = self.steps.row(i);
                let (x, x_last, g, g_last) = (x.row(i), x_last.row(i), g.row(i), g_last.row(i));
                for k in 0..u.len() {
                    u[k] = 2.0 * x[k] - x_last[k] - alpha[k] * (g[k] - g_last[k]);
                }
            });
            network.disagreement(&self.weights, &s.z, &mut s.mixed);
            let mixed = &s.mixed;
            s.flow.for_each_row(|i, flow| {
                for ((f, m), c) in flow.iter_mut().zip(mixed.row(i)).zip(&self.scales) {
                    *f += c * m;
                }
            });
        }
        s.started = true;
        let flow = &s.flow;
        s.z.for_each_row(|i, z| {
            let alpha = self.steps.row(i);
            let (x, g, flow) = (x.row(i), g.row(i), flow.row(i));
            for k in 0..z.len() {
                z[k] = x[k] - alpha[k] * (g[k] + flow[k]);
            }
        });
        std::mem::swap(&mut s.x, &mut s.x_last);
        self.prox(problem, &s.z, &mut s.x);
    }

    fn iterate<'s>(&self, s: &'s State) -> &'s Field {
        &s.x
    }

    fn dual<'s>(&self, s: &'s State) -> Option<&'s Field> {
        Some(&s.flow)
    }
}

/// NIDS; `step` multiplies `1/L_i`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `α_i L_i`
    pub step: Option<f64>,
    /// `W`
    pub mixing: MixingKind,
}

impl Method for Options {
    fn name(&self) -> &'static str {
        "Nids"
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
        let step = positive(self, "step", self.step.unwrap_or(1.0))?;
        let steps = diagonal_steps(problem, step, 0.0);
        let mixing = Mixing::new(network.graph(), self.mixing);
        run(Nids::new(steps, mixing.edge_weights()), problem, network)
    }
}
