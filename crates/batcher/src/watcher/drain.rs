use std::time::Duration;

use sluicegate_core::later;
use std::sync::atomic::Ordering;
use tokio::time::{Instant, sleep_until};

use super::Watcher;
use crate::Operation;
use crate::shared::Books;

/// What became of a watcher that was drained by itself.
#[derive(Debug)]
#[non_exhaustive]
pub struct WatcherReport<T> {
    /// Everything ended in time, nothing was cut off.
    pub complete: bool,
    /// What had not been started by the timeout, oldest first; its tickets have heard `ShutDown`. Their counts of
    /// attempts are kept.
    pub left: Vec<Operation<T>>,
    /// How long it took.
    pub elapsed: Duration,
}

impl<T, R, E> Watcher<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    /// Ends this watcher alone: refuses new operations, finishes the accepted ones within capacity, and waits for
    /// that. At the timeout the running handlers are dropped, and what was not started is handed back. The batcher
    /// and its other watchers go on.
    ///
    /// Without an engine that runs, nothing can be finished, and everything is handed back at the timeout. Of several
    /// callers one gets what is left.
    ///
    /// # Cancel safety
    /// Dropping it leaves the watcher closed, and finishing; call it again to wait on.
    pub async fn drain(&self, timeout: Duration) -> WatcherReport<T> {
        let started = Instant::now();
        let deadline = later(started, timeout);
        let inbox = &self.inbox;
        let mut done = inbox.done.subscribe();
        inbox.close();
        inbox.draining.store(true, Ordering::Release);
        inbox.shared.wake.notify_one();
        let complete = tokio::select! {
            biased;
            _ = done.wait_for(|done| *done) => true,
            () = sleep_until(deadline) => false,
        };
        if !complete {
            inbox.abort.cancel();
            let engine = inbox.shared.has_engine();
            inbox.leave(engine);
            inbox.shared.wake.notify_one();
            if engine {
                // An engine that ends meanwhile ends this, too.
                let _ = done.wait_for(|done| *done).await;
            }
        }
        WatcherReport { complete, left: inbox.take_left(), elapsed: started.elapsed() }
    }
}
