//! Tests of sluicegate-core against its own contract.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;
mod line;
mod memory;
mod mutants;
mod waiting;
