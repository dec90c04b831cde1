//! Learned rules: "derived constraint first, network inside". The networks choose only coefficients; the limit is exact
//! whatever they output.
//!
//! [`shared`] is ours (one pair of small networks, any graph); [`milodo`] is the published rule (networks per agent, one graph).
//! [`safeguard`] makes every run of `shared` converge. [`frozen`] is the file, [`spec`] what is written in RON; `simulate::audit` checks the conditions.

pub mod dense;
pub mod features;
pub mod frozen;
mod guard;
pub mod lstm;
pub(crate) mod math;
pub mod milodo;
pub mod mlp;
pub mod perceptron;
pub mod safeguard;
pub mod shared;
pub mod spec;

pub use frozen::{FrozenRule, Provenance, RuleError, Structure};
pub use milodo::Milodo;
pub use safeguard::Safeguard;
pub use shared::{Constants, Shared, SharedRule};
pub use spec::{AlgorithmError, AlgorithmSpec, SpecError, parse_ron};
