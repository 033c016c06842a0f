//! What becomes of the operations of a batch that is over.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::later;
use tokio::time::Instant;

use super::inbox::Inbox;
use super::running::{Flight, Running, Seat};
use super::slot::{Again, Refused, Slot};
use crate::ledger::Outcome;
use crate::operation::Terms;
use crate::retry::is_spent;
use crate::ticket::{Cell, Told};
use crate::verdict::Word;
use crate::{BatchContext, BatcherEvent, OpError, Operation, Retry, ThrottleScope, Verdicts};

/// How long nothing is started after a throttled operation, if the datastore does not say.
const BREATHER: Duration = Duration::from_millis(100);

/// How the operations of a batch ended.
#[derive(Default)]
struct Counts {
    done: usize,
    failed: usize,
    throttled: usize,
    retried: usize,
    /// Cost of what is done.
    done_cost: u64,
    retry_after: Option<Duration>,
}

impl<T, R, E> Running<T, R, E> {
    /// The handler has seen nothing yet, and must not any more: the attempt has not been one.
    pub(super) fn put_back(&mut self) {
        let len = self.batch.len();
        self.flight.emit(|batch, watcher| BatcherEvent::StartedTooLate { batch, watcher, len });
        let mut again = Again::nothing();
        for at in 0..len {
            if let Some(slot) = self.reclaim(at, 1) {
                again.now.push((slot, OpError::ShutDown));
            }
        }
        self.flight.concluded = true;
        self.permit.urgent = true;
        let refused = self.flight.send_back(again, 0);
        self.flight.end_refused(refused);
    }

    /// The handler has spoken.
    pub(super) fn conclude(&mut self, verdicts: Verdicts<R, E>) {
        let now = Instant::now();
        if let Some(result) = verdicts.all_done() {
            return self.finish_all_done(result, now);
        }
        let mut words = verdicts.words(self.batch.len());
        let (mut again, mut counts) = (Again::nothing(), Counts::default());
        for (at, word) in words.iter_mut().enumerate() {
            let cost = u64::from(self.flight.seats[at].cost);
            *word = match mem::replace(word, Word::Elsewhere) {
                Word::Done(result) => {
                    counts.done += 1;
                    counts.done_cost += cost;
                    Word::Done(result)
                }
                Word::Failed(error) => self.fail(at, error, now, &mut again, &mut counts),
                Word::Throttled(retry_after, error) => match self.reclaim(at, 1) {
                    Some(slot) => {
                        counts.throttled += 1;
                        counts.retry_after = counts.retry_after.max(retry_after);
                        again.now.push((slot, OpError::Failed(error)));
                        Word::Elsewhere
                    }
                    None => {
                        counts.throttled += 1;
                        counts.retry_after = counts.retry_after.max(retry_after);
                        Word::Ended(OpError::Failed(error))
                    }
                },
                Word::Skipped => match self.reclaim(at, 1) {
                    Some(slot) => {
                        counts.retried += 1;
                        again.now.push((slot, OpError::ShutDown));
                        Word::Elsewhere
                    }
                    None => Word::Ended(OpError::NoVerdict),
                },
                Word::Nothing => Word::Ended(OpError::NoVerdict),
                other => other,
            };
        }
        self.flight.throttle(&counts, now);
        self.finish(words, again, counts, now);
    }

    /// Nobody knows whether the operations took effect.
    pub(super) fn conclude_unknown(&mut self, cause: &OpError<E>) {
        let now = Instant::now();
        let (mut again, mut counts) = (Again::nothing(), Counts::default());
        let retry = self.flight.inbox.retry.as_ref().is_some_and(|retry| retry.retries_unknown());
        let words = (0..self.batch.len())
            .map(|at| {
                if retry && !self.is_spent(at) && self.retry_later(at, cause.clone(), now, &mut again) {
                    counts.retried += 1;
                    Word::Elsewhere
                } else {
                    Word::Ended(cause.clone())
                }
            })
            .collect();
        self.finish(words, again, counts, now);
    }

    /// It is over, whatever the handler would have said.
    pub(super) fn conclude_all(&mut self, cause: &OpError<E>) {
        let words = (0..self.batch.len()).map(|_| Word::Ended(cause.clone())).collect();
        self.finish(words, Again::nothing(), Counts::default(), Instant::now());
    }

    /// An operation has failed: for the last time, or not.
    fn fail(
        &mut self,
        at: usize,
        error: Arc<E>,
        now: Instant,
        again: &mut Again<T, R, E>,
        counts: &mut Counts,
    ) -> Word<R, E> {
        let inbox = Arc::clone(&self.flight.inbox);
        let attempts = self.flight.seats[at].attempts;
        let worth_it = inbox.retry.as_ref().is_some_and(|retry| {
            let asked =
                inbox.shared.events.guarded("the retry predicate", || retry.accepts(&error, attempts));
            asked.unwrap_or(false)
        });
        if !worth_it {
            Word::Ended(OpError::Failed(error))
        } else if self.is_spent(at) {
            Word::Ended(OpError::Exhausted { attempts, last: error })
        } else if self.retry_later(at, OpError::Failed(Arc::clone(&error)), now, again) {
            counts.retried += 1;
            Word::Elsewhere
        } else {
            Word::Ended(OpError::Failed(error))
        }
    }

    fn is_spent(&self, at: usize) -> bool {
        is_spent(self.flight.inbox.config.max_attempts, self.flight.seats[at].attempts)
    }

    /// False: its payload is gone.
    fn retry_later(
        &mut self,
        at: usize,
        cause: OpError<E>,
        now: Instant,
        again: &mut Again<T, R, E>,
    ) -> bool {
        let attempts = self.flight.seats[at].attempts;
        let Some(slot) = self.reclaim(at, 0) else { return false };
        let inbox = &self.flight.inbox;
        let delay = again.delay(attempts, || inbox.retry_delay(attempts));
        inbox.shared.events.emit(&BatcherEvent::OperationRetried {
            watcher: Arc::clone(&inbox.name),
            attempts,
            delay,
        });
        if inbox.retry.as_ref().is_some_and(Retry::keeps_order) {
            inbox.block(later(now, delay));
            again.now.push((slot, cause));
        } else {
            again.later.push((later(now, delay), slot, cause));
        }
        true
    }

    /// The operation as it was before so many of its attempts, if the handler has left its payload.
    fn reclaim(&mut self, at: usize, attempts: u32) -> Option<Slot<T, R, E>> {
        let entry = self.batch.entries.get_mut(at)?;
        let payload = entry.payload.take()?;
        let mut terms = mem::take(&mut entry.terms);
        terms.attempts = terms.attempts.saturating_sub(attempts);
        Some(Slot { operation: Operation { payload, terms }, cell: self.flight.seats[at].cell.take() })
    }

    /// The usual case, without a word for each operation.
    fn finish_all_done(&mut self, result: fn() -> R, now: Instant) {
        self.flight.concluded = true;
        let done = self.batch.len();
        let ledger = &self.flight.inbox.ledger;
        ledger.end(Outcome::Done, done as u64);
        ledger.handed_back(self.flight.cx.id, self.flight.cx.cost);
        self.flight.over(&Counts { done, done_cost: self.flight.cx.cost, ..Counts::default() }, now);
        for seat in &mut self.flight.seats {
            if let Some(cell) = seat.cell.take() {
                cell.settle(Ok(result()));
            }
        }
    }

    /// First the books, then the callers, so that whoever learns its result finds the books in order.
    fn finish(&mut self, words: Vec<Word<R, E>>, again: Again<T, R, E>, mut counts: Counts, now: Instant) {
        self.flight.concluded = true;
        let ledger = &self.flight.inbox.ledger;
        ledger.end(Outcome::Done, counts.done as u64);
        let mut ended_cost = counts.done_cost;
        for (word, seat) in words.iter().zip(&self.flight.seats) {
            if let Word::Ended(error) = word {
                ledger.end(outcome(error), 1);
                counts.failed += 1;
                ended_cost += u64::from(seat.cost);
            }
        }
        ledger.retried(counts.retried as u64);
        ledger.throttled(counts.throttled as u64);
        self.permit.urgent = counts.retried > 0 || counts.throttled > 0;
        let refused = self.flight.send_back(again, ended_cost);
        self.flight.over(&counts, now);
        for (at, word) in words.into_iter().enumerate() {
            let seat = &mut self.flight.seats[at];
            match word {
                Word::Done(result) => {
                    if let Some(cell) = seat.cell.take() {
                        cell.settle(Ok(result));
                    }
                }
                Word::Ended(error) => {
                    let entry = &mut self.batch.entries[at];
                    let (payload, terms) = (entry.payload.take(), mem::take(&mut entry.terms));
                    tell(&self.flight.inbox, seat.cell.take(), payload, &terms, error);
                }
                _ => {}
            }
        }
        self.flight.end_refused(refused);
    }
}

/// The operations have ended while the handler still has them.
pub(super) fn detach<T, R, E>(seats: &mut [Seat<R, E>], cx: &BatchContext, inbox: &Inbox<T, R, E>) {
    inbox.ledger.overdue(cx.id);
    inbox.ledger.end(Outcome::TimedOut, seats.len() as u64);
    inbox.ledger.handed_back(cx.id, cx.cost);
    for seat in seats {
        let terms = Terms { cost: seat.cost, attempts: seat.attempts, ..Terms::default() };
        tell(inbox, seat.cell.take(), None, &terms, OpError::TimedOut);
    }
}

/// Tells the ticket, or else the dead-letter sink.
fn tell<T, R, E>(
    inbox: &Inbox<T, R, E>,
    cell: Option<Arc<Cell<R, E>>>,
    payload: Option<T>,
    terms: &Terms,
    error: OpError<E>,
) {
    let told = match cell {
        Some(cell) => cell.settle(Err(error)),
        None => Told::Nobody(Err(error)),
    };
    if let Told::Nobody(Err(cause)) = told {
        inbox.bury(payload, terms, cause);
    }
}

impl<T, R, E> Flight<T, R, E> {
    /// Everybody may know that the batch is over.
    fn over(&self, counts: &Counts, now: Instant) {
        self.emit(|batch, watcher| BatcherEvent::BatchEnded {
            batch,
            watcher,
            elapsed: now.saturating_duration_since(self.started),
            done: counts.done,
            failed: counts.failed,
            throttled: counts.throttled,
            retried: counts.retried,
        });
        self.inbox.shared.acknowledge(counts.done_cost, counts.done, now);
    }

    fn send_back(&self, again: Again<T, R, E>, ended_cost: u64) -> Refused<T, R, E> {
        let slots = again.now.iter().map(|(slot, _)| slot).chain(again.later.iter().map(|(_, slot, _)| slot));
        let (mut operations, mut bytes) = (0, 0);
        for slot in slots {
            operations += 1;
            bytes += u64::from(slot.operation.terms.bytes);
        }
        if operations > 0 {
            self.inbox.owe_places(operations, bytes);
        }
        self.inbox.conclude(self.cx.id, again, ended_cost)
    }

    /// Ends what was to be tried again and is not: its cost has ended already.
    fn end_refused(&self, refused: Refused<T, R, E>) {
        let late = refused.too_late.into_iter().map(|slot| (slot, OpError::ShutDown));
        for (slot, cause) in refused.forsaken.into_iter().chain(late) {
            self.inbox.free_places(1, slot.operation.terms.bytes.into());
            self.inbox.ledger.end(outcome(&cause), 1);
            let Operation { payload, terms } = slot.operation;
            tell(&self.inbox, slot.cell, Some(payload), &terms, cause);
        }
    }

    /// The datastore has too much to do.
    fn throttle(&self, counts: &Counts, now: Instant) {
        if counts.throttled == 0 {
            return;
        }
        let (operations, shared) = (counts.throttled, &self.inbox.shared);
        let pause = self.inbox.breather(counts.retry_after.unwrap_or(BREATHER));
        match shared.config.throttle_scope {
            ThrottleScope::Watcher => self.inbox.block(later(now, pause)),
            ThrottleScope::Batcher => shared.block(later(now, pause)),
        }
        self.emit(|batch, watcher| BatcherEvent::Throttled { batch, watcher, operations, pause });
        shared.throttled(now, counts.retry_after.unwrap_or(BREATHER));
    }
}

fn outcome<E>(error: &OpError<E>) -> Outcome {
    match error {
        OpError::Failed(_) | OpError::Exhausted { .. } => Outcome::Failed,
        OpError::TimedOut => Outcome::TimedOut,
        OpError::DeadlinePassed => Outcome::DeadlinePassed,
        OpError::Panicked(_) => Outcome::Panicked,
        OpError::NoVerdict => Outcome::NoVerdict,
        OpError::ShutDown => Outcome::ShutDown,
    }
}
