use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::inbox::{Inbox, Slot};
use super::lane::Task;
use crate::handler::Batch;
use crate::ledger::{Ledger, Outcome};
use crate::shared::Shared;
use crate::ticket::Cell;
use crate::{BatchContext, BatcherEvent, Handler, OpError, Operation, Verdicts};

/// A batch that is about to leave.
pub(crate) struct Departure {
    pub(crate) watcher: Arc<str>,
    pub(crate) len: usize,
    pub(crate) cost: u64,
    pub(crate) oldest_wait: Duration,
    pub(crate) task: Task,
}

/// A batch that is with its handler. However it ends, its operations get their outcome and its slot becomes free.
pub(crate) struct Running<T, R, E> {
    batch: Batch<T>,
    cells: Vec<Option<Arc<Cell<R, E>>>>,
    cx: BatchContext,
    inbox: Arc<Inbox<T, R, E>>,
    started: Instant,
    permit: Permit,
    concluded: bool,
}

/// The slot of a running batch.
struct Permit {
    ledger: Arc<Ledger>,
    shared: Arc<Shared>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.batches_running.fetch_sub(1, Ordering::AcqRel);
        self.ledger.batch_ended();
    }
}

impl<T, R, E> Running<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    pub(crate) fn new(
        batch: Batch<T>,
        cells: Vec<Option<Arc<Cell<R, E>>>>,
        cx: BatchContext,
        inbox: Arc<Inbox<T, R, E>>,
        shared: Arc<Shared>,
    ) -> Self {
        let ledger = Arc::clone(inbox.ledger());
        ledger.started(batch.len());
        shared.batches_running.fetch_add(1, Ordering::AcqRel);
        shared.batches_started.fetch_add(1, Ordering::AcqRel);
        let permit = Permit { ledger, shared };
        Self { batch, cells, cx, inbox, started: Instant::now(), permit, concluded: false }
    }

    pub(crate) async fn run(mut self, handler: Arc<dyn Handler<T, R, E>>) {
        if self.cx.start_by.is_some_and(|by| by <= Instant::now()) {
            self.put_back();
            return;
        }
        let abort = self.permit.shared.abort.clone();
        let (batch, cx) = (&mut self.batch, &self.cx);
        let ended = tokio::select! {
            biased;
            () = abort.cancelled() => None,
            verdicts = caught(async { handler.handle(batch, cx).await }) => Some(verdicts),
        };
        match ended {
            Some(Ok(verdicts)) => self.conclude_with(verdicts),
            Some(Err(message)) => {
                let (batch, watcher) = (self.cx.id, Arc::clone(&self.cx.watcher));
                let event = BatcherEvent::HandlerPanicked { batch, watcher, message: Arc::clone(&message) };
                self.permit.shared.events.emit(&event);
                self.conclude_all(Outcome::Panicked, || OpError::Panicked(Arc::clone(&message)));
            }
            None => self.conclude_all(Outcome::ShutDown, || OpError::ShutDown),
        }
    }
}

impl<T, R, E> Running<T, R, E> {
    /// The handler has seen nothing yet, and must not any more.
    fn put_back(&mut self) {
        self.concluded = true;
        let len = self.batch.len();
        let mut slots = Vec::with_capacity(len);
        for (entry, cell) in self.batch.entries.drain(..).zip(self.cells.drain(..)) {
            if let Some(cell) = &cell {
                cell.requeue();
            }
            if let Some(payload) = entry.payload {
                slots.push(Slot { operation: Operation::new(payload).cost(entry.cost), cell });
            }
        }
        self.permit.shared.overdraft.fetch_add(len, Ordering::AcqRel);
        let refused = self.inbox.put_back(slots);
        self.permit.ledger.handed_back(len);
        let (batch, watcher) = (self.cx.id, Arc::clone(&self.cx.watcher));
        self.permit.shared.events.emit(&BatcherEvent::StartedTooLate { batch, watcher, len });
        for slot in refused.err().into_iter().flatten() {
            slot.shut_down(&self.permit.ledger);
        }
    }

    fn conclude_with(&mut self, verdicts: Verdicts<R, E>) {
        let len = self.batch.len();
        let outcomes = verdicts.settle(len);
        let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let no_verdict = outcomes.iter().filter(|outcome| matches!(outcome, Err(OpError::NoVerdict))).count();
        let ledger = &self.permit.ledger;
        ledger.end(Outcome::Done, done as u64);
        ledger.end(Outcome::NoVerdict, no_verdict as u64);
        ledger.end(Outcome::Failed, (len - done - no_verdict) as u64);
        self.close_books(done);
        for (cell, outcome) in self.cells.drain(..).zip(outcomes) {
            if let Some(cell) = cell {
                cell.settle(outcome);
            }
        }
    }

    fn conclude_all(&mut self, outcome: Outcome, error: impl Fn() -> OpError<E>) {
        self.permit.ledger.end(outcome, self.batch.len() as u64);
        self.close_books(0);
        for cell in self.cells.drain(..).flatten() {
            cell.settle(Err(error()));
        }
    }

    /// Before any caller learns its result, so that it finds the books in order.
    fn close_books(&mut self, done: usize) {
        self.concluded = true;
        let len = self.batch.len();
        self.permit.ledger.end_cost(self.cx.cost);
        self.permit.ledger.handed_back(len);
        self.permit.shared.events.emit(&BatcherEvent::BatchEnded {
            batch: self.cx.id,
            watcher: Arc::clone(&self.cx.watcher),
            elapsed: self.started.elapsed(),
            done,
            failed: len - done,
        });
    }
}

impl<T, R, E> Drop for Running<T, R, E> {
    fn drop(&mut self) {
        // The runtime dropped the task.
        if !self.concluded {
            self.conclude_all(Outcome::ShutDown, || OpError::ShutDown);
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
