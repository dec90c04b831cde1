//! Meta-losses: what a window of the unrolled run is worth, one number per step, averaged over the batch.

use super::batch::Batch;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Below this relative gap the logarithm stops rewarding: the rounding of f32 iterates.
pub const GAP_FLOOR: f64 = 1e-12;

/// The meta-loss of one step; a window's is the mean over its steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaLoss {
    /// `F(x̄)`, as published. No signal at small gaps.
    MeanObjective,
    /// `log₁₀` of the relative gap.
    #[default]
    LogGap,
}

impl MetaLoss {
    /// Whether it compares with the optimum, which then has to be found for every training problem.
    pub fn needs_optimum(self) -> bool {
        self == Self::LogGap
    }

    /// The batch mean of the step's loss, `[1]`; `x`: `[n·B, d]`.
    pub fn of(self, batch: &Batch, x: Tensor<2>) -> Tensor<1> {
        match self {
            Self::MeanObjective => batch.objective(x).mean(),
            Self::LogGap => ((batch.gap(x) + GAP_FLOOR).log() / std::f64::consts::LN_10).mean(),
        }
    }
}
