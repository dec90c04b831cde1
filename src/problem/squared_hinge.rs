//! Squared hinge: `φ = max(0, 1 − bu)²/2`, `b = ±1`: the smooth support vector machine.

use super::loss::RowLoss;

/// The squared hinge loss of one row, labels ±1.
pub struct SquaredHinge;

impl RowLoss for SquaredHinge {
    #[inline(always)]
    fn value(&self, u: f64, b: f64) -> f64 {
        let short = (1.0 - b * u).max(0.0);
        0.5 * short * short
    }
    #[inline(always)]
    fn slope(&self, u: f64, b: f64) -> f64 {
        -b * (1.0 - b * u).max(0.0)
    }
    #[inline(always)]
    fn curvature(&self, u: f64, b: f64) -> f64 {
        f64::from(b * u <= 1.0)
    }
    fn curvature_bound(&self) -> f64 {
        1.0
    }
    fn conjugate(&self, nu: f64, b: f64) -> f64 {
        let s = -nu * b;
        if s >= 0.0 {
            s * (0.5 * s - 1.0)
        } else {
            f64::INFINITY
        }
    }
    fn kink(&self, u: f64, b: f64) -> f64 {
        (1.0 - b * u).abs()
    }
    fn labels(&self) -> bool {
        true
    }
}
