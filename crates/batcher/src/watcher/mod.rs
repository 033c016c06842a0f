mod builder;
mod drain;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{SemaphorePermit, TryAcquireError};
use tokio::task::consume_budget;
use tokio::time::Instant;
use tracing::Span;

pub use self::builder::WatcherBuilder;
pub use self::drain::WatcherReport;
use crate::engine::Inbox;
use crate::places::Places;
use crate::retry::is_spent;
use crate::ticket::Cell;
use crate::{CallError, EnqueueError, EnqueueErrorKind, OnFull, Operation, Ticket};

/// A typed group of operations with limits of its own; its handler gets their batches. Cheap to clone.
///
/// Operations of one watcher leave in the order in which they were accepted, but for those that are to be alone, and
/// those that are tried again; operations of different watchers never share a batch.
pub struct Watcher<T, R, E> {
    pub(crate) inbox: Arc<Inbox<T, R, E>>,
}

impl<T, R, E> Clone for Watcher<T, R, E> {
    fn clone(&self) -> Self {
        Self { inbox: Arc::clone(&self.inbox) }
    }
}

impl<T, R, E> fmt::Debug for Watcher<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("name", &self.inbox.name).finish_non_exhaustive()
    }
}

impl<T, R, E> Watcher<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    /// What it was called when it was built.
    pub fn name(&self) -> &str {
        &self.inbox.name
    }

    /// Hands over an operation, waiting for a place in the buffer if need be. Its outcome is only counted, and goes to
    /// the dead-letter sink if it is not a good one.
    ///
    /// # Errors
    /// `TooExpensive`, `TooManyAttempts`, `DeadlinePassed`; `ShutDown`, also while waiting; `Full` if the batcher was
    /// built with [`OnFull::Reject`]. The operation is in the error.
    ///
    /// # Cancel safety
    /// A dropped wait has done nothing, and the operation is dropped with it.
    pub async fn enqueue(&self, operation: Operation<T>) -> Result<(), EnqueueError<T>> {
        let operation = self.place(operation).await?;
        self.push(operation, None)
    }

    /// As [`enqueue`](Self::enqueue), with a ticket for the result.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    ///
    /// # Cancel safety
    /// As [`enqueue`](Self::enqueue); for the ticket see [`Ticket`].
    pub async fn submit(&self, operation: Operation<T>) -> Result<Ticket<R, E>, EnqueueError<T>> {
        let operation = self.place(operation).await?;
        self.push_with_ticket(operation)
    }

    /// Hands over an operation and waits for its result.
    ///
    /// # Errors
    /// `Refused` as [`enqueue`](Self::enqueue); `Ended` when it was accepted and did not end well.
    ///
    /// # Cancel safety
    /// Dropping it cancels the operation, unless that has been dispatched already.
    pub async fn call(&self, operation: Operation<T>) -> Result<R, CallError<T, E>> {
        Ok(self.submit(operation).await?.await?)
    }

    /// As [`enqueue`](Self::enqueue), without ever waiting.
    ///
    /// # Errors
    /// `Full` when there is no place or others wait for one; else as [`enqueue`](Self::enqueue).
    pub fn try_enqueue(&self, operation: Operation<T>) -> Result<(), EnqueueError<T>> {
        let operation = self.place_now(operation)?;
        self.push(operation, None)
    }

    /// As [`submit`](Self::submit), without ever waiting.
    ///
    /// # Errors
    /// As [`try_enqueue`](Self::try_enqueue).
    pub fn try_submit(&self, operation: Operation<T>) -> Result<Ticket<R, E>, EnqueueError<T>> {
        let operation = self.place_now(operation)?;
        self.push_with_ticket(operation)
    }

    pub(crate) fn check(&self, operation: Operation<T>) -> Result<Operation<T>, EnqueueError<T>> {
        let (shared, terms) = (&self.inbox.shared, &operation.terms);
        let max_attempts = self.inbox.config.max_attempts;
        let kind = if shared.places.is_closed() || self.inbox.closed.load(Ordering::Acquire) {
            EnqueueErrorKind::ShutDown
        } else if u64::from(terms.cost) > shared.max() {
            EnqueueErrorKind::TooExpensive { cost: terms.cost, max: shared.max() }
        } else if let Some(max) = max_attempts
            && is_spent(max_attempts, terms.attempts)
        {
            EnqueueErrorKind::TooManyAttempts { attempts: terms.attempts, max: max.get() }
        } else if terms.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            EnqueueErrorKind::DeadlinePassed
        } else {
            return Ok(operation);
        };
        Err(EnqueueError::new(kind, operation))
    }

    fn place_now(&self, operation: Operation<T>) -> Result<Operation<T>, EnqueueError<T>> {
        let operation = self.check(operation)?;
        let taken = self.take_places(operation.terms.bytes);
        self.starve_if_full();
        match taken {
            Ok(()) => Ok(operation),
            Err(TryAcquireError::NoPermits) => Err(EnqueueError::new(EnqueueErrorKind::Full, operation)),
            Err(TryAcquireError::Closed) => Err(EnqueueError::new(EnqueueErrorKind::ShutDown, operation)),
        }
    }

    /// All places that an operation needs, or none.
    fn take_places(&self, bytes: u32) -> Result<(), TryAcquireError> {
        let own = self.inbox.places.as_ref().map(|own| own.try_take(1)).transpose()?;
        let room = self.inbox.shared.room.as_ref().map(|room| room.try_take(bytes as usize)).transpose()?;
        self.inbox.shared.places.try_take(1)?.forget();
        own.into_iter().chain(room).for_each(SemaphorePermit::forget);
        Ok(())
    }

    async fn place(&self, operation: Operation<T>) -> Result<Operation<T>, EnqueueError<T>> {
        // A caller that hands over one after the other lets others run, the engine first of all.
        consume_budget().await;
        let operation = match self.place_now(operation) {
            Err(error)
                if error.kind() == EnqueueErrorKind::Full
                    && self.inbox.shared.config.on_full == OnFull::Wait =>
            {
                error.into_operation()
            }
            done => return done,
        };
        let got = tokio::select! {
            biased;
            () = self.inbox.closing.cancelled() => false,
            got = self.wait_for_places(operation.terms.bytes) => got,
        };
        self.starve_if_full();
        if !got {
            return Err(EnqueueError::new(EnqueueErrorKind::ShutDown, operation));
        }
        Ok(operation)
    }

    /// Waits for a place, bytes aside. False: it is over.
    #[cfg(any(feature = "futures", feature = "tower"))]
    pub(crate) async fn wait_for_place(&self) -> bool {
        tokio::select! {
            biased;
            () = self.inbox.closing.cancelled() => false,
            got = self.wait_for_places(0) => got,
        }
    }

    /// Bytes, for an operation that has a place, which it loses if there are none.
    #[cfg(any(feature = "futures", feature = "tower"))]
    pub(crate) fn take_room(&self, operation: Operation<T>) -> Result<Operation<T>, EnqueueError<T>> {
        let Some(room) = &self.inbox.shared.room else { return Ok(operation) };
        match room.try_take(operation.terms.bytes as usize) {
            Ok(taken) => {
                taken.forget();
                Ok(operation)
            }
            Err(refused) => {
                self.inbox.free_places(1, 0);
                let kind = match refused {
                    TryAcquireError::NoPermits => EnqueueErrorKind::Full,
                    TryAcquireError::Closed => EnqueueErrorKind::ShutDown,
                };
                Err(EnqueueError::new(kind, operation))
            }
        }
    }

    /// One after the other, in the same order for everybody. False: it is over.
    async fn wait_for_places(&self, bytes: u32) -> bool {
        async fn one(places: Option<&Places>, many: usize) -> Result<Option<SemaphorePermit<'_>>, ()> {
            match places {
                Some(places) => places.take(many).await.map(Some).map_err(|_closed| ()),
                None => Ok(None),
            }
        }
        let taken = async {
            let own = one(self.inbox.places.as_ref(), 1).await?;
            let room = one(self.inbox.shared.room.as_ref(), bytes as usize).await?;
            let place = one(Some(&self.inbox.shared.places), 1).await?;
            Ok::<_, ()>([own, room, place])
        };
        let Ok(taken) = taken.await else { return false };
        taken.into_iter().flatten().for_each(SemaphorePermit::forget);
        true
    }

    /// A full buffer is a reason to flush.
    fn starve_if_full(&self) {
        let shared = &self.inbox.shared;
        if shared.is_full() && !shared.starved.swap(true, Ordering::AcqRel) {
            shared.wake.notify_one();
        }
    }

    pub(crate) fn push(
        &self,
        mut operation: Operation<T>,
        cell: Option<Arc<Cell<R, E>>>,
    ) -> Result<(), EnqueueError<T>> {
        if self.inbox.shared.config.link_spans {
            operation.terms.rare().span = Some(Span::current());
        }
        match self.inbox.push(operation, cell) {
            Ok(wake) => {
                if wake {
                    self.inbox.shared.wake.notify_one();
                }
                Ok(())
            }
            Err(operation) => {
                // Others may wait for it in vain otherwise: only this watcher is closed, perhaps.
                self.inbox.free_places(1, operation.terms.bytes.into());
                Err(EnqueueError::new(EnqueueErrorKind::ShutDown, operation))
            }
        }
    }

    pub(crate) fn push_with_ticket(&self, operation: Operation<T>) -> Result<Ticket<R, E>, EnqueueError<T>> {
        let cell = Cell::new(operation.terms.cost, Arc::clone(&self.inbox.ledger));
        self.push(operation, Some(Arc::clone(&cell)))?;
        Ok(Ticket::new(cell))
    }
}
