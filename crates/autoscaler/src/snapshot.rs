use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::{Load, Rates, Service};

/// Between how many instances a scaler may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Never fewer.
    pub min: u32,
    /// Never more.
    pub max: u32,
}

impl Limits {
    /// `n`, brought within the limits.
    pub fn clamp(&self, n: u32) -> u32 {
        n.min(self.max).max(self.min)
    }
}

impl From<RangeInclusive<u32>> for Limits {
    fn from(range: RangeInclusive<u32>) -> Self {
        Self { min: *range.start(), max: *range.end() }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}

/// The fleet as a policy sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetView<'a> {
    /// The last order.
    pub target: u32,
    /// r: instances that work.
    pub ready: u32,
    /// For each instance that starts, how long until it is expected to work.
    pub starting: &'a [Duration],
    /// Instances that finish what they have and take nothing new.
    pub draining: u32,
    /// Instances that ended unasked and wait for their replacement.
    pub failed: u32,
}

impl<'a> FleetView<'a> {
    /// A fleet of that many ready instances, and those that start.
    pub fn new(ready: u32, starting: &'a [Duration]) -> Self {
        let target = ready.saturating_add(u32::try_from(starting.len()).unwrap_or(u32::MAX));
        Self { target, ready, starting, draining: 0, failed: 0 }
    }

    /// n: instances that work or will.
    pub fn count(&self) -> u32 {
        self.ready.saturating_add(u32::try_from(self.starting.len()).unwrap_or(u32::MAX))
    }
}

/// Everything a [`Policy`](crate::Policy) sees: it knows no clock but `at`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot<'a> {
    /// Time since the scaler started.
    pub at: Duration,
    /// The look.
    pub load: &'a Load,
    /// How fast messages come and go.
    pub rates: Rates,
    /// What one instance can do.
    pub service: Service,
    /// Who works.
    pub fleet: FleetView<'a>,
    /// c: from order to ready.
    pub cold_start: Duration,
    /// k: messages that one instance works on at once.
    pub slots: u32,
    /// Between how many instances to choose.
    pub limits: Limits,
    /// W: how long a wish to shrink must last.
    pub hold: Duration,
    /// How long it must have been quiet before the last instance may stop.
    pub zero_after: Duration,
    /// How long every valid look has found nothing pending, nothing in hand and nothing new.
    pub quiet: Duration,
    /// How long ago something arrived; `None` if nothing has since the start.
    pub since_arrival: Option<Duration>,
    /// How long the present fleet has had more to do than it could.
    pub saturated: Duration,
}

impl<'a> Snapshot<'a> {
    /// A look at a fleet with nothing else known: for tests of policies, which set the other fields.
    pub fn new(at: Duration, load: &'a Load, fleet: FleetView<'a>) -> Self {
        Self {
            at,
            load,
            rates: Rates::default(),
            service: Service::default(),
            fleet,
            cold_start: Duration::from_secs(1),
            slots: 1,
            limits: Limits { min: 0, max: u32::MAX },
            hold: Duration::from_secs(5),
            zero_after: Duration::from_secs(5),
            quiet: Duration::ZERO,
            since_arrival: None,
            saturated: Duration::ZERO,
        }
    }

    /// L: what waits, without what is in hand.
    pub fn backlog(&self) -> u64 {
        self.load.backlog(self.fleet.ready, self.slots)
    }
}
