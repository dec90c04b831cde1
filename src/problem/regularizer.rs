//! The shared regularizer `r(x) = l1‖x‖₁ + (l2/2)‖x‖² + ι_{[lo, hi]}(x)`: none, l1, squared l2, elastic net, box
//! and their sums, coordinate by coordinate.

use super::ProblemError;

/// `r(x) = l1‖x‖₁ + (l2/2)‖x‖² + ι_{[lo, hi]}(x)`; zero weights and no bounds mean no regularizer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Regularizer {
    /// Weight of `‖x‖₁`.
    pub l1: f64,
    /// Weight of `‖x‖²/2`.
    pub l2: f64,
    /// Every coordinate is confined to `[lo, hi]`.
    pub bounds: Option<(f64, f64)>,
}

impl Regularizer {
    /// Checks the weights (finite, not negative) and the bounds (ordered).
    pub fn new(l1: f64, l2: f64, bounds: Option<(f64, f64)>) -> Result<Self, ProblemError> {
        for (name, value) in [("l1", l1), ("l2", l2)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(ProblemError::parameter(name, value, "a finite weight ≥ 0"));
            }
        }
        if let Some((lo, hi)) = bounds
            && !(lo <= hi && lo < f64::INFINITY && hi > f64::NEG_INFINITY)
        {
            return Err(ProblemError::Parameter {
                name: "box".into(),
                found: format!("({lo}, {hi})"),
                expected: "(lower, upper) with lower ≤ upper".into(),
            });
        }
        Ok(Self { l1, l2, bounds })
    }

    /// Whether `r` is zero everywhere.
    pub fn is_none(&self) -> bool {
        self.l1 == 0.0 && self.l2 == 0.0 && self.bounds.is_none()
    }

    /// `prox_{P r}(v) = argmin_x r(x) + (x − v)²/(2P)` for one coordinate, `P ≥ 0`.
    ///
    /// One-dimensional and convex, so the bound is met by projecting the unbounded minimiser.
    #[inline(always)]
    pub fn prox(&self, step: f64, v: f64) -> f64 {
        // Without branches that depend on v, so that a loop over coordinates becomes SIMD; a NaN stays one.
        let threshold = step * self.l1;
        let soft = v - v.max(-threshold).min(threshold);
        let shrunk = if self.l2 == 0.0 {
            soft
        } else {
            soft / (1.0 + step * self.l2)
        };
        match self.bounds {
            Some((lo, _)) if shrunk < lo => lo,
            Some((_, hi)) if shrunk > hi => hi,
            _ => shrunk,
        }
    }

    /// `r(x)`; a coordinate outside the bounds by more than rounding (1e-9, relative) makes it infinite.
    pub fn value(&self, x: &[f64]) -> f64 {
        let mut total = 0.0;
        for &v in x {
            if let Some((lo, hi)) = self.bounds {
                let slack = 1e-9 * (1.0 + v.abs());
                if v < lo - slack || v > hi + slack {
                    return f64::INFINITY;
                }
            }
            total += self.l1 * v.abs() + 0.5 * self.l2 * v * v;
        }
        total
    }

    /// `r*(v) = sup_x v x − r(x)` for one coordinate.
    pub fn conjugate(&self, v: f64) -> f64 {
        let soft = v.signum() * (v.abs() - self.l1).max(0.0);
        let at = |x: f64| v * x - self.l1 * x.abs() - 0.5 * self.l2 * x * x;
        match (self.l2 > 0.0, self.bounds) {
            (true, None) => at(soft / self.l2),
            (true, Some((lo, hi))) => at((soft / self.l2).max(lo).min(hi)),
            (false, None) if soft == 0.0 => 0.0,
            (false, None) => f64::INFINITY,
            (false, Some((lo, hi)))
                if (v > self.l1 && hi.is_infinite()) || (v < -self.l1 && lo.is_infinite()) =>
            {
                f64::INFINITY
            }
            // Piecewise linear: the best of the finite ends and the kink.
            (false, Some((lo, hi))) => [lo, hi, 0.0_f64.max(lo).min(hi)]
                .into_iter()
                .filter(|x| x.is_finite())
                .map(at)
                .fold(f64::NEG_INFINITY, f64::max),
        }
    }

    /// Distance of `−slope` to `∂r(x)` for one coordinate: zero exactly where `slope + ∂r(x) ∋ 0`. NaN where either is.
    pub fn stationarity(&self, x: f64, slope: f64) -> f64 {
        // The subdifferential is the interval [low, high], unbounded where x sits on a bound.
        let smooth = slope + self.l2 * x;
        // The comparisons below would lose it.
        if smooth.is_nan() || x.is_nan() {
            return f64::NAN;
        }
        let (mut low, mut high) = if x > 0.0 {
            (smooth + self.l1, smooth + self.l1)
        } else if x < 0.0 {
            (smooth - self.l1, smooth - self.l1)
        } else {
            (smooth - self.l1, smooth + self.l1)
        };
        if let Some((lo, hi)) = self.bounds {
            if x <= lo {
                low = f64::NEG_INFINITY;
            }
            if x >= hi {
                high = f64::INFINITY;
            }
        }
        low.max(-high).max(0.0)
    }
}

impl std::fmt::Display for Regularizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        if self.l1 != 0.0 {
            parts.push(format!("l1 {}", self.l1));
        }
        if self.l2 != 0.0 {
            parts.push(format!("l2 {}", self.l2));
        }
        if let Some((lo, hi)) = self.bounds {
            parts.push(format!("box [{lo}, {hi}]"));
        }
        if parts.is_empty() {
            parts.push("no regularizer".into());
        }
        write!(f, "{}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Optimality of the prox: (v − p)/P ∈ ∂r(p).
        #[test]
        fn prox_satisfies_its_optimality_condition(
            v in -5.0..5.0f64, step in 1e-3..4.0f64, l1 in 0.0..2.0f64, l2 in 0.0..2.0f64,
            boxed in any::<bool>(), lo in -2.0..0.5f64, width in 0.0..2.0f64,
        ) {
            let r = Regularizer::new(l1, l2, boxed.then_some((lo, lo + width))).unwrap();
            let p = r.prox(step, v);
            prop_assert!(r.stationarity(p, (p - v) / step) <= 1e-12 * (1.0 + v.abs() / step));
        }

        /// Fenchel–Young: r(x) + r*(v) ≥ xv, with equality at x = prox of x + v.
        #[test]
        fn conjugate_satisfies_fenchel_young(
            u in -5.0..5.0f64, l1 in 0.0..2.0f64, l2 in 0.0..2.0f64, boxed in any::<bool>(),
        ) {
            let r = Regularizer::new(l1, l2, boxed.then_some((-0.7, 1.1))).unwrap();
            let x = r.prox(1.0, u);
            let v = u - x;
            let gap = r.value(&[x]) + r.conjugate(v * (1.0 - 1e-12)) - x * v;
            prop_assert!(gap.abs() <= 1e-9, "gap {gap}");
        }
    }

    #[test]
    fn bad_weights_are_named() {
        let message = Regularizer::new(-0.1, 0.0, None).unwrap_err().to_string();
        assert!(
            message.contains("l1") && message.contains("-0.1"),
            "{message}"
        );
        assert!(Regularizer::new(0.0, f64::NAN, None).is_err());
        assert!(Regularizer::new(0.0, 0.0, Some((1.0, -1.0))).is_err());
    }
}
