//! Least squares with many more rows than columns, without the rows: with `A = QR`,
//!
//! `‖Ax − b‖² = ‖Rx − Qᵀb‖² + ‖(I − QQᵀ)b‖²`,
//!
//! the same function of `x` from `d` rows and a constant. Householder reflections, so that nothing is lost as in `AᵀA`, and small
//! values of the objective stay exact.

use super::{Loss, Shard};
use nalgebra::{DMatrix, DVector};

/// Rows per column from which on it pays.
const MANY: usize = 2;

/// What gradients and values of an agent are computed from.
#[derive(Clone, Debug)]
pub(super) struct Compact {
    /// `R` and `Qᵀb`.
    pub rows: Shard,
    /// `‖(I − QQᵀ)b‖²/2`
    pub rest: f64,
}

impl Compact {
    /// `None` where the rows themselves are as good.
    pub fn new(loss: Loss, shard: &Shard, dimension: usize) -> Option<Self> {
        let rows = shard.targets.len();
        if loss != Loss::LeastSquares || rows < MANY * dimension {
            return None;
        }
        let qr = DMatrix::from_row_slice(rows, dimension, &shard.features).qr();
        let mut targets = DVector::from_column_slice(&shard.targets);
        qr.q_tr_mul(&mut targets);
        let r = qr.r();
        Some(Self {
            rest: 0.5 * targets.rows_range(dimension..).norm_squared(),
            rows: Shard {
                // The slice by columns is the transpose.
                features: r.transpose().as_slice().to_vec(),
                targets: targets.as_slice()[..dimension].to_vec(),
            },
        })
    }
}
