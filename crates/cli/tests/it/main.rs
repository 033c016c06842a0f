//! The binary as a user runs it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "demo")]
mod bad_input;
mod capacity;
mod governor;
mod memory;
mod pipe;
#[cfg(feature = "demo")]
mod server;
mod terminal;
mod tool;
mod usage;
mod users;
