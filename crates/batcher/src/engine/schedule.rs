use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::lane::{Lane, Moment, Order, Pressure};
use crate::limit::Meter;
use crate::shared::Shared;
use crate::{BatchId, BatcherEvent, FlushReason};

/// A lane, and what it has had.
pub(super) struct Berth {
    pub(super) lane: Box<dyn Lane>,
    /// Cost by weight of what it has had, since it last had nothing to do ahead of the others.
    tag: u128,
    /// It was ready when last looked at.
    contends: bool,
}

impl Berth {
    pub(super) fn new(lane: Box<dyn Lane>) -> Self {
        Self { lane, tag: 0, contends: false }
    }
}

/// Serves the lanes that are ready by start-time fair queueing (Goyal, Vin and Cheng, 1996): the one that has had the
/// least for its weight is next. One that comes back from having nothing to do starts level with the others, so what
/// it did not use is not saved up.
///
/// For lanes i and j that are ready throughout, what they get differs by no more than their largest batches:
///
/// > |S_i / w_i − S_j / w_j| ≤ B_i / w_i + B_j / w_j
///
/// A lane whose turn it is and that has too little budget is waited for: others may only pass it with operations that
/// cost nothing, so that cheap batches do not starve dear ones.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Where the lane stood that was served last.
    clock: u128,
    batches: u64,
}

/// What is left after everything that could leave has left.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// When to look again, if nothing happens before.
    pub(super) wake: Option<Instant>,
    /// No batch can start before another has ended, or a pause is over.
    pub(super) no_slot: bool,
    /// The lane whose turn it is waits for budget, and the others with it.
    pub(super) no_budget: bool,
}

impl Rest {
    pub(super) fn wake_at(&mut self, at: Option<Instant>) {
        self.wake = match (self.wake, at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

impl Schedule {
    /// Starts every batch that can start now.
    pub(super) fn dispatch(
        &mut self,
        berths: &mut [Berth],
        moment: &Moment,
        mut meter: Option<&mut Meter>,
        shared: &Arc<Shared>,
    ) -> Rest {
        let before = self.batches;
        let rest = loop {
            let mut rest = Rest::default();
            if !self.start_one(berths, moment, meter.as_deref_mut(), shared, before, &mut rest) {
                break rest;
            }
        };
        if shared.config.verbose_events && self.batches > before {
            shared.events.emit(&BatcherEvent::FlushDone { batches: self.batches - before });
        }
        rest
    }

    fn start_one(
        &mut self,
        berths: &mut [Berth],
        moment: &Moment,
        mut meter: Option<&mut Meter>,
        shared: &Arc<Shared>,
        before: u64,
        rest: &mut Rest,
    ) -> bool {
        let max = shared.config.max_concurrent_batches;
        if max.is_some_and(|max| shared.batches_running.load(Ordering::Acquire) >= max.get()) {
            rest.no_slot = true;
            return false;
        }
        let Some((index, reason)) = self.choose(berths, moment, meter.as_deref_mut(), rest) else {
            return false;
        };
        let berth = &mut berths[index];
        let id = BatchId(self.batches + 1);
        let order = Order { id, reason, now: moment.now, meter };
        if let Some(departure) = berth.lane.form(order) {
            if shared.config.verbose_events && self.batches == before {
                shared.events.emit(&BatcherEvent::FlushStarted);
            }
            self.batches += 1;
            // Also what costs nothing takes its turn.
            let share = (u128::from(departure.cost.max(1)) << 32) / u128::from(berth.lane.weight());
            if !rest.no_budget {
                self.clock = berth.tag;
            }
            berth.tag += share;
            shared.events.emit(&BatcherEvent::BatchStarted {
                batch: id,
                watcher: departure.watcher,
                len: departure.len,
                cost: departure.cost,
                bytes: departure.bytes,
                reason,
                oldest_wait: departure.oldest_wait,
            });
            berth.lane.launch();
        }
        true
    }

    /// The lane that is ready, can pay, and has had the least.
    fn choose(
        &self,
        berths: &mut [Berth],
        moment: &Moment,
        meter: Option<&mut Meter>,
        rest: &mut Rest,
    ) -> Option<(usize, FlushReason)> {
        let mut next: Option<(u128, usize, FlushReason)> = None;
        let mut free: Option<(u128, usize, FlushReason)> = None;
        for (index, berth) in berths.iter_mut().enumerate() {
            let reason = match berth.lane.pressure(moment) {
                Pressure::Ready(reason) => reason,
                Pressure::Rests => {
                    berth.contends = false;
                    continue;
                }
                Pressure::Until(at) => {
                    berth.contends = false;
                    rest.wake_at(Some(at));
                    continue;
                }
            };
            if !berth.contends {
                berth.contends = true;
                berth.tag = berth.tag.max(self.clock);
            }
            let candidate = (berth.tag, index, reason);
            if meter.is_some() && berth.lane.next_cost(1) == 0 && free.is_none_or(|(tag, ..)| berth.tag < tag)
            {
                free = Some(candidate);
            }
            if next.is_none_or(|(tag, ..)| berth.tag < tag) {
                next = Some(candidate);
            }
        }
        let (_, index, reason) = next?;
        let Some(meter) = meter else { return Some((index, reason)) };
        let need = berths[index].lane.next_cost(meter.bucket().largest_need());
        let ready_at = meter.bucket().ready_at(need);
        if need == 0 || ready_at.is_some_and(|at| at <= moment.now) {
            return Some((index, reason));
        }
        rest.no_budget = true;
        rest.wake_at(ready_at);
        rest.wake_at(meter.edge());
        free.map(|(_, index, reason)| (index, reason))
    }
}
