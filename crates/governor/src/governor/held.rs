//! Who has a tenure's lease just now, and what becomes of it afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sluicegate_core::{LeaseError, LeaseErrorKind};
use tokio::time::sleep;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Inner;
use super::tenure::Tenure;
use crate::backoff;
use crate::event::GovernorEvent;

/// The right to a tenure's lease. Dropping it gives the lease on or back.
#[derive(Debug)]
pub(super) struct Held {
    inner: Arc<Inner>,
    /// Until somebody else has it, or nobody.
    tenure: Option<Arc<Tenure>>,
    reuse: u32,
    /// A release was begun: whether the lease is still there is not known.
    returning: bool,
    _out: TaskTrackerToken,
}

impl Held {
    pub(super) fn new(inner: &Arc<Inner>, tenure: Arc<Tenure>) -> Self {
        Self::again(inner, tenure, 0)
    }

    fn again(inner: &Arc<Inner>, tenure: Arc<Tenure>, reuse: u32) -> Self {
        let out = inner.permits.token();
        Self { inner: Arc::clone(inner), tenure: Some(tenure), reuse, returning: false, _out: out }
    }

    /// The same, and what it is the right to.
    pub(super) fn with_tenure(self) -> Option<(Self, Arc<Tenure>)> {
        let tenure = self.tenure.clone()?;
        Some((self, tenure))
    }

    /// How many permits had the lease before.
    pub(super) fn reuse(&self) -> u32 {
        self.reuse
    }

    /// What becomes of it needs no server: it is kept, or handed on.
    pub(super) fn settle(&mut self) -> Option<Settled> {
        if self.inner.keep {
            self.keep();
            return Some(Settled::Kept);
        }
        self.hand_on().then_some(Settled::HandedOn)
    }

    /// Its slot is not given back: it ends with its time to live.
    pub(super) fn keep(&mut self) {
        if let Some(tenure) = self.tenure.take() {
            tenure.over();
            self.inner.kept.fetch_add(1, Ordering::Relaxed);
            self.inner.emitter.emit(&GovernorEvent::Kept { id: tenure.lease().id() });
        }
    }

    /// Gives the lease to the next who waits, if the cohort's bounds allow that and there is one.
    fn hand_on(&mut self) -> bool {
        let (Some(bounds), Some(tenure), false) = (&self.inner.cohort, &self.tenure, self.returning) else {
            return false;
        };
        if self.reuse >= bounds.max_reuse || !tenure.is_within(bounds) {
            return false;
        }
        let heir = Self::again(&self.inner, Arc::clone(tenure), self.reuse + 1);
        let handed_on = match self.inner.heirs.give(heir) {
            Ok(()) => self.tenure.take(),
            Err(mut heir) => {
                heir.tenure = None;
                None
            }
        };
        if let Some(tenure) = &handed_on {
            self.inner.emitter.emit(&GovernorEvent::HandedOn { id: tenure.lease().id() });
        }
        handed_on.is_some()
    }

    /// Gives the lease back; `false`: it was no longer ours. Until that is confirmed it is still held, and dropping it
    /// goes on in the background.
    pub(super) async fn release(&mut self) -> Result<bool, LeaseError> {
        self.returning = true;
        let Some(tenure) = &self.tenure else { return Ok(false) };
        let freed = self.inner.pool.release(&tenure.lease()).await?;
        tenure.over();
        self.tenure = None;
        self.inner.released.fetch_add(1, Ordering::Relaxed);
        Ok(freed)
    }
}

/// What became of a lease without the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Kept,
    HandedOn,
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.tenure.is_none() || self.settle().is_some() {
            return;
        }
        if let Some(tenure) = self.tenure.take() {
            tenure.over();
            let task = release(Arc::clone(&self.inner), tenure);
            drop(self.inner.tasks.spawn_on(task, &self.inner.runtime));
        }
    }
}

/// Gives a lease back in the background, until it has ended by itself.
async fn release(inner: Arc<Inner>, tenure: Arc<Tenure>) {
    let mut delays = backoff::resolving();
    loop {
        let lease = tenure.lease();
        let Err(error) = inner.pool.release(&lease).await else {
            inner.released.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let pause = delays.next().unwrap_or(backoff::LONGEST);
        let again = matches!(error.kind(), LeaseErrorKind::Transient | LeaseErrorKind::Unknown);
        if !again || lease.remaining() <= pause {
            let (id, error) = (lease.id(), error.to_string());
            return inner.emitter.emit(&GovernorEvent::NotReleased { id, error });
        }
        sleep(pause).await;
    }
}
