//! Prox-ED with heavy-ball momentum on the iterate (Polyak 1964) and Chebyshev gossip, `C = Λ_K/λ_max(Λ_K)`, [`Chebyshev`]:
//!
//! `V = X + β(X − X⁻);  Z⁺ = (I − C)(V − α∇(X)) − Y;  Y⁺ = Y + C Z⁺;  X⁺ = prox_{αr}(Z⁺)`.
//!
//! At rest `V = X`: the fixed points are those of Prox-ED, so the limit is exact whatever `β` is. With `restart` an agent drops
//! its momentum for a step where `⟨v − x⁺, x⁺ − x⟩ > 0`, the gradient scheme of O'Donoghue & Candès (2015); `β = 0` is
//! Prox-ED with Chebyshev gossip. Computed as `G⁺ = G + C(Z + U⁺ − U)`, `Z⁺ = U⁺ − G⁺` with `U = V − α∇(X)` and
//! `G = Y + CU`, which is the same recursion. `K` rounds per iteration.

use super::chebyshev::{Chebyshev, Scratch};
use super::{
    About, Method, PUBLISHED, Role, SCALED_MIXINGS, STEPS, Scale, Setting, Value, chebyshev,
    gossip, matrix, number, out_of_range, prox_rows, run, second, step_or,
};
use crate::algorithm::{Algorithm, AlgorithmError, Process};
use crate::field::{Field, dot};
use crate::graph::MixingKind;
use crate::network::Network;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// Exact Diffusion with momentum.
pub struct ProxEdMomentum {
    /// Step `α`.
    pub step: f64,
    /// Momentum `β`.
    pub beta: f64,
    /// Whether agents restart.
    pub restart: bool,
    /// The gossip.
    pub gossip: Chebyshev,
}

/// `X`, `V`, `U`, their predecessors, `Z` and `G`.
pub struct State {
    z: Field,
    x: Field,
    x_last: Field,
    v: Field,
    u: Field,
    u_last: Field,
    g: Field,
    flow: Field,
    message: Field,
    mixed: Field,
    scratch: Scratch,
}

impl Algorithm for ProxEdMomentum {
    type State = State;

    fn init(&self, problem: &Problem, _: &mut Network) -> State {
        let field = || Field::zeros(problem.agents(), problem.dimension());
        let mut x = field();
        prox_rows(problem, self.step, &field(), &mut x);
        State {
            z: field(),
            x_last: x.clone(),
            v: x.clone(),
            x,
            u: field(),
            u_last: field(),
            g: field(),
            flow: field(),
            message: field(),
            mixed: field(),
            scratch: Scratch::new(problem.agents(), problem.dimension()),
        }
    }

    fn step(&self, s: &mut State, problem: &Problem, network: &mut Network) {
        let (x, x_last) = (&s.x, &s.x_last);
        s.message.copy_from(x);
        s.message.add_scaled(-1.0, x_last);
        let moved = &s.message;
        s.v.for_each_row(|i, v| {
            let (x, moved) = (x.row(i), moved.row(i));
            let overshoots = || dot(v, moved) > dot(x, moved);
            let beta = if self.restart && overshoots() {
                0.0
            } else {
                self.beta
            };
            for k in 0..v.len() {
                v[k] = x[k] + beta * moved[k];
            }
        });
        problem.gradients(&s.x, &mut s.g);
        std::mem::swap(&mut s.u, &mut s.u_last);
        s.u.copy_from(&s.v);
        s.u.add_scaled(-self.step, &s.g);

        s.message.copy_from(&s.z);
        s.message.add_scaled(1.0, &s.u);
        s.message.add_scaled(-1.0, &s.u_last);
        self.gossip
            .disagreement(&s.message, &mut s.mixed, &mut s.scratch, network);
        s.flow.add_scaled(1.0 / self.gossip.largest(), &s.mixed);

        s.z.copy_from(&s.u);
        s.z.add_scaled(-1.0, &s.flow);
        std::mem::swap(&mut s.x, &mut s.x_last);
        prox_rows(problem, self.step, &s.z, &mut s.x);
    }

    fn iterate<'s>(&self, s: &'s State) -> &'s Field {
        &s.x
    }

    fn dual<'s>(&self, s: &'s State) -> Option<&'s Field> {
        Some(&s.flow)
    }
}

const BETAS: &[f64] = &[0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.96];

/// Exact Diffusion with prox, momentum and Chebyshev gossip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `α`
    pub step: Option<f64>,
    /// `β`
    pub beta: Option<f64>,
    /// Whether an agent drops its momentum where it points uphill.
    pub restart: Option<bool>,
    /// Rounds of the gossip.
    pub mixings: Option<usize>,
    /// `W`
    pub mixing: MixingKind,
}

impl Method for Options {
    fn name(&self) -> &'static str {
        "ProxEdMomentum"
    }

    fn about(&self) -> About {
        About {
            published: false,
            ..PUBLISHED
        }
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        vec![
            number("step", &mut self.step, Role::Step(STEPS, Scale::Step)),
            second("beta", &mut self.beta, BETAS, 0.5),
            Setting {
                name: "restart",
                value: Value::Switch(&mut self.restart),
                role: Role::Switch,
            },
            gossip(&mut self.mixings, 1),
            matrix(&mut self.mixing, SCALED_MIXINGS),
        ]
    }

    fn start(
        &self,
        problem: &Problem,
        network: &mut Network,
    ) -> Result<Box<dyn Process>, AlgorithmError> {
        let beta = self.beta.unwrap_or(0.5);
        if !(0.0..1.0).contains(&beta) {
            return Err(out_of_range(self, "beta", beta, "a number in [0, 1)"));
        }
        let rounds = Some(self.mixings.unwrap_or(1));
        let method = ProxEdMomentum {
            step: step_or(self, self.step, 1.0, problem)?,
            beta,
            restart: self.restart.unwrap_or(false),
            gossip: chebyshev(self, network.graph(), rounds, self.mixing)?,
        };
        run(method, problem, network)
    }
}
