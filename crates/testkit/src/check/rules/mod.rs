//! One file a rule.

pub(super) mod foreign;
pub(super) mod leak;
pub(super) mod limit;
pub(super) mod loss;
pub(super) mod reclaim;
pub(super) mod resize;
pub(super) mod starvation;
pub(super) mod tokens;
