#![doc = include_str!("../README.md")]

#[cfg(any(feature = "futures", feature = "tower"))]
mod adapter;
mod batcher;
mod builder;
mod capacity;
mod config;
mod dead_letter;
mod engine;
mod error;
mod event;
mod halt;
mod handler;
mod ledger;
mod limit;
mod operation;
mod places;
mod retry;
mod shared;
mod stats;
mod ticket;
mod verdict;
mod watcher;

#[cfg(feature = "futures")]
pub use adapter::WatcherSink;
#[cfg(feature = "tower")]
pub use adapter::{ResponseFuture, WatcherService};
pub use batcher::Batcher;
pub use builder::BatcherBuilder;
pub use capacity::{
    Capacity, Driver, Fixed, Grant, LeasedShare, Rate, Share, SharedCapacity, SharedCapacityBuilder,
    SharedCapacityHandle, leases_for_total,
};
pub use config::{BatcherConfig, Flush, OnFull, OnTimeout, ThrottleScope, WatcherConfig};
pub use dead_letter::{DeadLetter, DeadLetterSink};
pub use engine::{Audit, Engine};
pub use error::{CallError, ConfigError, EnqueueError, EnqueueErrorKind, OpError};
pub use event::{BatchId, BatcherEvent, Findings, FlushReason};
pub use handler::{Batch, BatchContext, Handler, by_value, cloning, handler_fn};
pub use limit::{Aimd, Bucket};
pub use operation::Operation;
pub use retry::Retry;
pub use stats::{DrainReport, Outcomes, State, Stats};
pub use ticket::Ticket;
pub use verdict::{Verdict, Verdicts};
pub use watcher::{Watcher, WatcherBuilder, WatcherReport};
