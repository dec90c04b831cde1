//! Least squares: `φ(u, b) = (u − b)²/2`, so `f_i(x) = ‖A_i x − b_i‖² / (2 m_i)`.

use super::loss::RowLoss;

/// The squared error of one row.
pub struct LeastSquares;

impl RowLoss for LeastSquares {
    #[inline(always)]
    fn value(&self, u: f64, b: f64) -> f64 {
        0.5 * (u - b) * (u - b)
    }
    #[inline(always)]
    fn slope(&self, u: f64, b: f64) -> f64 {
        u - b
    }
    #[inline(always)]
    fn curvature(&self, _: f64, _: f64) -> f64 {
        1.0
    }
    fn curvature_bound(&self) -> f64 {
        1.0
    }
    fn conjugate(&self, nu: f64, b: f64) -> f64 {
        nu * (0.5 * nu + b)
    }
}
