//! Options as written in RON, by the method's name in the roster.

pub use super::abc::{Diging, Dlm, PgExtra, ProxAtc, ProxEd, SemiAtc};
pub use super::adaptive_tracking::{AdGt, BbTracking};
pub use super::admm::Options as Admm;
pub use super::dapg::Options as Dapg;
pub use super::diagonal_nids::Options as DiagonalNids;
pub use super::nids::Options as Nids;
pub use super::odapg::Options as Odapg;
pub use super::opapc::Options as Opapc;
pub use super::prox_dgd::Options as ProxDgd;
pub use super::prox_ed_fast::Options as ProxEdFast;
pub use super::prox_ed_momentum::Options as ProxEdMomentum;
pub use super::sonata::Options as Sonata;
