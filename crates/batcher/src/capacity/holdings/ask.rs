use std::mem;
use std::num::NonZeroU32;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff};
use sluicegate_core::{FencingToken, Lease, LeaseError};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::super::SharedCapacity;
use super::super::learning::Standing;
use super::{Held, Holdings, News, keeper};
use crate::BatcherEvent;

/// Most attempts to acquire that are under way at once.
const WIDEST: usize = 32;

/// Whether asking the pool makes sense, and how much of it.
pub(super) struct Gate {
    door: Door,
    /// How many attempts may be under way: one more for each success.
    width: usize,
    delays: Option<ExponentialBackoff>,
}

enum Door {
    Open,
    /// It was full. Asked again when a slot is said to be free, or a look says so, or is not possible.
    Full {
        /// Waits for a hint.
        hint: Option<AbortHandle>,
        /// Slots are said to be free; who needs them more goes first.
        told: Option<(Instant, usize)>,
    },
    /// It failed.
    Failed {
        until: Instant,
    },
}

impl Default for Gate {
    fn default() -> Self {
        Self { door: Door::Open, width: 1, delays: None }
    }
}

impl Gate {
    pub(super) fn is_full(&self) -> bool {
        matches!(self.door, Door::Full { .. })
    }

    /// Slots are said to be free.
    pub(super) fn is_told(&self) -> bool {
        matches!(self.door, Door::Full { told: Some(_), .. })
    }

    fn open(&mut self, width: usize) {
        let Door::Full { hint, .. } = &mut self.door else { return };
        if let Some(hint) = hint.take() {
            hint.abort();
        }
        self.door = Door::Open;
        self.width = width.clamp(1, WIDEST);
    }
}

impl Holdings<'_> {
    /// Asks for what is missing, as far as that makes sense now. Returns when to look again.
    pub(super) fn ask(&mut self, wanted: usize, now: Instant) -> Option<Instant> {
        if self.held.len() >= wanted {
            self.knock();
            return None;
        }
        if !self.outlook.is_clear(now, !self.held.is_empty()) {
            return None;
        }
        if let Some(until) = self.learning.until(now).or(self.lending.is_open(now)) {
            return Some(until);
        }
        match self.gate.door {
            Door::Open => {}
            Door::Failed { until } if now < until => return Some(until),
            Door::Failed { .. } => self.gate.door = Door::Open,
            Door::Full { told: None, ref mut hint } => {
                if hint.is_none() {
                    let pool = self.inner.pool.clone();
                    *hint = Some(self.tasks.spawn(async move { News::Freed(pool.freed().await) }));
                }
                return None;
            }
            Door::Full { told: Some((at, slots)), .. } => {
                let hurry = self.held.len() < self.division().fair;
                if !hurry && now < at {
                    return Some(at);
                }
                self.gate.open(slots);
            }
        }
        while self.asking.len() < self.gate.width
            && self.held.len() + self.unproven.len() + self.asking.len() < wanted
        {
            let (pool, request) = (self.inner.pool.clone(), self.inner.request.clone());
            let ask = self.tasks.spawn(async move { News::Asked(pool.try_acquire(&request).await) });
            self.asking.insert(ask.id(), self.learning.mark());
        }
        None
    }

    /// There may be something again.
    pub(super) fn knock(&mut self) {
        self.gate.open(1);
    }

    pub(super) fn freed(&mut self, slots: NonZeroU32, now: Instant) {
        let patience = self.division().patience(self.held.len());
        if let Door::Full { hint, told } = &mut self.gate.door {
            *hint = None;
            *told = Some((now + patience, slots.get() as usize));
        }
    }

    pub(super) fn asked(
        &mut self,
        answer: Result<Option<Lease>, LeaseError>,
        asked: FencingToken,
        now: Instant,
    ) {
        match answer {
            Ok(Some(lease)) => self.granted(lease, asked, now),
            Ok(None) => {
                self.gate.width = 1;
                self.lending.refused();
                if !self.gate.is_full() {
                    let (held, wanted) = (self.held.len() as u32, self.told.1 as u32);
                    self.driver.emit(&BatcherEvent::PoolFull { held, wanted });
                    self.gate.door = Door::Full { hint: None, told: None };
                }
            }
            Err(error) => {
                self.driver.emit(&BatcherEvent::PoolError { kind: error.kind(), doing: "acquire" });
                self.fail(now);
            }
        }
    }

    fn granted(&mut self, lease: Lease, asked: FencingToken, now: Instant) {
        match self.standing(&lease, asked, now) {
            Standing::Sound if self.unproven.is_empty() => self.take(lease, now),
            Standing::Sound | Standing::Unproven => self.unproven.push(lease),
            Standing::Early | Standing::Anew => self.give_back(lease),
        }
    }

    /// A look has shown the pool that was there before, or another one.
    pub(super) fn proven(&mut self, now: Instant) {
        for lease in mem::take(&mut self.unproven) {
            if self.learning.until(now).is_none() {
                self.take(lease, now);
            } else {
                self.give_back(lease);
            }
        }
    }

    fn take(&mut self, lease: Lease, now: Instant) {
        if lease.deadline() <= now + SharedCapacity::GUARD {
            self.give_back(lease);
            self.fail(now);
            return;
        }
        self.gate.width = (self.gate.width + 1).min(WIDEST);
        self.gate.delays = None;
        self.driver.emit(&BatcherEvent::LeaseAcquired { lease: lease.id(), token: lease.token() });
        let keeper = self.keep(lease.clone());
        self.held.push(Held { lease, from: now, keeper });
        self.lending.granted(self.held.len());
        self.publish();
    }

    /// The pool did not do what was asked: the next attempt comes later and later.
    pub(super) fn fail(&mut self, now: Instant) {
        self.gate.width = 1;
        if self.gate.is_full() {
            return;
        }
        let delays =
            self.gate.delays.get_or_insert_with(|| keeper::backoff(Duration::from_millis(50)).build());
        let delay = delays.next().unwrap_or(keeper::LONGEST_DELAY);
        self.gate.door = Door::Failed { until: now + self.random.jitter(delay, 0.25) };
    }
}
