//! The pools against real servers.

mod adaptive;
mod admin;
mod advisories;
mod alternate;
mod capacity;
mod choria;
mod contract;
mod counting;
mod create;
mod deposed;
mod fake;
mod faults;
mod governor;
mod hints;
mod interop;
mod leaks;
mod loss;
mod native;
mod native_r3;
mod notes;
mod operations;
#[path = "../common/peer.rs"]
mod peer;
mod permissions;
mod permits;
mod renewals;
mod replicated;
mod scripted;
mod support;
mod tickets;
#[path = "../common/turns.rs"]
mod turns;
mod watcher;
mod weights;
mod wire;
