//! Real servers: they start, keep their data, suffer as told, and die with the test.

mod cluster;
#[cfg(feature = "container")]
mod container;
mod mortality;
mod nats_server;
mod provision;
mod proxy;
mod stan_server;
mod wire;
