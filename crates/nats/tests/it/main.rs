//! The nats crate against real servers.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod connect;
mod credentials;
mod permissions;
mod publish;
mod supervise;
mod support;
