//! The pools against real servers.

mod admin;
mod contract;
mod create;
mod hints;
mod leaks;
mod loss;
mod native;
mod permissions;
mod support;
mod weights;
mod wire;
