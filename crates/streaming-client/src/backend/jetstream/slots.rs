use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::task::AtomicWaker;
use sluicegate_core::later;
use tokio::time::Instant;

/// What one subscription has in flight, by stream sequence. Bounds what it pulls, and knows where a position that
/// vanished has to go on.
#[derive(Debug)]
pub(super) struct Slots {
    inner: Mutex<Inner>,
    /// Woken when something is settled.
    pub(super) waker: AtomicWaker,
    /// Remembers what is unsettled even when it no longer takes up room: for positions that are this
    /// subscription's alone.
    remembers: bool,
}

#[derive(Debug, Default)]
struct Inner {
    /// Until when each unsettled message takes up room; `None`: it no longer does, as it will be sent again.
    unsettled: BTreeMap<u64, Option<Instant>>,
    /// How many take up room.
    taken: usize,
    /// The highest sequence ever delivered.
    last: u64,
    /// What is at or below it, and not unsettled, was settled here before.
    settled_below: u64,
}

/// What to do with a message that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Hand it over; `true`: it was handed over before.
    Deliver(bool),
    /// It was settled here before.
    Settled,
}

impl Slots {
    pub(super) fn new(remembers: bool) -> Self {
        Self { inner: Mutex::default(), waker: AtomicWaker::new(), remembers }
    }

    pub(super) fn remembers(&self) -> bool {
        self.remembers
    }

    pub(super) fn arrive(&self, sequence: u64, expires: Instant) -> Arrival {
        let mut inner = self.lock();
        let seen = inner.unsettled.contains_key(&sequence);
        if sequence <= inner.settled_below && !seen {
            return Arrival::Settled;
        }
        if inner.unsettled.insert(sequence, Some(expires)).flatten().is_none() {
            inner.taken += 1;
        }
        inner.last = inner.last.max(sequence);
        Arrival::Deliver(seen)
    }

    /// Done with: it does not come again.
    pub(super) fn settle(&self, sequence: u64) {
        let mut inner = self.lock();
        if inner.unsettled.remove(&sequence).flatten().is_some() {
            inner.taken -= 1;
        }
        drop(inner);
        self.waker.wake();
    }

    /// Handed back: it comes again.
    pub(super) fn give_back(&self, sequence: u64) {
        if !self.remembers {
            return self.settle(sequence);
        }
        let mut inner = self.lock();
        if let Some(until) = inner.unsettled.get_mut(&sequence)
            && until.take().is_some()
        {
            inner.taken -= 1;
        }
        drop(inner);
        self.waker.wake();
    }

    pub(super) fn extend(&self, sequence: u64, expires: Instant) {
        if let Some(Some(until)) = self.lock().unsettled.get_mut(&sequence) {
            *until = expires;
        }
    }

    /// How many take up room. Those whose time is over do not: the server sends them again, to whomever.
    pub(super) fn taken(&self) -> usize {
        self.lock().taken
    }

    pub(super) fn expire(&self, now: Instant) {
        let mut inner = self.lock();
        let over = |until: &Option<Instant>| until.is_some_and(|until| until <= now);
        if self.remembers {
            let mut freed = 0;
            for until in inner.unsettled.values_mut().filter(|until| over(until)) {
                *until = None;
                freed += 1;
            }
            inner.taken -= freed;
        } else {
            inner.unsettled.retain(|_, until| !over(until));
            inner.taken = inner.unsettled.len();
        }
    }

    /// Where a position that is to skip nothing goes on; `None`: nothing was ever delivered.
    pub(super) fn resume_at(&self) -> Option<u64> {
        let inner = self.lock();
        let oldest = inner.unsettled.keys().next().copied();
        oldest.or_else(|| (inner.last > 0).then_some(inner.last + 1))
    }

    /// The position was made anew at [`resume_at`](Self::resume_at): what comes again below `last` is known.
    pub(super) fn resumed(&self) {
        let mut inner = self.lock();
        inner.settled_below = inner.last;
    }

    /// Sequences begin again.
    pub(super) fn reset(&self) {
        *self.lock() = Inner::default();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time until which a message that is delivered now takes up room.
pub(super) fn expiry(now: Instant, ack_wait: Duration) -> Instant {
    later(now, ack_wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_position_made_anew_skips_nothing_and_repeats_nothing_settled() {
        let slots = Slots::new(true);
        let later = Instant::now() + Duration::from_secs(10);
        for sequence in 1..=5 {
            assert_eq!(slots.arrive(sequence, later), Arrival::Deliver(false));
        }
        slots.settle(1);
        slots.settle(2);
        slots.settle(4);
        slots.give_back(5);
        assert_eq!((slots.taken(), slots.resume_at()), (1, Some(3)));
        slots.resumed();
        let arrivals: Vec<_> = (3..=6).map(|sequence| slots.arrive(sequence, later)).collect();
        use Arrival::{Deliver, Settled};
        assert_eq!(arrivals, [Deliver(true), Settled, Deliver(true), Deliver(false)]);
        (3..=6).for_each(|sequence| slots.settle(sequence));
        assert_eq!((slots.taken(), slots.resume_at()), (0, Some(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_settles_takes_up_room_for_an_ack_wait() {
        for remembers in [false, true] {
            let slots = Slots::new(remembers);
            let now = Instant::now();
            slots.arrive(1, now + Duration::from_secs(1));
            slots.arrive(2, now + Duration::from_secs(1));
            slots.extend(2, now + Duration::from_secs(5));
            slots.expire(now + Duration::from_secs(2));
            assert_eq!(slots.taken(), 1);
            slots.settle(1);
            assert_eq!(slots.taken(), 1, "it took up none any more");
            slots.settle(2);
            assert_eq!(slots.taken(), 0);
        }
    }
}
