//! The contract of [`LeasePool`](sluicegate_core::LeasePool) as tests, and a decorator that injects faults.
//!
//! Any implementation runs the whole suite with one macro call: see [`lease_contract!`](crate::lease_contract).

mod fault;
mod fixture;
mod macros;
pub mod suite;

pub use fault::{Fault, Faulty, Switch};
pub use fixture::{Faulted, PoolFixture};
