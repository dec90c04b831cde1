//! The plain simulator: the loop over steps ([`run`]), its metrics, and the tuning of step sizes ([`tuning`]).

pub mod run;
pub mod tuning;

pub use run::{Options, Sample, Status, Trace, simulate};
