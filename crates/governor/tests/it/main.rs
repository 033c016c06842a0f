//! The pools against real servers.

mod contract;
mod support;
