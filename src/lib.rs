//! Starling learns decentralized optimization algorithms.
//!
//! Agents on a graph minimise `F(x) = (1/n) Σ_i f_i(x) + r(x)`; agent `i` sees only `f_i`, the shared `r` and its neighbours'
//! messages. A *rule* is an update whose structure is derived from the optimality and consensus conditions and whose
//! coefficients come from small networks; it is meta-trained by unrolling, frozen into a file, and run by a plain f64
//! simulator for as long as you like (after MiLoDo, arXiv:2410.01700).
//!
//! The road that data takes, and the order of the modules (each imports only what stands before it):
//!
//! 1. [`random`], [`files`], [`field`], [`ron`]: counter-based randomness, atomic files, dense `[agents, d]` arrays, text as people write it
//! 2. [`graph`]: topologies and mixing matrices
//! 3. [`data`]: data sets and how their rows are split over agents
//! 4. [`problem`]: losses, regularizers, families, the certified optimum `F*`
//! 5. [`network`]: the only way to reach a neighbour, and its bill
//! 6. [`algorithm`]: the trait
//! 7. [`method`]: handcrafted methods, a file each
//! 8. [`rule`]: the learned structures and their frozen file
//! 9. [`roster`]: every algorithm, a row each
//! 10. [`simulate`]: the loop and its metrics; tuning; audit
//! 11. `report`, a feature: tables, plots, pages
//! 12. `train` (features `cpu`, `wgpu`): the rules as Burn modules, unrolling, meta-gradients, checkpoints

// Links to private items are for those who read the source.
#![allow(rustdoc::private_intra_doc_links)]

pub mod algorithm;
pub mod data;
pub mod field;
pub mod files;
pub mod graph;
pub mod method;
pub mod network;
pub mod problem;
pub mod random;
#[cfg(feature = "report")]
pub mod report;
pub mod ron;
pub mod roster;
pub mod rule;
pub mod simulate;
#[cfg(feature = "train")]
pub mod train;
