//! One binary, one file a subject. `simulated`, `must_not`, `tasks` and `leader` run in memory on the paused clock;
//! `consumer` and `end_to_end` run against a real server.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod leader;
mod must_not;
mod simulated;
mod tasks;
mod world;

#[cfg(feature = "nats")]
mod consumer;
#[cfg(feature = "nats")]
mod end_to_end;
#[cfg(feature = "nats")]
mod nats;
