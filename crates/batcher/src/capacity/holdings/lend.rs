use tokio::time::Instant;

use super::super::borrowing::Borrowing;
use super::Holdings;
use crate::BatcherEvent;

/// Borrowed leases that are offered to others from time to time.
#[derive(Default)]
pub(super) struct Lending {
    borrowing: Borrowing,
    next: Option<Instant>,
    /// What was offered is left to others until then.
    open: Option<Instant>,
    /// Nobody took anything if so many are held again.
    judge_at: Option<usize>,
}

impl Lending {
    pub(super) fn is_open(&self, now: Instant) -> Option<Instant> {
        self.open.filter(|until| *until > now)
    }

    /// What was offered is asked for again: the pool was full, so others took some.
    pub(super) fn refused(&mut self) {
        if self.judge_at.take().is_some() {
            self.borrowing.judge(true);
        }
    }

    /// A lease was granted; so many are held now.
    pub(super) fn granted(&mut self, held: usize) {
        if self.judge_at.is_some_and(|enough| held >= enough) {
            self.judge_at = None;
            self.borrowing.judge(false);
        }
    }
}

impl Holdings<'_> {
    /// Once in a time to live offers what is borrowed to others. Returns when to look again.
    pub(super) fn lend(&mut self, wanted: usize, now: Instant) -> Option<Instant> {
        if let Some(until) = self.lending.open {
            if until > now {
                return Some(until);
            }
            self.lending.open = None;
            self.knock();
        }
        let (division, held) = (self.division(), self.held.len());
        // Leases that cannot be renewed change hands anyway.
        if !self.inner.borrow || !self.terms.renewable || held <= division.cap {
            self.lending.next = None;
            return None;
        }
        // While something is free anyway nobody needs an offer.
        let is_asking = !self.asking.is_empty() || self.gate.is_told();
        if held > wanted || is_asking || !Borrowing::is_due(held, division) {
            return None;
        }
        let ttl = self.ttl();
        let next = match self.lending.next {
            Some(next) => next,
            None => now + self.random.jitter(ttl, 0.1),
        };
        self.lending.next = Some(next);
        if next > now {
            return Some(next);
        }
        self.lending.next = Some(now + self.random.jitter(ttl, 0.1));
        if self.lending.judge_at.is_some() {
            // Not all of it was needed again.
            self.lending.borrowing.judge(false);
        }
        // Whoever stands in line for a slot is no longer in the way of others.
        self.knock();
        let offer = self.lending.borrowing.offer(held, division);
        self.lending.judge_at = Some(held);
        for lease in self.let_go(offer) {
            self.driver.emit(&BatcherEvent::LeaseYielded { lease });
        }
        let until = now + Borrowing::PAUSE;
        self.lending.open = Some(until);
        Some(until)
    }
}
