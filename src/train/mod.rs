//! The training half: the rules as Burn modules, unrolled, differentiated, trained, checkpointed.
//!
//! Read in this order: [`recipe`] what is trained on what; [`batch`] problems as tensors; [`shared`] and [`milodo`] the rules'
//! twins, their networks as one operation each ([`kernel`]); [`meta_loss`]; [`trainer`] the loop; [`checkpoint`].

pub mod batch;
pub mod checkpoint;
pub mod chunks;
pub mod device;
mod error;
pub mod kernel;
mod loss;
pub mod meta_loss;
pub mod milodo;
pub mod parameters;
pub mod recipe;
pub mod shared;
pub mod trainer;
pub mod unroll;

pub use device::{DeviceChoice, TrainDevice};
pub use error::TrainError;
pub use recipe::Recipe;
pub use trainer::{Progress, train};
