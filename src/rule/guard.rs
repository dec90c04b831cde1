//! The guard of `shared`, for speed alone (that a run converges is [`super::safeguard`]'s business): an agent whose residual grows to
//! `guard` times its lowest trusts its networks less. All its coefficients, and those of its edges, move towards the fallback's, and
//! its neighbours follow. Once the residual is down again trust returns, each time to a lower ceiling: at last it stays where the run
//! is stable. Below [`FLOOR`] of the first residual nothing counts as growth. (In training there is no guard: a rule is not to lean
//! on it.)

/// Share of the first residual below which an agent's residual may grow without costing trust.
const FLOOR: f64 = 1e-8;
/// What an agent's trust is multiplied by, at least, at every evaluation that finds its residual grown.
const DISTRUST: f64 = 0.8;
/// What it is multiplied by at every other evaluation, up to the ceiling: one burst is no reason to stay slow.
const RECOVERY: f64 = 1.05;
/// What a burst leaves of the ceiling if the run has come further than ever since the last one.
const CEILING: f64 = 0.95;
/// The same if it has not: networks that keep on bursting lose their say.
const CEILING_WITHOUT_PROGRESS: f64 = 0.8;
/// How fast the residual's envelope may fall, per evaluation: a residual that is zero by chance is no low to grow from.
const ENVELOPE: f64 = 0.9;

/// How far an agent trusts its networks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    /// From 1 (wholly) to 0 (not at all).
    pub trust: f64,
    /// What the trust may return to.
    ceiling: f64,
    /// Whether the last evaluation found the residual grown.
    grown: bool,
    /// Whether there was a new lowest since it had last grown.
    lowered: bool,
    /// The trust that was sent to the neighbours at the last evaluation.
    pub sent: f64,
    /// `max(σ_u, ENVELOPE · envelope⁻)`, begun at the gradient's root mean square.
    envelope: f64,
    /// [`FLOOR`] of where it began.
    floor: f64,
    /// The lowest envelope so far.
    lowest: f64,
}

impl Guard {
    pub const NEW: Self = Self {
        trust: 1.0,
        ceiling: 1.0,
        grown: false,
        lowered: true,
        sent: 1.0,
        envelope: 0.0,
        floor: 0.0,
        lowest: f64::MAX,
    };

    /// At the first gradient, whose root mean square is `residual`.
    pub fn begin(&mut self, residual: f64) {
        self.envelope = residual;
        self.floor = FLOOR * residual;
    }

    /// After an evaluation that found `σ_u = u`.
    pub fn watch(&mut self, u: f64, growth: f64) {
        self.envelope = u.max(ENVELOPE * self.envelope);
        let allowed = growth * self.lowest.max(self.floor);
        if allowed > 0.0 && u > allowed {
            if !self.grown {
                self.ceiling *= if self.lowered {
                    CEILING
                } else {
                    CEILING_WITHOUT_PROGRESS
                };
            }
            (self.grown, self.lowered) = (true, false);
            // The faster it grows the less is left.
            self.trust *= DISTRUST.min(allowed / u);
        } else {
            self.grown = false;
            self.trust = self.ceiling.min(self.trust * RECOVERY);
        }
        // An agent with nothing to do yet (zero gradient, zero residual) has no low to grow from.
        if self.envelope > 0.0 && self.envelope < self.lowest {
            (self.lowest, self.lowered) = (self.envelope, true);
        }
    }
}

/// `safe + trust · (v − safe)` for every coefficient, `[outputs, d]`.
pub(super) fn distrust(coefficients: &mut [f32], safe: &[f64], trust: f64) {
    if trust < 1.0 {
        let d = coefficients.len() / safe.len();
        for (row, safe) in coefficients.chunks_exact_mut(d).zip(safe) {
            for v in row {
                *v = (safe + trust * (f64::from(*v) - safe)) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_returns_after_a_burst_and_ends_if_bursts_do_not() {
        const GROWTH: f64 = 30.0;
        let mut guard = Guard::NEW;
        let rest = |guard: &mut Guard, u: f64| {
            for _ in 0..60 {
                guard.watch(u, GROWTH);
            }
            guard.trust
        };
        assert_eq!(rest(&mut guard, 1.0), 1.0);
        guard.watch(40.0, GROWTH);
        assert_eq!(guard.trust, 40.0_f64.recip() * 30.0);
        guard.watch(31.0, GROWTH);
        assert!(guard.trust < 0.61);
        // Down again, and then further than ever: the burst is forgiven but for a little.
        assert_eq!(rest(&mut guard, 2.0), CEILING);
        assert_eq!(rest(&mut guard, 0.1), CEILING);
        guard.watch(40.0, GROWTH);
        assert_eq!(rest(&mut guard, 0.2), CEILING * CEILING);
        // Bursts without progress in between cost more, and nothing is left in the end.
        for _ in 0..40 {
            guard.watch(40.0, GROWTH);
            rest(&mut guard, 0.2);
        }
        assert!(guard.trust < 1e-3, "{}", guard.trust);
    }

    #[test]
    fn without_a_guard_trust_stays() {
        let mut guard = Guard::NEW;
        for u in [1.0, 1e30, f64::NAN, 1e300] {
            guard.watch(u, 0.0);
            assert_eq!(guard.trust, 1.0);
        }
    }
}
