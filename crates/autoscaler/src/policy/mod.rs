//! How many instances there should be: pure decisions over snapshots.

mod hold;
mod plan;
#[cfg(test)]
mod properties;
mod seed;

use std::fmt;

pub use self::plan::Plan;
pub use self::seed::{Seed, SeedRate};
use crate::{Advice, Snapshot};

/// Decides from what it is shown, and from nothing else: no clock, no I/O, no randomness. The same snapshots give
/// the same advice, in production, in a test and in a simulation.
///
/// What a policy wants is brought within the limits by the scaler, which also keeps one instance while there is
/// work, and stops the last one only after it has been quiet for long enough: no policy can lose work.
pub trait Policy: fmt::Debug + Send + 'static {
    /// What it wants now. Called once for each look; a policy may keep what it has seen.
    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Advice;

    /// A copy that decides alike from here on: to explain, to replay, to ask what would be if.
    fn fork(&self) -> Box<dyn Policy>;
}

impl Policy for Box<dyn Policy> {
    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Advice {
        (**self).decide(snapshot)
    }

    fn fork(&self) -> Box<dyn Policy> {
        (**self).fork()
    }
}

/// ⌈x⌉, but no instance for less than `grace` of one; never below zero, never not a number.
fn instances(x: f64, grace: f64) -> u32 {
    // The cast saturates, and makes zero of what is no number.
    (x - grace).ceil() as u32
}
