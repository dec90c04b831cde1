//! The safeguard of `shared`: its run converges to a solution whatever its networks put out.
//!
//! **Fallback.** In the rule's own update, `P_i = p_i/L_i`, `β = δ = θ = 0`, `γ = 1`, `S = ½`, `C = 0` is
//!
//! ```text
//! T:  z_i⁺ = prox_{r_i,P_i}( x_i − P_i (∇f_i(x_i) + v_i) )      v_i = y_i + Δy_i
//!     F_ij = ½ w_ij L_e (z_i⁺ − z_j⁺),  y_i⁺ = y_i + Σ_j F_ij,  x_i⁺ = z_i⁺           L_e = 2 L_i L_j/(L_i + L_j)
//! ```
//!
//! the method of Condat and Vũ (2013) with diagonal metrics: `y + Δy` is the dual extrapolated by `2z⁺ − z`. It is an averaged
//! operator on `(x, v)` in the metric `[P⁻¹, −Bᵀ; −B, Σ⁻¹]` (`B`: the edges' differences, `Σ`: their weights `½ w L_e`) where
//! `P⁻¹ − BᵀΣB ≻ ½ diag(L_i)`. For every edge
//!
//! ```text
//! (√L_j t_i − √L_i t_j)² ≤ (L_i + L_j)(t_i² + t_j²)
//! ```
//!
//! (Cauchy–Schwarz), so with `t_i = √L_i s_i`, `L_e (s_i − s_j)² = 2/(L_i + L_j) (√L_j t_i − √L_i t_j)² ≤ 2 (t_i² + t_j²)`: weighted by
//! `w_ij` and added up, `Lap(w L_e) ⪯ 2 diag(W_i L_i)`, `W_i = Σ_j w_ij`. Hence `1/p_i > ½ + W_i` suffices ([`fallback_primal`]), with no
//! relation between the agents: any convex `f_i` with `L_i`-Lipschitz gradients, any closed convex `r_i` whose prox can be
//! computed (different ones too, where their domains' relative interiors meet), any connected graph.
//!
//! **Clip.** A step is the fallback's plus a difference whose length is bounded by each agent and each edge for itself:
//!
//! ```text
//! z_i = z_i^T + clip(z_i^L − z_i^T, τ_i)     F_ij = F_ij^T + clip(F_ij^L − F_ij^T, τ_e L_e)     x_i⁺ = z_i⁺ + clip(mixing, τ_i)
//! τ_i = K s_i exp(−√(k/k₀)),  s_i = max ‖∇f_j(x⁰)‖/L_j over j = i and its neighbours (for z⁰ its own),  τ_e = min(τ_i, τ_j)
//! ```
//!
//! `F` stays antisymmetric, so `Σ_i y_i = 0`. Where the difference is shorter, the learned value itself is used: no bit changes.
//!
//! **Theorem.** Let `T` have a fixed point: a solution `x*` with duals `v_i* ∈ −∇f_i(x*) − ∂r_i(x*)`, `Σ_i v_i* = 0`. For every output of every network, `(x, v)⁺ = T(x, v) + e` with `Σ_k ‖e^k‖ < ∞`: the
//! differences of `z`, `F` and mixing enter `x⁺ = z⁺ + e_mixing`, `v⁺ − v = Σ_j (2F⁺ − F)_ij` linearly, their bounds are summable since
//! `Σ_k exp(−√(k/k₀)) < 2(k₀ + 1)`, and `prox` and `∇f` are Lipschitz. Hence `(x, v)` converges to a fixed point of `T` (Krasnosel'skiĭ–Mann
//! with summable errors: Combettes 2001), and every `x_i` to one solution of the problem. (Compare Heaton, Chen, Wang & Yin,
//! Safe-L2O, AAAI 2023; Martin & Belgioioso, arXiv:2601.07665: there a global residual decides.)

use crate::problem::Regularizer;
use serde::{Deserialize, Serialize};

/// Bounds on how far a learned step may be from the fallback's; `reach: 0` in a rule file: none, and no guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Safeguard {
    /// `K`: the first bound, in units of `‖∇f_i(x⁰)‖/L_i`.
    pub reach: f64,
    /// `k₀`: steps after which the bound has fallen to `1/e` of the first; to `1/e²` after four times as many.
    pub decay: f64,
}

impl Default for Safeguard {
    fn default() -> Self {
        Self {
            reach: 30.0,
            decay: 100.0,
        }
    }
}

impl Safeguard {
    /// Checks the ranges.
    ///
    /// # Errors
    /// What is wrong and what was expected, in words.
    pub fn check(&self) -> Result<(), String> {
        if !(self.reach.is_finite() && self.reach >= 0.0) {
            return Err(format!(
                "the safeguard's reach is {}, expected a finite number ≥ 0 (0: no safeguard)",
                self.reach
            ));
        }
        if !(self.decay.is_finite() && self.decay > 0.0) {
            return Err(format!(
                "the safeguard's decay is {}, expected a finite number of steps > 0",
                self.decay
            ));
        }
        Ok(())
    }

    /// `τ_k` in units of `s_i`, at step `k`; infinite without a safeguard.
    pub fn bound(&self, k: u64) -> f64 {
        if self.reach == 0.0 {
            f64::INFINITY
        } else {
            self.reach * (-(k as f64 / self.decay).sqrt()).exp()
        }
    }
}

/// `S` of the fallback.
pub const FALLBACK_DUAL: f64 = 0.5;

/// `p_i = 0.99/(½ + W_i)` of the fallback; `weight`: `W_i`, the sum of the agent's edge weights.
pub fn fallback_primal(weight: f64) -> f64 {
    0.99 / (0.5 + weight)
}

/// What an agent's fallback step is made of; all rows `[d]`.
#[derive(Clone, Copy)]
pub(super) struct Fallback<'a> {
    pub x: &'a [f64],
    pub g: &'a [f64],
    pub y: &'a [f64],
    pub y_last: &'a [f64],
    /// `p_i/L_i`
    pub step: f64,
    pub r: Regularizer,
}

impl Fallback<'_> {
    /// `z^T` at one coordinate.
    #[inline(always)]
    fn at(&self, k: usize) -> f64 {
        let v = self.y[k] + (self.y[k] - self.y_last[k]);
        self.r
            .prox(self.step, self.x[k] - self.step * (self.g[k] + v))
    }

    /// Brings `z` to within `limit` of the fallback's; whether it had to.
    #[inline(always)]
    pub fn clip(&self, z: &mut [f64], limit: f64) -> bool {
        let n = z.len();
        let own = Self {
            x: &self.x[..n],
            g: &self.g[..n],
            y: &self.y[..n],
            y_last: &self.y_last[..n],
            ..*self
        };
        clip(z, |k| own.at(k), limit)
    }
}

/// Brings `learned` to within `limit` of `fallback(k)`, in the Euclidean norm; whether it had to. A `learned` that is no number
/// becomes the fallback.
#[inline(always)]
pub(super) fn clip(learned: &mut [f64], fallback: impl Fn(usize) -> f64, limit: f64) -> bool {
    // Without a safeguard: infinite, or infinite times a unit of zero.
    if !limit.is_finite() {
        return false;
    }
    let length = squares(learned.len(), |k| learned[k] - fallback(k)).sqrt();
    if length <= limit {
        return false;
    }
    let share = if length.is_finite() {
        limit / length
    } else {
        0.0
    };
    for (k, v) in learned.iter_mut().enumerate() {
        let safe = fallback(k);
        // Not `safe + 0 · (v − safe)`, which would keep an infinity or a NaN.
        *v = if share == 0.0 {
            safe
        } else {
            safe + share * (*v - safe)
        };
    }
    true
}

/// Euclidean norm.
#[inline(always)]
pub(super) fn length(v: &[f64]) -> f64 {
    squares(v.len(), |k| v[k]).sqrt()
}

/// `Σ_{k<n} difference(k)²` in eight fixed lanes: the same sum whatever the processor.
#[inline(always)]
fn squares(n: usize, difference: impl Fn(usize) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0.0; LANES];
    let blocks = n / LANES;
    for block in 0..blocks {
        for (l, lane) in lanes.iter_mut().enumerate() {
            let d = difference(block * LANES + l);
            *lane += d * d;
        }
    }
    let rest: f64 = (blocks * LANES..n).map(|k| difference(k).powi(2)).sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The inequality of one edge, and what it gives: `L_e (s_i − s_j)² ≤ 2 (L_i s_i² + L_j s_j²)`.
        #[test]
        fn an_edge_is_bounded_by_its_ends(
            ln_i in -12.0..12.0f64, ln_j in -12.0..12.0f64, s_i in -3.0..3.0f64, s_j in -3.0..3.0f64,
        ) {
            let (i, j) = (ln_i.exp(), ln_j.exp());
            let (t_i, t_j) = (i.sqrt() * s_i, j.sqrt() * s_j);
            let left = (j.sqrt() * t_i - i.sqrt() * t_j).powi(2);
            prop_assert!(left <= (i + j) * (t_i * t_i + t_j * t_j) * (1.0 + 1e-12));
            let edge = super::super::shared::edge_smoothness(i, j) * (s_i - s_j).powi(2);
            prop_assert!(edge <= 2.0 * (i * s_i * s_i + j * s_j * s_j) * (1.0 + 1e-12));
        }

        /// A clipped vector is within the limit, on the segment to the fallback, and untouched where it was near.
        #[test]
        fn clipping_bounds_the_difference(
            v in prop::collection::vec(-5.0..5.0f64, 1..30), limit in 0.0..20.0f64,
        ) {
            let fallback = |k: usize| (k as f64).sin();
            let mut clipped = v.clone();
            let had_to = clip(&mut clipped, fallback, limit);
            let length = |v: &[f64]| v.iter().enumerate().map(|(k, v)| (v - fallback(k)).powi(2)).sum::<f64>().sqrt();
            prop_assert!(length(&clipped) <= limit * (1.0 + 1e-12));
            prop_assert_eq!(had_to, clipped != v);
            prop_assert!(had_to || length(&v) <= limit * (1.0 + 1e-12));
        }

        /// The bounds add up to a finite number, as the theorem asks.
        #[test]
        fn bounds_are_summable(decay in 1.0..300.0f64) {
            let safeguard = Safeguard { reach: 1.0, decay };
            let sum: f64 = (0..400_000).map(|k| safeguard.bound(k)).sum();
            prop_assert!(sum < 2.0 * (decay + 1.0), "{sum}");
        }
    }

    #[test]
    fn what_is_no_number_becomes_the_fallback() {
        for bad in [f64::NAN, f64::INFINITY, f64::MAX] {
            let mut v = [1.0, bad, 2.0];
            assert!(clip(&mut v, |k| k as f64, 1e-3));
            assert_eq!(v, [0.0, 1.0, 2.0]);
        }
        let mut v = [1.0, 2.0];
        assert!(clip(&mut v, |_| 0.5, 0.0));
        assert_eq!(v, [0.5, 0.5]);
        assert!(!clip(&mut v, |_| 9.0, f64::INFINITY));
    }
}
