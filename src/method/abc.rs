//! The unified composite recursion (ABC: Xu, Tian, Sun, Scutari, arXiv:2002.11534; PUDA: Alghunaim, Ryu, Yuan, Sayed, 2021):
//!
//! `X = prox_{αr}(Z);  Z⁺ = A X − αB∇(X) − Y;  Y⁺ = Y + C Z⁺;  Y⁰ = 0`
//!
//! | method | A | B | C | rounds per iteration |
//! |-|-|-|-|-|
//! | Prox-ED | I − Λ/2 | I − Λ/2 | Λ/2 | 1 |
//! | PG-EXTRA | I − Λ/2 | I | Λ/2 | 1 |
//! | DLM | I − αρL_G | I | αρL_G | 1 |
//! | Prox-ATC | W² | W² | Λ² | 2 |
//! | semi-ATC | W² | W | Λ² | 2 |
//! | DIGing | W² | I | Λ² | 2 |
//!
//! with `Λ = I − W`. What is computed is the same recursion with as few exchanges as the table says. With
//! `G = Y + (I − A)X − α(I − B)∇` it reads `Z⁺ = X − α∇ − G` and, since `I − W² = 2Λ − Λ²`,
//!
//! - one exchange: `G⁺ = G + C(Z + ΔX − αbΔ∇)`, `b = 1` for Prox-ED, else 0;
//! - two exchanges: `G⁺ = G + Λ(2ΔX − αpΔ∇ + Λ(Z − ΔX + αqΔ∇))`, `(p, q) = (2, 1)` for ATC, `(1, 0)` for semi-ATC, `(0, 0)` for DIGing.
//!
//! `G` is a sum of antisymmetric edge flows, so `Σ_i G_i = 0` for ever.

use super::{
    About, Grid, Method, PUBLISHED, Role, STEPS, Scale, Setting, number, positive, prox_rows, run,
    step_and_mixing, step_or,
};
use crate::algorithm::{Algorithm, AlgorithmError, Process};
use crate::field::Field;
use crate::graph::{Mixing, MixingKind};
use crate::network::Network;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// Which row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbcKind {
    /// Exact Diffusion with prox.
    ProxEd,
    /// PG-EXTRA.
    PgExtra,
    /// Decentralized linearized ADMM with prox.
    Dlm,
    /// Adapt-then-combine gradient tracking with prox.
    ProxAtc,
    /// Semi-ATC gradient tracking (NEXT).
    SemiAtc,
    /// DIGing: combine-then-adapt gradient tracking.
    Diging,
}

/// The recursion with its step `α` and its edge weights.
pub struct Abc {
    kind: AbcKind,
    step: f64,
    /// Edge weights of `C` (one exchange) or of `Λ` (two).
    weights: Vec<f64>,
}

impl Abc {
    /// `weights`: the off-diagonal `w_ij` of `W` for every edge; for DLM the constant `αρ` on every edge.
    pub fn new(kind: AbcKind, step: f64, weights: &[f64]) -> Self {
        let factor = match kind {
            AbcKind::ProxEd | AbcKind::PgExtra => 0.5,
            _ => 1.0,
        };
        Self {
            kind,
            step,
            weights: weights.iter().map(|w| factor * w).collect(),
        }
    }
}

/// `Z`, `X`, `∇`, their predecessors and `G`.
pub struct State {
    z: Field,
    x: Field,
    x_last: Field,
    g: Field,
    g_last: Field,
    flow: Field,
    message: Field,
    mixed: Field,
}

impl Algorithm for Abc {
    type State = State;

    fn init(&self, problem: &Problem, _: &mut Network) -> State {
        let field = || Field::zeros(problem.agents(), problem.dimension());
        let mut x = field();
        prox_rows(problem, self.step, &field(), &mut x);
        State {
            z: field(),
            x,
            x_last: field(),
            g: field(),
            g_last: field(),
            flow: field(),
            message: field(),
            mixed: field(),
        }
    }

    fn step(&self, s: &mut State, problem: &Problem, network: &mut Network) {
        let alpha = self.step;
        std::mem::swap(&mut s.g, &mut s.g_last);
        problem.gradients(&s.x, &mut s.g);
        let (x, x_last, g, g_last, z) = (&s.x, &s.x_last, &s.g, &s.g_last, &s.z);

        // message = scale_z·Z + scale_x·ΔX + scale_g·αΔ∇
        let compose = |out: &mut Field, scale_z: f64, scale_x: f64, scale_g: f64| {
            out.for_each_row(|i, row| {
                let (x, x_last, g, g_last, z) =
                    (x.row(i), x_last.row(i), g.row(i), g_last.row(i), z.row(i));
                for k in 0..row.len() {
                    row[k] = scale_z * z[k]
                        + scale_x * (x[k] - x_last[k])
                        + scale_g * alpha * (g[k] - g_last[k]);
                }
            });
        };
        match self.kind {
            AbcKind::ProxEd | AbcKind::PgExtra | AbcKind::Dlm => {
                let b = if self.kind == AbcKind::ProxEd {
                    1.0
                } else {
                    0.0
                };
                compose(&mut s.message, 1.0, 1.0, -b);
            }
            AbcKind::ProxAtc | AbcKind::SemiAtc | AbcKind::Diging => {
                let (p, q) = match self.kind {
                    AbcKind::ProxAtc => (2.0, 1.0),
                    AbcKind::SemiAtc => (1.0, 0.0),
                    _ => (0.0, 0.0),
                };
                compose(&mut s.message, 1.0, -1.0, q);
                network.disagreement(&self.weights, &s.message, &mut s.mixed);
                compose(&mut s.message, 0.0, 2.0, -p);
                s.message.add_scaled(1.0, &s.mixed);
            }
        }
        network.disagreement(&self.weights, &s.message, &mut s.mixed);
        s.flow.add_scaled(1.0, &s.mixed);

        let (x, g, flow) = (&s.x, &s.g, &s.flow);
        s.z.for_each_row(|i, row| {
            let (x, g, flow) = (x.row(i), g.row(i), flow.row(i));
            for k in 0..row.len() {
                row[k] = x[k] - alpha * g[k] - flow[k];
            }
        });
        std::mem::swap(&mut s.x, &mut s.x_last);
        prox_rows(problem, alpha, &s.z, &mut s.x);
    }

    fn iterate<'s>(&self, s: &'s State) -> &'s Field {
        &s.x
    }

    fn dual<'s>(&self, s: &'s State) -> Option<&'s Field> {
        Some(&s.flow)
    }
}

/// Options of a row of the table whose weights are a mixing matrix; its step in theory is `$factor/L`.
macro_rules! row {
    ($(#[$doc:meta])* $name:ident, $factor:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            /// `α`
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
                step_and_mixing(&mut self.step, Scale::Step, &mut self.mixing)
            }

            fn start(
                &self,
                problem: &Problem,
                network: &mut Network,
            ) -> Result<Box<dyn Process>, AlgorithmError> {
                let step = step_or(self, self.step, $factor, problem)?;
                let mixing = Mixing::new(network.graph(), self.mixing);
                run(Abc::new(AbcKind::$name, step, mixing.edge_weights()), problem, network)
            }
        }
    };
}

row!(
    /// Exact Diffusion with prox.
    ProxEd,
    1.0
);
row!(
    /// PG-EXTRA.
    PgExtra,
    1.0
);
row!(
    /// ATC gradient tracking with prox.
    ProxAtc,
    1.0
);
row!(
    /// Semi-ATC gradient tracking (NEXT).
    SemiAtc,
    1.0
);
row!(
    /// DIGing.
    Diging,
    0.5
);

/// Linearized ADMM with prox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dlm {
    /// `α`
    pub step: Option<f64>,
    /// `αρ`, in units of `1/(2(1 + d_max))`
    pub penalty: Option<f64>,
}

const PENALTIES: Grid = Grid {
    values: &[0.25, 0.5, 1.0, 1.5, 2.0],
    start: 1.0,
};

impl Method for Dlm {
    fn name(&self) -> &'static str {
        "Dlm"
    }

    fn about(&self) -> About {
        PUBLISHED
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        let penalties = Role::Second {
            grid: PENALTIES,
            below_one: false,
        };
        vec![
            number("step", &mut self.step, Role::Step(STEPS, Scale::Step)),
            number("penalty", &mut self.penalty, penalties),
        ]
    }

    fn start(
        &self,
        problem: &Problem,
        network: &mut Network,
    ) -> Result<Box<dyn Process>, AlgorithmError> {
        let graph = network.graph();
        let degrees = (0..graph.agents()).map(|i| graph.degree(i));
        let unit = 0.5 / (1.0 + degrees.max().unwrap_or(0) as f64);
        let weight = positive(self, "penalty", self.penalty.unwrap_or(1.0))? * unit;
        let weights = vec![weight; graph.edges().len()];
        let step = step_or(self, self.step, 1.0, problem)?;
        run(Abc::new(AbcKind::Dlm, step, &weights), problem, network)
    }
}
