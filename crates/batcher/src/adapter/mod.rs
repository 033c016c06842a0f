//! Watchers as other crates know such things.

mod reservation;
#[cfg(feature = "futures")]
mod sink;
#[cfg(feature = "tower")]
mod tower;

#[cfg(feature = "futures")]
pub use self::sink::WatcherSink;
#[cfg(feature = "tower")]
pub use self::tower::{ResponseFuture, WatcherService};
