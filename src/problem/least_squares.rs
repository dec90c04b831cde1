//! Least squares: `φ(u, b) = (u − b)²/2`, so `f_i(x) = ‖A_i x − b_i‖² / (2 m_i)`.

use super::loss::RowLoss;

/// The squared error of one row.
pub struct LeastSquares;

impl RowLoss for LeastSquares {
    #[inline(always)]
    fn value(u: f64, b: f64) -> f64 {
        0.5 * (u - b) * (u - b)
    }
    #[inline(always)]
    fn slope(u: f64, b: f64) -> f64 {
        u - b
    }
    #[inline(always)]
    fn curvature(_: f64, _: f64) -> f64 {
        1.0
    }
    const CURVATURE_BOUND: f64 = 1.0;
    fn conjugate(nu: f64, b: f64) -> f64 {
        nu * (0.5 * nu + b)
    }
}
