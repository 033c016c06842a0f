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
    /// The handler failed them, for the last time.
    pub failed: u64,
    /// The handler took longer than it may.
    pub timed_out: u64,
    /// Their deadline passed before they were started.
    pub deadline_passed: u64,
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
        let Self { done, failed, timed_out, deadline_passed, panicked, no_verdict, cancelled, shut_down } =
            self;
        done + failed + timed_out + deadline_passed + panicked + no_verdict + cancelled + shut_down
    }

    fn with(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            done: combine(self.done, other.done),
            failed: combine(self.failed, other.failed),
            timed_out: combine(self.timed_out, other.timed_out),
            deadline_passed: combine(self.deadline_passed, other.deadline_passed),
            panicked: combine(self.panicked, other.panicked),
            no_verdict: combine(self.no_verdict, other.no_verdict),
            cancelled: combine(self.cancelled, other.cancelled),
            shut_down: combine(self.shut_down, other.shut_down),
        }
    }
}

impl AddAssign for Outcomes {
    fn add_assign(&mut self, other: Self) {
        *self = self.with(other, u64::saturating_add);
    }
}

/// What happened since an earlier reading.
impl Sub for Outcomes {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        self.with(earlier, u64::saturating_sub)
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
    /// Starts nothing for a while. Operations are accepted, running batches go on.
    Paused,
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
    /// Operations that wait, those that wait for another attempt included.
    pub buffered: u64,
    /// Operations that wait for another attempt.
    pub backing_off: u64,
    /// Operations that are with a handler.
    pub running: u64,
    /// Batches that are with a handler.
    pub batches_running: u64,
    /// Batches ever started.
    pub batches_started: u64,
    /// Sum of the costs of what was accepted and has not ended, in units, but for what waits for another attempt.
    pub target: u64,
    /// Operations that were sent back for another attempt, ever.
    pub retried: u64,
    /// Operations that the datastore throttled, ever.
    pub throttled: u64,
    /// Sum of the costs of everything dispatched, ever, in units.
    pub spent: u64,
    /// What the capacity allows now, in units per second; none without a capacity.
    pub rate: Option<u64>,
    /// What the datastore bears, as far as its throttling has shown, in units per second; none until it throttles.
    pub adapted: Option<u64>,
    /// Panics that were caught in observers, retry predicates and dead-letter sinks.
    pub callback_panics: u64,
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
