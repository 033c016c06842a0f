//! Tests of the crate from outside, on real servers and on the paused clock.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod contract;
mod group;
mod mapping;
mod memory;
mod rebuilt;
mod restart;
mod support;
