//! The loss of one row: `φ(u, b)` with `u = a·x`, and what the solvers need of it.

use serde::{Deserialize, Serialize};

/// A convex loss of one prediction `u = a·x` against its target `b`.
pub trait RowLoss: Send + Sync {
    /// `φ(u, b)`.
    fn value(u: f64, b: f64) -> f64;
    /// `φ'(u, b)`, derivative in `u`.
    fn slope(u: f64, b: f64) -> f64;
    /// `φ''(u, b)`.
    fn curvature(u: f64, b: f64) -> f64;
    /// `sup_u φ''(u, b)`.
    const CURVATURE_BOUND: f64;
    /// Convex conjugate `φ*(ν, b) = sup_u νu − φ(u, b)`; infinite outside its domain.
    fn conjugate(nu: f64, b: f64) -> f64;
}

/// Which loss a problem has; `LeastSquares` or `Logistic` in RON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loss {
    /// `(a·x − b)²/2`
    LeastSquares,
    /// `ln(1 + exp(−b a·x))`, `b = ±1`
    Logistic,
}

/// Runs `$body` with the type alias `$L` standing for the loss's implementation.
macro_rules! with_loss {
    ($loss:expr, $L:ident => $body:expr) => {
        match $loss {
            $crate::problem::Loss::LeastSquares => {
                type $L = $crate::problem::least_squares::LeastSquares;
                $body
            }
            $crate::problem::Loss::Logistic => {
                type $L = $crate::problem::logistic::Logistic;
                $body
            }
        }
    };
}
pub(crate) use with_loss;
