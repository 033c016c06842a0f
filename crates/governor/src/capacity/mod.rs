//! A rate that processes share by leasing parts of it: a native pool whose stream says what its leases are worth.

mod admin;
mod config;
mod edit;
mod pool;
mod share;
mod units;

pub use self::admin::CapacityAdmin;
pub use self::config::CapacityConfig;
pub use self::edit::CapacityEdit;
pub use self::pool::CapacityPool;
pub use self::share::CapacityShare;
pub(crate) use self::units::set_limit;
pub use self::units::{GovernorKind, Units, UnitsError};
