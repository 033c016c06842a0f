use std::ops::{AddAssign, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many operations ended in which way. Each accepted operation ends in exactly one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Outcomes {
    /// The handler succeeded.
    pub done: u64,
    /// The handler failed them.
    pub failed: u64,
    /// The handler panicked.
    pub panicked: u64,
    /// The handler gave the wrong number of verdicts.
    pub no_verdict: u64,
    /// Their ticket was dropped before they were dispatched.
    pub cancelled: u64,
    /// The batcher stopped first.
    pub shut_down: u64,
}

impl Outcomes {
    /// All of them together.
    pub fn total(&self) -> u64 {
        self.done + self.failed + self.panicked + self.no_verdict + self.cancelled + self.shut_down
    }
}

impl AddAssign for Outcomes {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.panicked += other.panicked;
        self.no_verdict += other.no_verdict;
        self.cancelled += other.cancelled;
        self.shut_down += other.shut_down;
    }
}

/// What happened since an earlier reading.
impl Sub for Outcomes {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            done: self.done.saturating_sub(earlier.done),
            failed: self.failed.saturating_sub(earlier.failed),
            panicked: self.panicked.saturating_sub(earlier.panicked),
            no_verdict: self.no_verdict.saturating_sub(earlier.no_verdict),
            cancelled: self.cancelled.saturating_sub(earlier.cancelled),
            shut_down: self.shut_down.saturating_sub(earlier.shut_down),
        }
    }
}

/// Where a batcher stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum State {
    /// Its engine does not run yet. Operations are accepted.
    Built,
    /// At work.
    Running,
    /// Finishes what it has; accepts nothing.
    Draining,
    /// Everything has ended.
    Stopped,
}

/// A snapshot of counters and gauges. Between two batches of quiet, `accepted = outcomes.total() + buffered +
/// running`; while operations move, the parts may have been read a moment apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Stats {
    /// Where the batcher stands in its life.
    pub state: State,
    /// Operations ever accepted.
    pub accepted: u64,
    /// How they ended.
    pub outcomes: Outcomes,
    /// Operations that wait.
    pub buffered: u64,
    /// Operations that are with a handler.
    pub running: u64,
    /// Batches that are with a handler.
    pub batches_running: u64,
    /// Batches ever started.
    pub batches_started: u64,
    /// Sum of the costs of what was accepted and has not ended, in units.
    pub target: u64,
    /// The rate now, in units per second; none without a capacity.
    pub rate: Option<u64>,
    /// Panics of the observer that were caught.
    pub observer_panics: u64,
}

/// What became of the operations that were outstanding when a drain, or an abort, began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct DrainReport {
    /// How they ended.
    pub outcomes: Outcomes,
    /// Everything ended in time, nothing was cut off.
    pub complete: bool,
    /// How long it took, the release of leases included.
    #[serde(with = "sluicegate_core::human")]
    pub elapsed: Duration,
}
