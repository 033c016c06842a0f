//! The nats crate against real servers.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod connect;
mod credentials;
mod jwt;
mod permissions;
mod plain;
mod publish;
mod supervise;
mod support;
