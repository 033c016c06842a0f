//! The next batch of a lane.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Departure, Order, TypedLane};
use crate::BatchContext;
use crate::engine::running::{Running, Seat};
use crate::engine::slot::Slot;
use crate::handler::{Batch, Entry};

impl<T, R, E> TypedLane<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + Sync + 'static,
{
    pub(super) fn cost_of_next(&self, enough: u64) -> u64 {
        let (mut sum, mut bytes, mut len, mut from) = (0, 0, 0, 0);
        while len < self.max_size()
            && let Some(place) = self.next_place(from, len == 0)
            && let Some(slot) = self.queue.at(place)
        {
            let (cost, size) = (slot.cost(), u64::from(slot.operation.terms.bytes));
            if len == 0 && cost == 0 {
                return 0;
            }
            let too_much = sum + cost > self.max_cost() || bytes + size > self.max_bytes();
            if len > 0 && too_much {
                break;
            }
            (sum, bytes, len, from) = (sum + cost, bytes + size, len + 1, place + 1);
            if sum >= enough || slot.operation.terms.alone {
                break;
            }
        }
        sum
    }

    /// From the oldest operations that the meter admits.
    pub(super) fn form_batch(&mut self, mut order: Order<'_>) -> Option<Departure> {
        let (max_size, max_cost, max_bytes) = (self.max_size(), self.max_cost(), self.max_bytes());
        let oldest = self.queue.oldest().unwrap_or(order.now);
        // How far the budget reaches is not known yet.
        let most = if order.meter.is_some() { 128 } else { usize::MAX };
        let expected = self.queue.len().min(max_size).min(most);
        let (entries, mut seats) = self.inbox.vessels(expected);
        let mut batch = Batch { entries };
        let (mut sum, mut bytes, mut freed, mut swept, mut from) = (0, 0, 0, 0, 0);
        let mut deadline: Option<Instant> = None;
        let span = tracing::debug_span!(
            "batch",
            batch = order.id.0,
            watcher = %self.inbox.name,
            reason = ?order.reason,
            len = tracing::field::Empty,
            cost = tracing::field::Empty,
        );
        while batch.entries.len() < max_size
            && let Some(place) = self.next_place(from, batch.entries.is_empty())
            && let Some(slot) = self.queue.at(place)
        {
            let (cost, size) = (slot.operation.terms.cost, u64::from(slot.operation.terms.bytes));
            let too_much = sum + u64::from(cost) > max_cost || bytes + size > max_bytes;
            if !batch.entries.is_empty() && too_much {
                break;
            }
            if order.meter.as_mut().is_some_and(|meter| !meter.bucket().admits(cost)) {
                break;
            }
            // From here on a ticket can no longer cancel.
            let wanted = slot.cell.as_ref().is_none_or(|cell| cell.try_start());
            from = if place == 0 { 0 } else { place + 1 };
            let Some(Slot { operation, cell }) = self.queue.take(place) else { break };
            freed += size;
            if !wanted {
                swept += 1;
                continue;
            }
            if let Some(meter) = order.meter.as_mut() {
                meter.bucket().take(cost);
            }
            sum += u64::from(cost);
            bytes += size;
            let mut terms = operation.terms;
            terms.attempts = terms.attempts.saturating_add(1);
            if terms.rare.is_some() {
                deadline = [deadline, terms.deadline()].into_iter().flatten().min();
                if let Some(origin) = terms.span() {
                    span.follows_from(origin);
                    origin.in_scope(|| tracing::debug!(batch = order.id.0, "dispatched"));
                }
            }
            let alone = terms.alone;
            seats.push(Seat { cell, cost, attempts: terms.attempts });
            batch.entries.push(Entry { payload: Some(operation.payload), terms });
            if alone {
                break;
            }
        }
        let len = batch.entries.len();
        if swept > 0 {
            self.inbox.ledger.swept(swept);
        }
        self.inbox.free_places(len + swept, freed);
        if len == 0 {
            return None;
        }
        span.record("len", len);
        span.record("cost", sum);
        let limited = order.meter.as_ref().filter(|meter| meter.is_granted());
        let cx = BatchContext {
            id: order.id,
            watcher: Arc::clone(&self.inbox.name),
            reason: order.reason,
            cost: sum,
            bytes,
            deadline,
            start_by: limited.and_then(|meter| meter.grant().start_by(order.now)),
            grant: limited.map(|meter| meter.grant().clone()),
            cancellation: self.inbox.abort.clone(),
        };
        let oldest_wait = order.now.saturating_duration_since(oldest);
        let running = Running::new(batch, seats, cx, Arc::clone(&self.inbox), order.now);
        self.departing = Some((running, span));
        Some(Departure { len, cost: sum, bytes, oldest_wait, watcher: Arc::clone(&self.inbox.name) })
    }

    /// Where the next operation of a batch stands, from that place on.
    fn next_place(&self, from: usize, first: bool) -> Option<usize> {
        (from..self.queue.places())
            .find(|place| self.queue.at(*place).is_some_and(|slot| first || !slot.operation.terms.alone))
    }
}
