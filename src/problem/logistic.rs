//! Logistic loss: `φ(u, b) = ln(1 + exp(−b u))`, `b = ±1`; `f_i` is its mean over the agent's rows.

use super::loss::RowLoss;

/// The logistic loss of one row, labels ±1.
pub struct Logistic;

impl RowLoss for Logistic {
    #[inline(always)]
    fn value(&self, u: f64, b: f64) -> f64 {
        // ln(1 + e^{−t}) without overflow on either side.
        let t = b * u;
        (-t).max(0.0) + (-t.abs()).exp().ln_1p()
    }
    #[inline(always)]
    fn slope(&self, u: f64, b: f64) -> f64 {
        -b / (1.0 + (b * u).exp())
    }
    #[inline(always)]
    fn curvature(&self, u: f64, b: f64) -> f64 {
        let p = 1.0 / (1.0 + (b * u).exp());
        p * (1.0 - p)
    }
    fn curvature_bound(&self) -> f64 {
        0.25
    }
    fn conjugate(&self, nu: f64, b: f64) -> f64 {
        let s = -nu * b;
        let entropy = |t: f64| if t == 0.0 { 0.0 } else { t * t.ln() };
        if (0.0..=1.0).contains(&s) {
            entropy(s) + entropy(1.0 - s)
        } else {
            f64::INFINITY
        }
    }
    fn change(&self) -> f64 {
        1.0
    }
    fn labels(&self) -> bool {
        true
    }
}
