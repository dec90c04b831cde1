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

use super::{Algorithm, prox_rows};
use crate::field::Field;
use crate::network::Network;
use crate::problem::Problem;

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
