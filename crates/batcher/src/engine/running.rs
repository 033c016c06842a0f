use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use sluicegate_core::later;
use tokio::time::{Instant, sleep_until};

use super::conclude::detach;
use super::inbox::Inbox;
use crate::capacity::Waiting;
use crate::handler::Batch;
use crate::ledger::Ledger;
use crate::shared::Shared;
use crate::ticket::Cell;
use crate::{BatchContext, BatchId, BatcherEvent, Handler, OnTimeout, OpError, Verdicts};

/// A batch that is with its handler. However it ends, its operations get their outcome and its slot becomes free.
pub(crate) struct Running<T, R, E> {
    pub(super) batch: Batch<T>,
    pub(super) flight: Flight<T, R, E>,
    /// Until it has started.
    waiting: Option<Waiting>,
    /// Dropped after everything has its outcome.
    pub(super) permit: Permit,
}

/// What stays here while the payloads are lent to the handler.
pub(super) struct Flight<T, R, E> {
    pub(super) seats: Vec<Seat<R, E>>,
    pub(super) cx: BatchContext,
    pub(super) inbox: Arc<Inbox<T, R, E>>,
    pub(super) started: Instant,
    pub(super) concluded: bool,
}

pub(crate) struct Seat<R, E> {
    pub(super) cell: Option<Arc<Cell<R, E>>>,
    pub(super) cost: u32,
    pub(super) attempts: u32,
}

/// The slot of a running batch.
pub(super) struct Permit {
    batch: BatchId,
    shared: Arc<Shared>,
    ledger: Arc<Ledger>,
    /// The engine has to look, whatever it waits for.
    pub(super) urgent: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.ledger.batch_ended(self.batch);
        self.shared.batch_ended(self.urgent);
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
        started: Instant,
    ) -> Self {
        inbox.ledger.started(cx.id, batch.len(), cx.cost);
        inbox.shared.batches_running.fetch_add(1, Ordering::AcqRel);
        inbox.shared.batches_started.fetch_add(1, Ordering::AcqRel);
        let (shared, ledger) = (Arc::clone(&inbox.shared), Arc::clone(&inbox.ledger));
        let waiting = Some(inbox.shared.departures.board());
        let permit = Permit { batch: cx.id, shared, ledger, urgent: false };
        let flight = Flight { seats, cx, inbox, started, concluded: false };
        Self { batch, flight, waiting, permit }
    }

    pub(crate) async fn run(mut self, handler: Arc<dyn Handler<T, R, E>>) {
        if self.flight.cx.start_by.is_some_and(|by| by <= Instant::now()) {
            self.put_back();
            return;
        }
        self.waiting = None;
        match self.handle(&*handler).await {
            Ended::Answered(verdicts) => self.conclude(verdicts),
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
        let Flight { seats, cx, inbox, started, concluded } = flight;
        if inbox.abort.is_cancelled() {
            return Ended::Aborted;
        }
        let mut handling = pin!(caught(async { handler.handle(batch, cx).await }));
        // In this order, so that a handler that needs not wait costs no timer.
        tokio::select! {
            biased;
            answer = &mut handling => return answer.map_or_else(Ended::Panicked, Ended::Answered),
            () = inbox.abort.cancelled() => return Ended::Aborted,
            () = sleep_until(later(*started, limit)) => {}
        }
        if on_timeout == OnTimeout::Detach {
            let (batch, watcher) = (cx.id, Arc::clone(&cx.watcher));
            inbox.shared.events.emit(&BatcherEvent::HandlerTimedOut { batch, watcher, detached: true });
            *concluded = true;
            detach(seats, cx, inbox);
            tokio::select! {
                biased;
                _ignored = &mut handling => {}
                () = inbox.abort.cancelled() => {}
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
        self.flight.inbox.recycle(&mut self.batch.entries, &mut self.flight.seats);
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
