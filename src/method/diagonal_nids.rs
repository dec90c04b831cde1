//! NIDS, preconditioned by the diagonal of the local curvature: the steps of [`Nids`] are, coordinate by coordinate,
//!
//! `α_ik = step / ((1 − ω)L_i + ωL_i h_ik / max_l h_il)`, `h_i` the diagonal of the bound `sup φ''·A_iᵀA_i/m_i` on `∇²f_i`.
//!
//! The diagonal alone does not bound the Hessian; mixed with `L_i` it does: `Λ⁻¹ ≻ ∇²f_i/2`, which NIDS asks for, holds for
//! every `step < 2(1 − ω)`, and for longer ones where columns of `A_i` are near orthogonal. `ω = 0` is NIDS.

use super::{
    About, MIXINGS, Method, PUBLISHED, Role, STEPS, Scale, Setting, matrix, nids::Nids, number,
    out_of_range, positive, run, second,
};
use crate::algorithm::{AlgorithmError, Process};
use crate::field::Field;
use crate::graph::{Mixing, MixingKind};
use crate::network::Network;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// `α_ik`, `[agents, dimension]`; `step > 0`, `blend` is `ω` in [0, 1).
pub fn diagonal_steps(problem: &Problem, step: f64, blend: f64) -> Field {
    let largest_smoothness = problem.smoothness_max();
    let mut steps = Field::zeros(problem.agents(), problem.dimension());
    steps.for_each_row(|i, row| {
        // An agent without curvature has no step of its own: it takes the largest L's.
        let (smoothness, share) = match problem.smoothness(i) {
            0.0 => (largest_smoothness, 0.0),
            li => (li, blend),
        };
        problem.curvature_diagonal(i, row);
        let largest = row.iter().copied().fold(0.0, f64::max);
        let relative = |h: f64| if largest > 0.0 { h / largest } else { 0.0 };
        for h in row {
            *h = step / (smoothness * (1.0 - share + share * relative(*h)));
        }
    });
    steps
}

const BLENDS: &[f64] = &[0.1, 0.25, 0.5, 0.75, 0.95];

/// NIDS preconditioned by the diagonal of the local curvature.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `α_ik L_i` where the coordinate has the largest curvature
    pub step: Option<f64>,
    /// `ω`, the share of the diagonal in the preconditioner
    pub blend: Option<f64>,
    /// `W`
    pub mixing: MixingKind,
}

impl Method for Options {
    fn name(&self) -> &'static str {
        "DiagonalNids"
    }

    fn about(&self) -> About {
        About {
            published: false,
            ..PUBLISHED
        }
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        vec![
            number("step", &mut self.step, Role::Step(STEPS, Scale::Own)),
            second("blend", &mut self.blend, BLENDS, 0.5),
            matrix(&mut self.mixing, MIXINGS),
        ]
    }

    fn absolute(&self, factor: f64, second: f64, _: f64, _: f64) -> (f64, f64) {
        (factor, second)
    }

    fn start(
        &self,
        problem: &Problem,
        network: &mut Network,
    ) -> Result<Box<dyn Process>, AlgorithmError> {
        let blend = self.blend.unwrap_or(0.5);
        if !(0.0..1.0).contains(&blend) {
            return Err(out_of_range(self, "blend", blend, "a number in [0, 1)"));
        }
        let step = positive(self, "step", self.step.unwrap_or(1.0))?;
        let steps = diagonal_steps(problem, step, blend);
        let mixing = Mixing::new(network.graph(), self.mixing);
        run(Nids::new(steps, mixing.edge_weights()), problem, network)
    }
}
