//! The batcher as its users see it, on the paused clock.

#![allow(clippy::unwrap_used)]

mod accept;
#[cfg(all(feature = "futures", feature = "tower"))]
mod adapters;
mod again;
mod aimd;
mod bucket;
mod defects;
mod determinism;
mod drain;
mod fault;
mod flush;
mod idle;
mod lab;
mod limits;
mod outcome;
mod pool_faults;
mod programs;
mod rate;
mod retry_order;
mod shared;
mod shared_equal;
mod shared_law;
mod shared_live;
mod stress;
