//! Tests of sluicegate-core against its own contract.

mod contract;
mod memory;
mod mutants;
mod waiting;
