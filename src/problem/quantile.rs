//! Smoothed quantile loss: the pinball loss `ρ(e) = max(−τe, (1 − τ)e)`, `e = u − b`, of which the minimiser is the `τ`-quantile of `b`,
//! as its Moreau envelope: with `c = clamp(e/h, −τ, 1 − τ)`, `φ = c e − h c²/2`.

use super::loss::RowLoss;

/// The smoothed quantile loss of one row.
pub struct Quantile {
    /// `τ` in (0, 1)
    pub level: f64,
    /// `h > 0`
    pub smoothing: f64,
}

impl RowLoss for Quantile {
    #[inline(always)]
    fn value(&self, u: f64, b: f64) -> f64 {
        let c = self.slope(u, b);
        c * (u - b) - 0.5 * self.smoothing * c * c
    }
    #[inline(always)]
    fn slope(&self, u: f64, b: f64) -> f64 {
        ((u - b) / self.smoothing).clamp(-self.level, 1.0 - self.level)
    }
    #[inline(always)]
    fn curvature(&self, u: f64, b: f64) -> f64 {
        let e = (u - b) / self.smoothing;
        if -self.level <= e && e <= 1.0 - self.level {
            1.0 / self.smoothing
        } else {
            0.0
        }
    }
    fn curvature_bound(&self) -> f64 {
        1.0 / self.smoothing
    }
    fn conjugate(&self, nu: f64, b: f64) -> f64 {
        if -self.level <= nu && nu <= 1.0 - self.level {
            nu * (0.5 * self.smoothing * nu + b)
        } else {
            f64::INFINITY
        }
    }
    fn kink(&self, u: f64, b: f64) -> f64 {
        let e = u - b;
        let ends = [-self.level, 1.0 - self.level];
        let away = ends.map(|end| (e - self.smoothing * end).abs());
        away[0].min(away[1])
    }
    fn fault(&self) -> Option<(&'static str, f64, &'static str)> {
        if !(self.level > 0.0 && self.level < 1.0) {
            return Some(("level", self.level, "above 0 and below 1"));
        }
        let fine = self.smoothing.is_finite() && self.smoothing > 0.0;
        (!fine).then_some(("smoothing", self.smoothing, "a finite number > 0"))
    }
}
