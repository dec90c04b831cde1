//! OPAPC (Kovalev, Salim, Richtárik, arXiv:2006.11773) for smooth `F_i = f_i + r`, `Λ_K` = [`Chebyshev`]:
//!
//! ```text
//! x_g  = τx + (1−τ)x_f
//! x½   = (x − η(∇F(x_g) − μx_g + y))/(1 + ημ)
//! y⁺   = y + θΛ_K x½                                     θ = 1/(ηλ_max(Λ_K))
//! x⁺   = (x − η(∇F(x_g) − μx_g + y⁺))/(1 + ημ)
//! x_f⁺ = x_g + 2τ/(2−τ)·(x⁺ − x)
//! ```
//!
//! In theory `μ` is the strong convexity of the `F_i`, `κ` their condition, `χ` that of `Λ_K`, `τ = min{1, √(χ/κ)/2}` and
//! `η = 1/(4τL)`. At rest `x_f = x_g = x`, `∇F + y = 0` and `Λ_K x = 0`, so the limit is exact whatever `μ` is. `K` rounds.

use super::chebyshev::{Chebyshev, Scratch};
use super::{
    About, Method, PUBLISHED, Role, SCALED_MIXINGS, STEPS, Scale, Setting, chebyshev, gossip,
    matrix, number, positive, run, second,
};
use crate::algorithm::{Algorithm, AlgorithmError, Process};
use crate::field::Field;
use crate::graph::MixingKind;
use crate::network::Network;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// Optimal proximal alternating predictor-corrector.
pub struct Opapc {
    /// Step `η`.
    pub step: f64,
    /// Coupling `τ` in (0, 1].
    pub tau: f64,
    /// `μ`
    pub mu: f64,
    /// The gossip.
    pub gossip: Chebyshev,
}

/// Iterates, dual and scratch space.
pub struct State {
    x: Field,
    x_f: Field,
    x_g: Field,
    half: Field,
    y: Field,
    g: Field,
    mixed: Field,
    scratch: Scratch,
}

impl Opapc {
    /// `out = (x − η(g − μx_g + y))/(1 + ημ)`
    fn primal(&self, [x, g, x_g, y]: [&Field; 4], out: &mut Field) {
        let scale = 1.0 / (1.0 + self.step * self.mu);
        out.for_each_row(|i, out| {
            let (x, g, x_g, y) = (x.row(i), g.row(i), x_g.row(i), y.row(i));
            for k in 0..out.len() {
                out[k] = scale * (x[k] - self.step * (g[k] - self.mu * x_g[k] + y[k]));
            }
        });
    }
}

impl Algorithm for Opapc {
    type State = State;

    fn init(&self, problem: &Problem, _: &mut Network) -> State {
        let field = || Field::zeros(problem.agents(), problem.dimension());
        State {
            x: field(),
            x_f: field(),
            x_g: field(),
            half: field(),
            y: field(),
            g: field(),
            mixed: field(),
            scratch: Scratch::new(problem.agents(), problem.dimension()),
        }
    }

    fn step(&self, s: &mut State, problem: &Problem, network: &mut Network) {
        let tau = self.tau;
        let (x, x_f) = (&s.x, &s.x_f);
        s.x_g.for_each_row(|i, x_g| {
            for ((x_g, x), x_f) in x_g.iter_mut().zip(x.row(i)).zip(x_f.row(i)) {
                *x_g = tau * x + (1.0 - tau) * x_f;
            }
        });
        problem.gradients(&s.x_g, &mut s.g);
        s.g.add_scaled(problem.regularizer().l2, &s.x_g);

        self.primal([&s.x, &s.g, &s.x_g, &s.y], &mut s.half);
        self.gossip
            .disagreement(&s.half, &mut s.mixed, &mut s.scratch, network);
        s.y.add_scaled(1.0 / (self.step * self.gossip.largest()), &s.mixed);
        self.primal([&s.x, &s.g, &s.x_g, &s.y], &mut s.half);

        let ahead = 2.0 * tau / (2.0 - tau);
        s.x_f.copy_from(&s.x_g);
        s.x_f.add_scaled(ahead, &s.half);
        s.x_f.add_scaled(-ahead, &s.x);
        std::mem::swap(&mut s.x, &mut s.half);
    }

    fn iterate<'s>(&self, s: &'s State) -> &'s Field {
        &s.x
    }

    fn dual<'s>(&self, s: &'s State) -> Option<&'s Field> {
        Some(&s.y)
    }
}

const CONVEXITIES: &[f64] = &[1e-4, 4e-4, 1e-3, 4e-3, 1e-2, 4e-2, 0.1];

/// Optimal proximal alternating predictor-corrector; for smooth problems only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `η`
    pub step: Option<f64>,
    /// `μ`
    pub mu: Option<f64>,
    /// Rounds of the gossip.
    pub mixings: Option<usize>,
    /// `W`
    pub mixing: MixingKind,
}

impl Method for Options {
    fn name(&self) -> &'static str {
        "Opapc"
    }

    fn about(&self) -> About {
        About {
            any_regularizer: false,
            ..PUBLISHED
        }
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        vec![
            number("step", &mut self.step, Role::Step(STEPS, Scale::Step)),
            second("mu", &mut self.mu, CONVEXITIES, 4e-3),
            gossip(&mut self.mixings, 1),
            matrix(&mut self.mixing, SCALED_MIXINGS),
        ]
    }

    /// `μ` in units of `L`; in theory `η = 1/(4τL)`, where `τ` grows as `√(μ/L)`.
    fn absolute(&self, factor: f64, second: f64, l: f64, _: f64) -> (f64, f64) {
        (0.5 * factor / l / second.sqrt(), second * l)
    }

    fn start(
        &self,
        problem: &Problem,
        network: &mut Network,
    ) -> Result<Box<dyn Process>, AlgorithmError> {
        let r = problem.regularizer();
        if r.l1 > 0.0 || r.bounds.is_some() {
            let found = match r.l1 > 0.0 {
                true => format!("l1 = {}", r.l1),
                false => "a box".into(),
            };
            return Err(AlgorithmError::Misfit {
                rule: self.name().into(),
                reason: format!(
                    "takes smooth problems only, found {found}; expected l1 = 0 and no box"
                ),
            });
        }
        let l = problem.smoothness_max() + r.l2;
        // Theory's μ where r is strongly convex; else a value that is safe in practice.
        let theory = if r.l2 > 0.0 { r.l2 } else { 0.01 * l };
        let mu = positive(self, "mu", self.mu.unwrap_or(theory))?;
        let gossip = chebyshev(self, network.graph(), self.mixings, self.mixing)?;
        let condition = gossip.largest() / gossip.smallest();
        let tau = (0.5 * (condition * mu / l).sqrt()).min(1.0);
        let step = positive(self, "step", self.step.unwrap_or(0.25 / (tau * l)))?;
        let method = Opapc {
            step,
            tau,
            mu,
            gossip,
        };
        run(method, problem, network)
    }
}
