//! Learned rules: "derived constraint first, network inside". The networks choose only coefficients; the limit is exact
//! whatever they output.
//!
//! [`shared`] is ours (one pair of small networks, any graph); [`milodo`] is the published rule (networks per agent, one graph).
//! [`safeguard`] makes every run of `shared` converge. [`constants`] is `shared` without networks, [`frozen`] the file;
//! `simulate::audit` checks the conditions.

pub mod constants;
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

pub use frozen::{FrozenRule, Provenance, RuleError, Structure};
pub use milodo::Milodo;
pub use safeguard::Safeguard;
pub use shared::{Constants, Shared, SharedRule};
