//! Real servers: they start, keep their data, suffer as told, and die with the test.

mod nats_server;
mod wire;
