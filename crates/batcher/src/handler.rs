use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::operation::Terms;
use crate::{BatchId, FlushReason, Grant, Verdicts};

/// Sends a batch to the datastore, and says for each operation how that went.
///
/// Called once a batch, each in a task of its own; several batches of one watcher may run at once unless
/// `max_concurrent_batches` forbids it. A panic is caught and ends the operations of that batch as `Panicked`. When it
/// takes longer than `max_operation_time`, or the batcher is aborted, the future is dropped.
#[async_trait]
pub trait Handler<T, R, E>: Send + Sync + 'static {
    /// Handles one batch. The payloads stay with the batcher unless they are taken.
    async fn handle(&self, batch: &mut Batch<T>, cx: &BatchContext) -> Verdicts<R, E>;
}

#[async_trait]
impl<T, R, E, H> Handler<T, R, E> for Arc<H>
where
    T: Send + 'static,
    R: 'static,
    E: 'static,
    H: Handler<T, R, E> + ?Sized,
{
    async fn handle(&self, batch: &mut Batch<T>, cx: &BatchContext) -> Verdicts<R, E> {
        (**self).handle(batch, cx).await
    }
}

pub(crate) struct Entry<T> {
    pub(crate) payload: Option<T>,
    pub(crate) terms: Terms,
}

/// The operations that a handler gets together, oldest first.
pub struct Batch<T> {
    pub(crate) entries: Vec<Entry<T>>,
}

impl<T> Batch<T> {
    /// How many operations; never zero.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Always false: no handler is called for nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The payload of that operation, unless it was taken.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.entries.get(index)?.payload.as_ref()
    }

    /// What that operation costs, in units; 0 for an index beyond the end.
    pub fn cost(&self, index: usize) -> u32 {
        self.entries.get(index).map_or(0, |entry| entry.terms.cost)
    }

    /// How often that operation has been handed to a handler, this time included; 0 for an index beyond the end.
    pub fn attempts(&self, index: usize) -> u32 {
        self.entries.get(index).map_or(0, |entry| entry.terms.attempts)
    }

    /// The payloads that were not taken.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| entry.payload.as_ref())
    }

    /// Moves one payload out of the batch. That operation can then not be tried again.
    pub fn take(&mut self, index: usize) -> Option<T> {
        self.entries.get_mut(index)?.payload.take()
    }

    /// Moves out all payloads that were not taken. None of the operations can then be tried again.
    pub fn take_all(&mut self) -> Vec<T> {
        self.entries.iter_mut().filter_map(|entry| entry.payload.take()).collect()
    }
}

impl<T> fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// What a handler may know of its batch.
#[derive(Clone, Debug)]
pub struct BatchContext {
    pub(crate) id: BatchId,
    pub(crate) watcher: Arc<str>,
    pub(crate) reason: FlushReason,
    pub(crate) cost: u64,
    pub(crate) bytes: u64,
    pub(crate) deadline: Option<Instant>,
    pub(crate) grant: Option<Grant>,
    pub(crate) start_by: Option<Instant>,
    pub(crate) cancellation: CancellationToken,
}

impl BatchContext {
    /// Which batch.
    pub fn id(&self) -> BatchId {
        self.id
    }

    /// The name of the watcher.
    pub fn watcher(&self) -> &str {
        &self.watcher
    }

    /// Why it left when it did.
    pub fn reason(&self) -> FlushReason {
        self.reason
    }

    /// The sum of the costs, in units.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// The sum of the bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The earliest deadline of its operations. They have been started in time; whether it is worth while to go on
    /// beyond it is the handler's to say.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The capacity under which the budget was taken, with the fencing tokens of its leases; none without a capacity.
    pub fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }

    /// Cancelled when the batcher, or the watcher, is aborted. The handler's future is dropped then; this token is for work that it
    /// has handed to others.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }
}

type Boxed<'a, R, E> = Pin<Box<dyn Future<Output = Verdicts<R, E>> + Send + 'a>>;

/// A handler from a closure that borrows the batch and returns a boxed future.
///
/// ```
/// use sluicegate_batcher::{Batch, BatchContext, Handler, Verdicts, handler_fn};
///
/// fn store() -> impl Handler<String, usize, std::io::Error> {
///     handler_fn(|batch: &mut Batch<String>, _cx: &BatchContext| {
///         Box::pin(async move { Verdicts::from(Ok(batch.iter().map(String::len).collect::<Vec<_>>())) })
///     })
/// }
/// # let _ = store();
/// ```
pub fn handler_fn<T, R, E, F>(handle: F) -> impl Handler<T, R, E>
where
    T: Send + 'static,
    R: 'static,
    E: 'static,
    F: for<'a> Fn(&'a mut Batch<T>, &'a BatchContext) -> Boxed<'a, R, E> + Send + Sync + 'static,
{
    HandlerFn(handle)
}

struct HandlerFn<F>(F);

#[async_trait]
impl<T, R, E, F> Handler<T, R, E> for HandlerFn<F>
where
    T: Send + 'static,
    R: 'static,
    E: 'static,
    F: for<'a> Fn(&'a mut Batch<T>, &'a BatchContext) -> Boxed<'a, R, E> + Send + Sync + 'static,
{
    async fn handle(&self, batch: &mut Batch<T>, cx: &BatchContext) -> Verdicts<R, E> {
        (self.0)(batch, cx).await
    }
}

/// A handler from a closure that takes the payloads and returns anything that converts into [`Verdicts`].
///
/// ```
/// use sluicegate_batcher::{Handler, by_value};
///
/// fn store() -> impl Handler<String, (), std::io::Error> {
///     by_value(|lines: Vec<String>, _cx| async move {
///         drop(lines);
///         Ok(())
///     })
/// }
/// # let _ = store();
/// ```
pub fn by_value<T, R, E, F, Fut>(handle: F) -> impl Handler<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
    F: Fn(Vec<T>, BatchContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: Into<Verdicts<R, E>>> + Send + 'static,
{
    Listed { handle, payloads: Batch::take_all, types: PhantomData }
}

/// A handler from a closure that gets a list of payloads, however that comes about.
struct Listed<T, F, R, E> {
    handle: F,
    payloads: fn(&mut Batch<T>) -> Vec<T>,
    types: PhantomData<fn() -> (R, E)>,
}

#[async_trait]
impl<T, R, E, F, Fut> Handler<T, R, E> for Listed<T, F, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
    F: Fn(Vec<T>, BatchContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: Into<Verdicts<R, E>>> + Send + 'static,
{
    async fn handle(&self, batch: &mut Batch<T>, cx: &BatchContext) -> Verdicts<R, E> {
        (self.handle)((self.payloads)(batch), cx.clone()).await.into()
    }
}

/// A handler from a closure that takes copies of the payloads, so that operations can be tried again.
///
/// ```
/// use sluicegate_batcher::{Handler, Verdicts, cloning};
///
/// fn store() -> impl Handler<String, (), std::io::Error> {
///     cloning(|lines: Vec<String>, _cx| async move {
///         drop(lines);
///         Verdicts::throttled(None, std::io::Error::other("busy"))
///     })
/// }
/// # let _ = store();
/// ```
pub fn cloning<T, R, E, F, Fut>(handle: F) -> impl Handler<T, R, E>
where
    T: Clone + Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
    F: Fn(Vec<T>, BatchContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: Into<Verdicts<R, E>>> + Send + 'static,
{
    Listed { handle, payloads: |batch| batch.iter().cloned().collect(), types: PhantomData }
}
