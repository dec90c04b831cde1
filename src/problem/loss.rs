//! The loss of one row: `φ(u, b)` with `u = a·x`, and what the solvers need of it. A loss is one file and one row here.

use serde::{Deserialize, Serialize};

/// A convex loss of one prediction `u = a·x` against its target `b`.
pub trait RowLoss: Send + Sync {
    /// `φ(u, b) ≥ 0`.
    fn value(&self, u: f64, b: f64) -> f64;
    /// `φ'(u, b)`, derivative in `u`.
    fn slope(&self, u: f64, b: f64) -> f64;
    /// `φ''(u, b)`; either side's where the two differ.
    fn curvature(&self, u: f64, b: f64) -> f64;
    /// `sup_u φ''(u, b)`.
    fn curvature_bound(&self) -> f64;
    /// Convex conjugate `φ*(ν, b) = sup_u νu − φ(u, b)`; infinite outside its domain, which holds 0.
    fn conjugate(&self, nu: f64, b: f64) -> f64;
    /// `M` with `|φ'''| ≤ M φ''`: how fast the curvature changes (generalized self-concordance, Bach 2010).
    fn change(&self) -> f64 {
        0.0
    }
    /// Distance of `u` to where `φ''` jumps.
    fn kink(&self, _u: f64, _b: f64) -> f64 {
        f64::INFINITY
    }
    /// Whether targets are labels −1 and +1.
    fn labels(&self) -> bool {
        false
    }
    /// What is wrong with the loss's own parameters: name, value, what was expected.
    fn fault(&self) -> Option<(&'static str, f64, &'static str)> {
        None
    }
}

/// A row per loss: its name in RON with its parameters, and its type.
macro_rules! losses {
    ($($(#[$doc:meta])* $name:ident $({ $($(#[$field_doc:meta])* $field:ident),+ })? = $type:path,)+) => {
        /// Which loss a problem has, as written in RON.
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub enum Loss {
            $($(#[$doc])* $name $({ $($(#[$field_doc])* $field: f64),+ })?,)+
        }

        impl Loss {
            /// The names with their parameters, as they are typed.
            pub const FORMS: &[&str] =
                &[$(concat!(stringify!($name) $(, "(", $(stringify!($field), ": … ",)+ ")")?)),+];
        }

        impl std::fmt::Display for Loss {
            /// As typed in RON.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$name $({ $($field),+ })? => {
                        write!(f, stringify!($name))?;
                        $(let given = [$(format!("{}: {}", stringify!($field), $field)),+];
                        write!(f, "({})", given.join(", "))?;)?
                    })+
                }
                Ok(())
            }
        }

        /// Runs `$body` with `$l` standing for the loss's implementation.
        macro_rules! with_loss {
            ($loss:expr, $l:ident => $body:expr) => {
                match $loss {
                    $($crate::problem::Loss::$name $({ $($field),+ })? => {
                        use $type as Row;
                        let $l = Row $({ $($field),+ })?;
                        $body
                    })+
                }
            };
        }
        pub(crate) use with_loss;
    };
}

losses! {
    /// `(a·x − b)²/2`
    LeastSquares = crate::problem::least_squares::LeastSquares,
    /// `ln(1 + exp(−b a·x))`, `b = ±1`
    Logistic = crate::problem::logistic::Logistic,
    /// `(a·x − b)²/2` up to a distance `delta`, linear beyond
    Huber {
        /// Where it becomes linear.
        delta
    } = crate::problem::huber::Huber,
    /// `max(0, 1 − b a·x)²/2`, `b = ±1`
    SquaredHinge = crate::problem::squared_hinge::SquaredHinge,
    /// The quantile ("pinball") loss, rounded off at the kink
    Quantile {
        /// Which quantile, above 0 and below 1.
        level,
        /// How far the rounding reaches.
        smoothing
    } = crate::problem::quantile::Quantile,
}

impl Loss {
    /// Whether targets are labels −1 and +1.
    pub fn labels(self) -> bool {
        with_loss!(self, l => l.labels())
    }

    /// See [`RowLoss::curvature_bound`].
    pub(crate) fn curvature_bound(self) -> f64 {
        with_loss!(self, l => l.curvature_bound())
    }

    /// See [`RowLoss::change`].
    pub(crate) fn change(self) -> f64 {
        with_loss!(self, l => l.change())
    }

    /// What is wrong with its parameters: name, value, what was expected.
    pub(crate) fn fault(self) -> Option<(&'static str, f64, &'static str)> {
        with_loss!(self, l => l.fault())
    }
}
