#![doc = include_str!("../README.md")]

mod batcher;
mod builder;
mod capacity;
mod config;
mod engine;
mod error;
mod event;
mod handler;
mod ledger;
mod limit;
mod operation;
mod shared;
mod stats;
mod ticket;
mod verdict;
mod watcher;

pub use batcher::Batcher;
pub use builder::BatcherBuilder;
pub use capacity::{
    Capacity, Driver, Fixed, Grant, LeasedShare, Rate, Share, SharedCapacity, SharedCapacityBuilder,
};
pub use config::{BatcherConfig, Flush, WatcherConfig};
pub use engine::Engine;
pub use error::{CallError, ConfigError, EnqueueError, EnqueueErrorKind, OpError};
pub use event::{BatchId, BatcherEvent, FlushReason};
pub use handler::{Batch, BatchContext, Handler, by_value, handler_fn};
pub use limit::Bucket;
pub use operation::Operation;
pub use stats::{DrainReport, Outcomes, State, Stats};
pub use ticket::Ticket;
pub use verdict::{Verdict, Verdicts};
pub use watcher::{Watcher, WatcherBuilder};
