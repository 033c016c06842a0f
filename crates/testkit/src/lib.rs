#![doc = include_str!("../README.md")]

#[cfg(feature = "check")]
pub mod check;
#[cfg(feature = "figures")]
pub mod figures;
pub mod lease;
#[cfg(feature = "record")]
pub mod record;
#[cfg(feature = "server")]
pub mod server;
