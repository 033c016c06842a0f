use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_sink::Sink;

use super::reservation::Reservation;
use crate::{EnqueueError, Operation, Watcher};

/// A watcher as a [`Sink`] of operations, which are handed over as by [`enqueue`](Watcher::enqueue): it is ready when
/// there is a place in the buffer, in turn with all others who wait for one.
///
/// Flushing sends what waits without waiting for company, and does not wait for outcomes: what does not end well goes
/// to the dead-letter sink. Closing is flushing; the watcher goes on. Where bytes are limited as well, an operation for
/// which there is no room is refused as `Full`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use futures::{SinkExt, StreamExt, stream};
/// use sluicegate_batcher::{Batcher, Operation, Watcher, WatcherSink, by_value};
/// use tokio_util::sync::CancellationToken;
///
/// let (batcher, _engine) = Batcher::builder().start(CancellationToken::new())?;
/// let rows: Watcher<u32, (), String> =
///     batcher.watcher(by_value(|rows: Vec<u32>, _cx| async move { drop(rows); Ok(()) })).build()?;
/// let operations = stream::iter(0..1_000).map(|row| Ok(Operation::new(row)));
/// operations.forward(WatcherSink::new(rows)).await?;
/// # Ok(())
/// # }
/// ```
pub struct WatcherSink<T, R, E>(Reservation<T, R, E>);

impl<T, R, E> WatcherSink<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    /// Hands operations to that watcher.
    pub fn new(watcher: Watcher<T, R, E>) -> Self {
        Self(Reservation::new(watcher))
    }
}

impl<T, R, E> fmt::Debug for WatcherSink<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatcherSink").finish_non_exhaustive()
    }
}

impl<T, R, E> Sink<Operation<T>> for WatcherSink<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    type Error = EnqueueError<T>;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx).map(Ok)
    }

    fn start_send(mut self: Pin<&mut Self>, operation: Operation<T>) -> Result<(), Self::Error> {
        let operation = self.0.redeem(operation)?;
        let operation = self.0.watcher().take_room(operation)?;
        self.0.watcher().push(operation, None)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.watcher().inbox.shared.flush_now();
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_flush(cx)
    }
}
