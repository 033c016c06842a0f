use std::time::Duration;

use backon::BackoffBuilder;
use backon::ExponentialBackoff;
use sluicegate_core::{LeaseError, LeaseErrorKind, PoolDescription};
use tokio::task::Id;
use tokio::time::Instant;

use super::super::builder::{HASTY, is_hasty};
use super::{Holdings, News, keeper};
use crate::BatcherEvent;

/// What is known of the pool, and how old that is.
#[derive(Default)]
pub(super) struct Outlook {
    /// The last look was answered.
    answered: bool,
    looking: Option<Id>,
    /// The look that is under way began before it was needed.
    stale: bool,
    /// A look is due from here on.
    next: Option<Instant>,
    delays: Option<ExponentialBackoff>,
    /// Leases that the observer knows of.
    provisioned: Option<u32>,
    /// Processes that hold leases, this one included, when they were last counted.
    parties: Option<usize>,
    counting: Option<Id>,
    /// They are counted again from here on.
    next_count: Option<Instant>,
}

impl Outlook {
    pub(super) fn parties(&self) -> usize {
        self.parties.unwrap_or(1)
    }

    /// What is known may be wrong.
    pub(super) fn hurry(&mut self) {
        self.answered = false;
        self.next = None;
        self.overtaken();
    }

    /// Whatever the look that is under way brings, it is old.
    pub(super) fn overtaken(&mut self) {
        self.stale = self.looking.is_some();
    }

    pub(super) fn panicked(&mut self, task: Id) {
        if self.looking == Some(task) {
            self.looking = None;
            self.stale = false;
            self.answered = false;
        }
        if self.counting == Some(task) {
            self.counting = None;
        }
    }

    /// What is known is good enough to ask for leases.
    pub(super) fn is_clear(&self, now: Instant, holds_some: bool) -> bool {
        self.answered && (holds_some || self.next.is_some_and(|next| now < next))
    }
}

impl Holdings<'_> {
    /// Asks the pool what it is, and who holds its leases: once in a time to live, while any are held or wanted.
    /// Returns when to look again.
    pub(super) fn look(&mut self, wanted: usize, now: Instant) -> Option<Instant> {
        self.tell_of_leases();
        if wanted == 0 && self.held.is_empty() {
            return None;
        }
        self.count(now);
        if self.outlook.looking.is_some() {
            return None;
        }
        if let Some(next) = self.outlook.next.filter(|next| *next > now) {
            return Some(next);
        }
        let pool = self.inner.pool.clone();
        let task = self.tasks.spawn(async move { News::Described(pool.describe().await) });
        self.outlook.looking = Some(task.id());
        None
    }

    pub(super) fn looked(&mut self, answer: Result<PoolDescription, LeaseError>, now: Instant) {
        self.outlook.looking = None;
        if std::mem::take(&mut self.outlook.stale) {
            // It says nothing of what has happened since.
            return;
        }
        let answer = answer.and_then(|pool| {
            if is_hasty(pool.ttl) {
                return Err(LeaseError::new(LeaseErrorKind::Misconfigured, HASTY));
            }
            Ok(pool)
        });
        match answer {
            Ok(description) => self.described(&description, now),
            // Who may not look goes by what was expected.
            Err(error) if is_refusal(error.kind()) && self.terms.ttl.is_some() => {
                self.seen(now);
                self.proven(now);
                self.knock();
            }
            Err(error) => {
                self.driver.emit(&BatcherEvent::PoolError { kind: error.kind(), doing: "describe" });
                let delays = &mut self.outlook.delays;
                let delays = delays.get_or_insert_with(|| keeper::backoff(Duration::from_millis(50)).build());
                let delay = delays.next().unwrap_or(keeper::LONGEST_DELAY);
                self.outlook.answered = false;
                self.outlook.next = Some(now + self.random.jitter(delay, 0.25));
            }
        }
    }

    pub(super) fn described(&mut self, description: &PoolDescription, now: Instant) {
        let (ttl, renewable) = (description.ttl, description.renewable);
        let leases = description.limit.unwrap_or(self.terms.leases);
        self.terms.ttl = Some(ttl);
        self.inner.change(
            |terms| {
                terms.leases = leases;
                terms.ttl = Some(ttl);
                terms.renewable = renewable;
            },
            now,
        );
        self.noted(description, now);
        if description.held.is_none_or(|held| held < leases.get()) {
            self.knock();
        }
    }

    /// What the pool said then, apart from its terms.
    pub(super) fn noted(&mut self, description: &PoolDescription, now: Instant) {
        self.seen(now);
        if self.learning.described(description, now) {
            self.tell_of_learning();
        }
        self.proven(now);
    }

    fn seen(&mut self, now: Instant) {
        self.outlook.answered = true;
        self.outlook.delays = None;
        self.outlook.next = Some(now + self.random.jitter(self.ttl(), 0.1));
        // The observer is told at the next turn, when the terms are in force.
    }

    fn tell_of_leases(&mut self) {
        let leases = self.terms.leases.get();
        if self.outlook.answered && self.outlook.provisioned != Some(leases) {
            let created = self.outlook.provisioned.map_or(0, |before| leases.saturating_sub(before));
            self.outlook.provisioned = Some(leases);
            self.driver.emit(&BatcherEvent::PoolProvisioned { leases, created });
        }
    }

    /// Counts the others, if their number decides anything.
    fn count(&mut self, now: Instant) {
        let matters = self.inner.share.is_equal() && (self.gate.is_full() || !self.inner.borrow);
        let due = self.outlook.next_count.is_none_or(|next| next <= now);
        if !matters || !due || self.outlook.counting.is_some() {
            return;
        }
        let (pool, me) = (self.inner.pool.clone(), self.inner.request.holder().clone());
        let task = self.tasks.spawn(async move {
            let others = pool.held().await.map(|leases| {
                let mut others: Vec<_> =
                    leases.into_iter().map(|lease| lease.holder).filter(|holder| *holder != me).collect();
                others.sort_unstable();
                others.dedup();
                others.len()
            });
            News::Counted(others.map(|others| others + 1))
        });
        self.outlook.counting = Some(task.id());
        self.outlook.next_count = Some(now + self.ttl().mul_f64(0.9));
    }

    pub(super) fn counted(&mut self, answer: Result<usize, LeaseError>) {
        self.outlook.counting = None;
        match answer {
            Ok(parties) => self.outlook.parties = Some(parties),
            // The pool is full, so there is somebody.
            Err(error) if is_refusal(error.kind()) => self.outlook.parties = Some(2),
            Err(error) => {
                self.driver.emit(&BatcherEvent::PoolError { kind: error.kind(), doing: "held" });
            }
        }
    }
}

fn is_refusal(kind: LeaseErrorKind) -> bool {
    matches!(kind, LeaseErrorKind::NotPermitted | LeaseErrorKind::Unsupported)
}
