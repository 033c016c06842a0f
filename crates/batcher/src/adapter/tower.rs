use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_service::Service;

use super::reservation::Reservation;
use crate::{CallError, Operation, Ticket, Watcher};

/// A watcher as a [`Service`] of one operation, over a handler of many. Clones share the watcher, its buffer, its rate
/// and its batches; each reserves its own place.
///
/// It is ready when there is a place in the buffer, in turn with all others who wait for one. A place that was reserved
/// and not used is given back when the service is dropped. Dropping a response cancels its operation, unless that has
/// been dispatched already. Where bytes are limited as well, an operation for which there is no room is refused as
/// `Full`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sluicegate_batcher::{Batcher, Operation, Watcher, WatcherService, by_value};
/// use tokio_util::sync::CancellationToken;
/// use tower::{Service, ServiceExt};
///
/// let (batcher, _engine) = Batcher::builder().start(CancellationToken::new())?;
/// let lengths: Watcher<String, usize, std::io::Error> = batcher
///     .watcher(by_value(|texts: Vec<String>, _cx| async move {
///         Ok::<_, std::io::Error>(texts.iter().map(String::len).collect::<Vec<_>>())
///     }))
///     .build()?;
/// let mut service = WatcherService::new(lengths);
/// assert_eq!(service.ready().await?.call(Operation::new("four".to_owned())).await?, 4);
/// # Ok(())
/// # }
/// ```
pub struct WatcherService<T, R, E>(Reservation<T, R, E>);

impl<T, R, E> WatcherService<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    /// Calls go to that watcher.
    pub fn new(watcher: Watcher<T, R, E>) -> Self {
        Self(Reservation::new(watcher))
    }
}

impl<T, R, E> Clone for WatcherService<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    fn clone(&self) -> Self {
        Self::new(self.0.watcher().clone())
    }
}

impl<T, R, E> fmt::Debug for WatcherService<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatcherService").finish_non_exhaustive()
    }
}

impl<T, R, E> Service<Operation<T>> for WatcherService<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    type Response = R;
    type Error = CallError<T, E>;
    type Future = ResponseFuture<T, R, E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx).map(Ok)
    }

    fn call(&mut self, operation: Operation<T>) -> Self::Future {
        let watcher = self.0.watcher().clone();
        let submitted = self
            .0
            .redeem(operation)
            .and_then(|operation| watcher.take_room(operation))
            .and_then(|operation| watcher.push_with_ticket(operation));
        ResponseFuture(match submitted {
            Ok(ticket) => State::Waits(ticket),
            Err(refused) => State::Refused(Some(refused.into())),
        })
    }
}

/// The response to one operation.
#[must_use = "dropping it cancels its operation"]
pub struct ResponseFuture<T, R, E>(State<T, R, E>);

enum State<T, R, E> {
    Waits(Ticket<R, E>),
    Refused(Option<CallError<T, E>>),
}

// Nothing in it is pinned.
impl<T, R, E> Unpin for ResponseFuture<T, R, E> {}

impl<T, R, E> fmt::Debug for ResponseFuture<T, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<T, R, E> Future for ResponseFuture<T, R, E> {
    type Output = Result<R, CallError<T, E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Waits(ticket) => Pin::new(ticket).poll(cx).map_err(CallError::from),
            State::Refused(error) => error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        }
    }
}
