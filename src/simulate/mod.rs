//! The plain simulator: the loop over steps ([`run`]), its metrics, the tuning of step sizes ([`tuning`]), and the audit of rules
//! ([`audit`]).

pub mod audit;
pub mod run;
pub mod tuning;

pub use run::{OptimumRefuted, Options, Sample, Status, Trace, simulate};
