//! What training can fail with.

use super::device::DeviceError;
use crate::algorithm::AlgorithmError;
use crate::files::FileError;
use crate::graph::GraphError;
use crate::problem::ProblemError;
use crate::ron::SpecError;
use crate::rule::RuleError;
use crate::simulate::OptimumRefuted;
use std::path::PathBuf;

/// Why training could not go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A recipe out of range.
    #[error("recipe: {0}")]
    Recipe(String),
    /// A checkpoint that cannot be written or read.
    #[error("checkpoint {}: {reason}", path.display())]
    Checkpoint {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Too many windows whose gradient was not finite.
    #[error(
        "{skipped} of {meta_steps} windows were skipped because their loss or gradient was not a finite number: nothing, or something \
         else, was trained. A smaller learning_rate or truncation helps where iterates diverge; other problems where F* is 0 (a truth \
         of zeros, sparsity: 1)"
    )]
    Skipped {
        /// Windows skipped.
        skipped: u64,
        /// Windows in all.
        meta_steps: u64,
    },
    /// A malformed recipe or progress file.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A problem.
    #[error(transparent)]
    Problem(#[from] ProblemError),
    /// A device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A rule file.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A rule that cannot be put into words.
    #[error("the rule cannot be written: {0}")]
    Text(#[from] ron::Error),
    /// The optimum of a validation problem is wrong.
    #[error(transparent)]
    Optimum(#[from] OptimumRefuted),
    /// A rule that does not fit its problems.
    #[error(transparent)]
    Algorithm(#[from] AlgorithmError),
}
