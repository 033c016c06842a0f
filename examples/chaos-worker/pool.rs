//! The pool, with each renewal and release written down.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sluicegate_core::{
    HeldLease, Holder, Lease, LeaseError, LeasePool, LossCause, Observer, PoolDescription, Request, WaitQueue,
};
use sluicegate_governor::GovernorEvent;
use sluicegate_testkit::check::{Event, Op, Phase};
use sluicegate_testkit::record::{Journal, at};

/// How many tries each grant took: more than one, and its outcome was unknown for a while.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tries(Arc<Mutex<HashMap<u64, u64>>>);

impl Observer<GovernorEvent> for Tries {
    fn observe(&self, event: &GovernorEvent) {
        if let GovernorEvent::Acquired { id, tries } = event {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.0, u64::from(*tries));
        }
    }
}

impl Tries {
    pub(crate) fn of(&self, lease: &Lease) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&lease.id().0)
    }
}

#[derive(Debug)]
pub(crate) struct Journaled {
    pool: Arc<dyn LeasePool>,
    journal: Journal,
    pub(crate) tries: Tries,
}

impl Journaled {
    pub(crate) fn new(pool: Arc<dyn LeasePool>, journal: Journal, tries: Tries) -> Self {
        Self { pool, journal, tries }
    }

    async fn written<T>(
        &self,
        op: Op,
        lease: &Lease,
        call: impl Future<Output = Result<T, LeaseError>>,
        complete: impl FnOnce(Event, &T) -> Event,
    ) -> Result<T, LeaseError> {
        let (id, c) = (self.journal.call(), client(lease.holder()));
        let of = |event: Event| event.call(c, id).lease(lease.id().0, lease.token().0);
        self.journal.write(op, Phase::Call, of);
        let answer = call.await;
        match &answer {
            Ok(value) => self.journal.write(op, Phase::Done, |event| complete(of(event), value)),
            Err(error) => self.journal.write(op, outcome(error), |event| failed(of(event), error)),
        }
        answer
    }
}

/// What an error says about what has happened.
pub(crate) fn outcome(error: &LeaseError) -> Phase {
    if error.is_unknown() || error.kind() == sluicegate_core::LeaseErrorKind::Closed {
        Phase::Unknown
    } else {
        Phase::NotDone
    }
}

pub(crate) fn failed(mut event: Event, error: &LeaseError) -> Event {
    event.text = Some(error.to_string().into());
    event
}

pub(crate) fn granted(event: Event, lease: &Lease) -> Event {
    let mut event = event.lease(lease.id().0, lease.token().0);
    event.deadline = Some(at(lease.deadline()));
    event
}

/// The client that a holder's text names last.
fn client(holder: &Holder) -> u32 {
    holder.to_string().rsplit('/').next().and_then(|c| c.parse().ok()).unwrap_or(0)
}

#[async_trait]
impl LeasePool for Journaled {
    async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        self.pool.describe().await
    }

    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError> {
        self.pool.try_acquire(request).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.written(Op::Renew, lease, self.pool.renew(lease), granted).await
    }

    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        let complete = |mut event: Event, freed: &bool| {
            event.freed = Some(*freed);
            event
        };
        self.written(Op::Release, lease, self.pool.release(lease), complete).await
    }

    async fn held(&self) -> Result<Vec<HeldLease>, LeaseError> {
        self.pool.held().await
    }

    async fn freed(&self) -> NonZeroU32 {
        self.pool.freed().await
    }

    async fn lost(&self, lease: &Lease) -> LossCause {
        self.pool.lost(lease).await
    }

    fn line(&self) -> &WaitQueue {
        self.pool.line()
    }
}
