//! Real servers: they start, keep their data, suffer as told, and die with the test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
#[cfg(feature = "container")]
mod container;
mod mortality;
mod nats_server;
mod postgres;
mod provision;
mod proxy;
mod stan_server;
mod wire;
