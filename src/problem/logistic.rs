//! Logistic loss: `φ(u, b) = ln(1 + exp(−b u))`, `b = ±1`; `f_i` is its mean over the agent's rows.

use super::loss::RowLoss;

/// The logistic loss of one row, labels ±1.
pub struct Logistic;

impl RowLoss for Logistic {
    #[inline(always)]
    fn value(u: f64, b: f64) -> f64 {
        // ln(1 + e^{−t}) without overflow on either side.
        let t = b * u;
        (-t).max(0.0) + (-t.abs()).exp().ln_1p()
    }
    #[inline(always)]
    fn slope(u: f64, b: f64) -> f64 {
        -b / (1.0 + (b * u).exp())
    }
    #[inline(always)]
    fn curvature(u: f64, b: f64) -> f64 {
        let p = 1.0 / (1.0 + (b * u).exp());
        p * (1.0 - p)
    }
    const CURVATURE_BOUND: f64 = 0.25;
    fn conjugate(nu: f64, b: f64) -> f64 {
        let s = -nu * b;
        let entropy = |t: f64| if t == 0.0 { 0.0 } else { t * t.ln() };
        if (0.0..=1.0).contains(&s) {
            entropy(s) + entropy(1.0 - s)
        } else {
            f64::INFINITY
        }
    }
}
