use std::time::Duration;

use sluicegate_core::{FencingToken, Incarnation, Lease, LossCause, PoolDescription};
use tokio::time::Instant;

use super::SharedCapacity;

/// Whether the pool may have forgotten leases that their holders still count on: until those have run out, nothing
/// is acquired.
///
/// Pure: it reads no clock.
#[derive(Clone, Debug)]
pub(super) struct Learning {
    until: Option<Instant>,
    /// A lease is gone, and why may still be heard.
    suspended: Option<Instant>,
    seen: FencingToken,
    epoch: u64,
    incarnation: Option<Incarnation>,
    /// The pool has said what it is.
    met: bool,
    /// The pool's maker says that nobody has ever held a lease of it before.
    fresh: bool,
}

/// What a lease is that was just granted or renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Sound,
    /// The first one of a pool that tells its lives apart: of which life it is only another look shows.
    Unproven,
    /// It was asked for before learning began, or comes late from a former life of the pool: not to be used.
    Early,
    /// The pool has begun anew.
    Anew,
}

impl Learning {
    /// How long an explanation is waited for.
    pub(super) const EXPLANATION: Duration = Duration::from_millis(200);

    pub(super) fn new(fresh: bool) -> Self {
        Self {
            until: None,
            suspended: None,
            seen: FencingToken(0),
            epoch: 0,
            incarnation: None,
            met: false,
            fresh,
        }
    }

    /// After a loss of state every lease has run out, by its holder's clock, when that much has passed by ours.
    pub(super) fn term(ttl: Duration) -> Duration {
        ttl + ttl / 1_000 + SharedCapacity::GUARD
    }

    /// Until when nothing is acquired, if it is so at that time.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.max(self.suspended).filter(|until| *until > now)
    }

    /// When the term ends that is learned for.
    pub(super) fn end(&self) -> Option<Instant> {
        self.until
    }

    /// The largest token known; what is asked for from now on gets a larger one.
    pub(super) fn mark(&self) -> FencingToken {
        self.seen
    }

    /// The pool has said what it is. True: learning begins, or lasts longer than before.
    pub(super) fn described(&mut self, description: &PoolDescription, now: Instant) -> bool {
        let stranger = !std::mem::replace(&mut self.met, true) && !self.fresh;
        let anew = match (&self.incarnation, &description.incarnation) {
            (Some(before), Some(now)) => before != now,
            _ => false,
        };
        if anew {
            self.forget();
        }
        if description.incarnation.is_some() {
            self.incarnation.clone_from(&description.incarnation);
        }
        let term = Self::term(description.ttl);
        match description.age {
            Some(age) if anew || stranger => self.extend(now, term.saturating_sub(age)),
            None if anew => self.extend(now, term),
            _ => false,
        }
    }

    /// A lease of ours ended before its deadline. True: learning begins, or lasts longer than before.
    pub(super) fn lost(&mut self, cause: LossCause, ttl: Duration, now: Instant) -> bool {
        self.suspended = None;
        match cause {
            LossCause::Recreated | LossCause::Deleted | LossCause::Gone => {
                self.forget();
                self.extend(now, Self::term(ttl))
            }
            // Somebody with authority did it, or our own clock; the pool knows what it has granted.
            _ => false,
        }
    }

    /// A lease of ours is gone, and its pool may explain that yet.
    pub(super) fn suspend(&mut self, now: Instant) {
        self.suspended = self.suspended.max(Some(now + Self::EXPLANATION));
    }

    /// A lease was granted or renewed; when it was asked for, that token had been seen.
    pub(super) fn granted(
        &mut self,
        lease: &Lease,
        asked: FencingToken,
        ttl: Duration,
        now: Instant,
    ) -> Standing {
        let behind = lease.token() <= asked;
        let anew = self.epoch != 0 && lease.epoch() > self.epoch;
        if behind || anew {
            self.seen = lease.token();
            self.epoch = lease.epoch();
            self.extend(now, Self::term(ttl));
            return Standing::Anew;
        }
        self.seen = self.seen.max(lease.token());
        let of_a_former_life = lease.epoch() != 0 && lease.epoch() < self.epoch;
        if of_a_former_life || self.until(now).is_some() {
            Standing::Early
        } else if lease.epoch() == self.epoch || lease.epoch() == 0 {
            Standing::Sound
        } else {
            self.epoch = lease.epoch();
            Standing::Unproven
        }
    }

    /// What has been learned for once is no news again.
    fn forget(&mut self) {
        self.seen = FencingToken(0);
        self.epoch = 0;
    }

    fn extend(&mut self, now: Instant, term: Duration) -> bool {
        let until = now + term;
        let longer = !term.is_zero() && self.until.is_none_or(|old| old < until);
        if longer {
            self.until = Some(until);
        }
        longer
    }
}
