#![doc = include_str!("../README.md")]

pub mod lease;
#[cfg(feature = "server")]
pub mod server;
