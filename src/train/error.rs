//! What training can fail with.

use super::device::DeviceError;
use crate::files::FileError;
use crate::graph::GraphError;
use crate::problem::ProblemError;
use crate::rule::{AlgorithmError, RuleError, SpecError};
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
    /// A rule that does not fit its problems.
    #[error(transparent)]
    Algorithm(#[from] AlgorithmError),
}
