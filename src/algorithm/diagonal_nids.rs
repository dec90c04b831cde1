//! NIDS, preconditioned by the diagonal of the local curvature: the steps of [`super::Nids`] are, coordinate by coordinate,
//!
//! `α_ik = step / ((1 − ω)L_i + ωL_i h_ik / max_l h_il)`, `h_i` the diagonal of the bound `sup φ''·A_iᵀA_i/m_i` on `∇²f_i`.
//!
//! The diagonal alone does not bound the Hessian; mixed with `L_i` it does: `Λ⁻¹ ≻ ∇²f_i/2`, which NIDS asks for, holds for
//! every `step < 2(1 − ω)`, and for longer ones where columns of `A_i` are near orthogonal. `ω = 0` is NIDS.

use crate::field::Field;
use crate::problem::Problem;

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
