use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use sluicegate_core::later;
use tokio::time::{Instant, sleep_until};

use super::inbox::Inbox;
use super::lane::Task;
use crate::handler::Batch;
use crate::shared::Shared;
use crate::ticket::Cell;
use crate::{BatchContext, BatchId, BatcherEvent, Handler, OnTimeout, OpError, Verdicts};

/// A batch that is about to leave.
pub(crate) struct Departure {
    pub(crate) watcher: Arc<str>,
    pub(crate) len: usize,
    pub(crate) cost: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest_wait: Duration,
    pub(crate) task: Task,
}

/// A batch that is with its handler. However it ends, its operations get their outcome and its slot becomes free.
pub(crate) struct Running<T, R, E> {
    pub(super) batch: Batch<T>,
    pub(super) flight: Flight<T, R, E>,
    /// Dropped after everything has its outcome.
    _permit: Permit,
}

/// What stays here while the payloads are lent to the handler.
pub(super) struct Flight<T, R, E> {
    pub(super) seats: Vec<Seat<R, E>>,
    pub(super) cx: BatchContext,
    pub(super) inbox: Arc<Inbox<T, R, E>>,
    pub(super) started: Instant,
    pub(super) concluded: bool,
}

pub(super) struct Seat<R, E> {
    pub(super) cell: Option<Arc<Cell<R, E>>>,
    pub(super) cost: u32,
    pub(super) attempts: u32,
}

/// The slot of a running batch.
struct Permit {
    batch: BatchId,
    shared: Arc<Shared>,
    ledger: Arc<crate::ledger::Ledger>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.batches_running.fetch_sub(1, Ordering::AcqRel);
        self.ledger.batch_ended(self.batch);
    }
}

enum Ended<R, E> {
    Answered(Verdicts<R, E>),
    Panicked(Arc<str>),
    Aborted,
    Late,
}

impl<T, R, E> Running<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    pub(crate) fn new(
        batch: Batch<T>,
        seats: Vec<Seat<R, E>>,
        cx: BatchContext,
        inbox: Arc<Inbox<T, R, E>>,
    ) -> Self {
        inbox.ledger.started(cx.id, batch.len(), cx.cost);
        inbox.shared.batches_running.fetch_add(1, Ordering::AcqRel);
        inbox.shared.batches_started.fetch_add(1, Ordering::AcqRel);
        let permit =
            Permit { batch: cx.id, shared: Arc::clone(&inbox.shared), ledger: Arc::clone(&inbox.ledger) };
        let flight = Flight { seats, cx, inbox, started: Instant::now(), concluded: false };
        Self { batch, flight, _permit: permit }
    }

    pub(crate) async fn run(mut self, handler: Arc<dyn Handler<T, R, E>>) {
        if self.flight.cx.start_by.is_some_and(|by| by <= Instant::now()) {
            self.put_back();
            return;
        }
        match self.handle(&*handler).await {
            Ended::Answered(verdicts) => {
                let words = verdicts.words(self.batch.len());
                self.conclude(words);
            }
            Ended::Panicked(message) => {
                self.flight.emit(|batch, watcher| BatcherEvent::HandlerPanicked {
                    batch,
                    watcher,
                    message: Arc::clone(&message),
                });
                self.conclude_unknown(&OpError::Panicked(message));
            }
            Ended::Aborted => self.conclude_all(&OpError::ShutDown),
            Ended::Late if self.flight.concluded => {}
            Ended::Late => {
                self.flight.emit(|batch, watcher| BatcherEvent::HandlerTimedOut {
                    batch,
                    watcher,
                    detached: false,
                });
                self.conclude_unknown(&OpError::TimedOut);
            }
        }
    }

    async fn handle(&mut self, handler: &dyn Handler<T, R, E>) -> Ended<R, E> {
        let Self { batch, flight, .. } = self;
        let (limit, on_timeout) = flight.inbox.time_limit();
        let (cx, abort) = (flight.cx.clone(), flight.inbox.abort.clone());
        let mut handling = pin!(caught(async { handler.handle(batch, &cx).await }));
        tokio::select! {
            biased;
            () = abort.cancelled() => return Ended::Aborted,
            answer = &mut handling => {
                return answer.map_or_else(Ended::Panicked, Ended::Answered);
            }
            () = sleep_until(later(flight.started, limit)) => {}
        }
        if on_timeout == OnTimeout::Detach {
            flight.emit(|batch, watcher| BatcherEvent::HandlerTimedOut { batch, watcher, detached: true });
            flight.detach();
            tokio::select! {
                biased;
                () = abort.cancelled() => {}
                _ignored = &mut handling => {}
            }
        }
        Ended::Late
    }
}

impl<T, R, E> Flight<T, R, E> {
    pub(super) fn emit(&self, event: impl FnOnce(BatchId, Arc<str>) -> BatcherEvent) {
        self.inbox.shared.events.emit(&event(self.cx.id, Arc::clone(&self.cx.watcher)));
    }
}

impl<T, R, E> Drop for Running<T, R, E> {
    fn drop(&mut self) {
        // The runtime dropped the task.
        if !self.flight.concluded {
            self.conclude_all(&OpError::ShutDown);
        }
    }
}

/// What the future returns, or what it said when it panicked.
async fn caught<F: Future>(future: F) -> Result<F::Output, Arc<str>> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(message(&*panic))),
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> Arc<str> {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).into()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.as_str().into()
    } else {
        "no message".into()
    }
}
