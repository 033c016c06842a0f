use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::TryAcquireError;

use crate::engine::{Inbox, TypedLane};
use crate::shared::{Books, Shared};
use crate::ticket::Cell;
use crate::{
    CallError, ConfigError, EnqueueError, EnqueueErrorKind, Flush, Handler, Operation, Ticket, WatcherConfig,
};

/// A typed group of operations with limits of its own; its handler gets their batches. Cheap to clone.
///
/// Operations of one watcher leave in the order in which they were accepted; operations of different watchers never
/// share a batch.
pub struct Watcher<T, R, E> {
    inbox: Arc<Inbox<T, R, E>>,
    shared: Arc<Shared>,
}

impl<T, R, E> Clone for Watcher<T, R, E> {
    fn clone(&self) -> Self {
        Self { inbox: Arc::clone(&self.inbox), shared: Arc::clone(&self.shared) }
    }
}

impl<T, R, E> fmt::Debug for Watcher<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("name", &self.inbox.name()).finish_non_exhaustive()
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
        self.inbox.name()
    }

    /// Hands over an operation, waiting for a place in the buffer if need be. Its outcome is only counted.
    ///
    /// # Errors
    /// `TooExpensive`; `ShutDown`, also while waiting. The operation is in the error.
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
    /// `Full` when there is no place or others wait for one; `TooExpensive`, `ShutDown`.
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

    fn check(&self, operation: Operation<T>) -> Result<Operation<T>, EnqueueError<T>> {
        if self.shared.places.is_closed() {
            return Err(EnqueueError::new(EnqueueErrorKind::ShutDown, operation));
        }
        match self.shared.max {
            Some(max) if u64::from(operation.cost) > max.units() => {
                let kind = EnqueueErrorKind::TooExpensive { cost: operation.cost, max: max.units() };
                Err(EnqueueError::new(kind, operation))
            }
            _ => Ok(operation),
        }
    }

    fn place_now(&self, operation: Operation<T>) -> Result<Operation<T>, EnqueueError<T>> {
        let operation = self.check(operation)?;
        match self.shared.places.try_acquire() {
            Ok(place) => {
                place.forget();
                self.starve_if_full();
                Ok(operation)
            }
            Err(TryAcquireError::NoPermits) => {
                self.starve_if_full();
                Err(EnqueueError::new(EnqueueErrorKind::Full, operation))
            }
            Err(TryAcquireError::Closed) => Err(EnqueueError::new(EnqueueErrorKind::ShutDown, operation)),
        }
    }

    async fn place(&self, operation: Operation<T>) -> Result<Operation<T>, EnqueueError<T>> {
        let operation = match self.place_now(operation) {
            Err(error) if error.kind() == EnqueueErrorKind::Full => error.into_operation(),
            done => return done,
        };
        match self.shared.places.acquire().await {
            Ok(place) => {
                place.forget();
                self.starve_if_full();
                Ok(operation)
            }
            Err(_closed) => Err(EnqueueError::new(EnqueueErrorKind::ShutDown, operation)),
        }
    }

    /// A full buffer is a reason to flush.
    fn starve_if_full(&self) {
        if self.shared.places.available_permits() == 0 && !self.shared.starved.swap(true, Ordering::AcqRel) {
            self.shared.wake.notify_one();
        }
    }

    fn push(&self, operation: Operation<T>, cell: Option<Arc<Cell<R, E>>>) -> Result<(), EnqueueError<T>> {
        match self.inbox.push(operation, cell) {
            Ok(wake) => {
                if wake {
                    self.shared.wake.notify_one();
                }
                Ok(())
            }
            Err(operation) => Err(EnqueueError::new(EnqueueErrorKind::ShutDown, operation)),
        }
    }

    fn push_with_ticket(&self, operation: Operation<T>) -> Result<Ticket<R, E>, EnqueueError<T>> {
        let cell = Cell::new(operation.cost, Arc::clone(self.inbox.ledger()));
        self.push(operation, Some(Arc::clone(&cell)))?;
        Ok(Ticket::new(cell))
    }
}

/// Makes a [`Watcher`].
#[must_use = "a watcher exists once build() is called"]
pub struct WatcherBuilder<T, R, E> {
    shared: Arc<Shared>,
    handler: Arc<dyn Handler<T, R, E>>,
    config: WatcherConfig,
    problem: Option<ConfigError>,
}

impl<T, R, E> fmt::Debug for WatcherBuilder<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatcherBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<T, R, E> WatcherBuilder<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    pub(crate) fn new(shared: Arc<Shared>, handler: Arc<dyn Handler<T, R, E>>) -> Self {
        Self { shared, handler, config: WatcherConfig::default(), problem: None }
    }

    /// All options at once.
    pub fn config(mut self, config: WatcherConfig) -> Self {
        self.config = config;
        self
    }

    /// See [`WatcherConfig::name`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// See [`WatcherConfig::max_batch_size`].
    pub fn max_batch_size(mut self, operations: usize) -> Self {
        self.config.max_batch_size = NonZeroUsize::new(operations);
        self.check("max-batch-size", operations == 0)
    }

    /// See [`WatcherConfig::max_batch_cost`].
    pub fn max_batch_cost(mut self, units: u64) -> Self {
        self.config.max_batch_cost = NonZeroU64::new(units);
        self.check("max-batch-cost", units == 0)
    }

    /// See [`WatcherConfig::linger`].
    pub fn linger(mut self, linger: Duration) -> Self {
        self.config.linger = linger;
        self
    }

    /// See [`WatcherConfig::flush`].
    pub fn flush(mut self, flush: Flush) -> Self {
        self.config.flush = flush;
        self
    }

    /// See [`WatcherConfig::max_concurrent_batches`].
    pub fn max_concurrent_batches(mut self, batches: usize) -> Self {
        self.config.max_concurrent_batches = NonZeroUsize::new(batches);
        self.check("max-concurrent-batches", batches == 0)
    }

    /// The watcher. On a batcher that has stopped it refuses everything.
    ///
    /// # Errors
    /// Names the option that cannot be.
    pub fn build(self) -> Result<Watcher<T, R, E>, ConfigError> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        self.config.validate()?;
        let inbox = Inbox::new(self.config.name.as_str().into(), &self.shared);
        let lane = TypedLane::new(Arc::clone(&inbox), Arc::clone(&self.shared), self.handler, self.config);
        let books: Arc<dyn Books> = inbox.clone();
        self.shared.add_lane(Box::new(lane), books);
        Ok(Watcher { inbox, shared: self.shared })
    }

    fn check(mut self, field: &'static str, zero: bool) -> Self {
        if zero {
            self.problem.get_or_insert(ConfigError::new(field, "must not be zero"));
        }
        self
    }
}
