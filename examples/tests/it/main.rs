//! What needs two pieces at once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod into_postgres;
mod into_sqlite;
mod shared_capacity;
mod shared_rate;
mod worker_dies;
