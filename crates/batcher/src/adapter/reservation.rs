use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::engine::Inbox;
use crate::{EnqueueError, Operation, Watcher};

type Waiting<T, R, E> = Pin<Box<dyn Future<Output = Option<Place<T, R, E>>> + Send>>;

/// One after the other: a place in the buffer is waited for, kept, and used.
pub(super) struct Reservation<T, R, E> {
    watcher: Watcher<T, R, E>,
    waiting: Option<Waiting<T, R, E>>,
    /// None inside: the watcher is closed, which whoever hands over an operation will hear.
    place: Option<Option<Place<T, R, E>>>,
}

/// A place in the buffer, given back unless it is used.
struct Place<T, R, E>(Option<Arc<Inbox<T, R, E>>>);

impl<T, R, E> Drop for Place<T, R, E> {
    fn drop(&mut self) {
        if let Some(inbox) = &self.0 {
            inbox.free_places(1, 0);
        }
    }
}

impl<T, R, E> Reservation<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    pub(super) fn new(watcher: Watcher<T, R, E>) -> Self {
        Self { watcher, waiting: None, place: None }
    }

    pub(super) fn watcher(&self) -> &Watcher<T, R, E> {
        &self.watcher
    }

    /// Ready with a place, or because there will be none any more. Places are given in the order of waiting.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.place.is_some() {
            return Poll::Ready(());
        }
        let watcher = self.watcher.clone();
        let waiting = self.waiting.get_or_insert_with(|| {
            Box::pin(async move {
                let got = watcher.wait_for_place().await;
                got.then(|| Place(Some(Arc::clone(&watcher.inbox))))
            })
        });
        self.place = Some(ready!(waiting.as_mut().poll(cx)));
        self.waiting = None;
        Poll::Ready(())
    }

    /// The operation, which has its place now; bytes, where they are limited, have to be taken still.
    ///
    /// # Panics
    /// Without having been made ready, as the traits over this say.
    pub(super) fn redeem(&mut self, operation: Operation<T>) -> Result<Operation<T>, EnqueueError<T>> {
        let place = self.place.take().expect("poll_ready comes first");
        let operation = self.watcher.check(operation)?;
        match place {
            Some(mut place) => {
                place.0 = None;
                Ok(operation)
            }
            None => Err(EnqueueError::new(crate::EnqueueErrorKind::ShutDown, operation)),
        }
    }
}
