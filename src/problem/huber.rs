//! Huber's loss: with `e = u − b` and `c = clamp(e, −δ, δ)`, `φ = c e − c²/2`: quadratic up to `δ`, linear beyond.

use super::loss::RowLoss;

/// The Huber loss of one row.
pub struct Huber {
    /// `δ > 0`
    pub delta: f64,
}

impl RowLoss for Huber {
    #[inline(always)]
    fn value(&self, u: f64, b: f64) -> f64 {
        let c = self.slope(u, b);
        c * (u - b) - 0.5 * c * c
    }
    #[inline(always)]
    fn slope(&self, u: f64, b: f64) -> f64 {
        (u - b).clamp(-self.delta, self.delta)
    }
    #[inline(always)]
    fn curvature(&self, u: f64, b: f64) -> f64 {
        f64::from((u - b).abs() <= self.delta)
    }
    fn curvature_bound(&self) -> f64 {
        1.0
    }
    fn conjugate(&self, nu: f64, b: f64) -> f64 {
        if nu.abs() <= self.delta {
            nu * (0.5 * nu + b)
        } else {
            f64::INFINITY
        }
    }
    fn kink(&self, u: f64, b: f64) -> f64 {
        ((u - b).abs() - self.delta).abs()
    }
    fn fault(&self) -> Option<(&'static str, f64, &'static str)> {
        let fine = self.delta.is_finite() && self.delta > 0.0;
        (!fine).then_some(("delta", self.delta, "a finite number > 0"))
    }
}
