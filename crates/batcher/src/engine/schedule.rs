use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::lane::{Lane, Moment, Order, Pressure};
use crate::limit::Meter;
use crate::shared::Shared;
use crate::{BatchId, BatcherEvent};

/// Serves the lanes in turn. A lane whose turn it is and that has too little budget is waited for: others may only
/// pass it with operations that cost nothing, so that cheap batches do not starve dear ones.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    turn: usize,
    batches: u64,
}

/// What is left after everything that could leave has left.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// When to look again, if nothing happens before.
    pub(super) wake: Option<Instant>,
    /// No batch can start before another has ended.
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
        lanes: &mut [Box<dyn Lane>],
        moment: &Moment,
        mut meter: Option<&mut Meter>,
        shared: &Arc<Shared>,
    ) -> Rest {
        loop {
            let mut rest = Rest::default();
            if !self.start_one(lanes, moment, meter.as_deref_mut(), shared, &mut rest) {
                return rest;
            }
        }
    }

    fn start_one(
        &mut self,
        lanes: &mut [Box<dyn Lane>],
        moment: &Moment,
        mut meter: Option<&mut Meter>,
        shared: &Arc<Shared>,
        rest: &mut Rest,
    ) -> bool {
        let (first, count) = (self.turn, lanes.len());
        for step in 0..count {
            if shared
                .config
                .max_concurrent_batches
                .is_some_and(|max| shared.batches_running.load(Ordering::Acquire) >= max.get())
            {
                rest.no_slot = true;
                return false;
            }
            let index = (first + step) % count;
            let lane = &mut lanes[index];
            let reason = match lane.pressure(moment) {
                Pressure::Rests => continue,
                Pressure::Until(at) => {
                    rest.wake_at(Some(at));
                    continue;
                }
                Pressure::Ready(reason) => reason,
            };
            if let Some(meter) = meter.as_deref_mut() {
                let need = lane.next_cost(meter.bucket().largest_need());
                let ready_at = meter.bucket().ready_at(need);
                let payable = ready_at.is_some_and(|at| at <= moment.now);
                if need > 0 && (rest.no_budget || !payable) {
                    if !rest.no_budget {
                        rest.no_budget = true;
                        self.turn = index;
                        rest.wake_at(ready_at);
                        rest.wake_at(meter.edge());
                    }
                    continue;
                }
            }
            if !rest.no_budget {
                self.turn = (index + 1) % count;
            }
            let id = BatchId(self.batches + 1);
            let order = Order { id, reason, now: moment.now, meter: meter.as_deref_mut() };
            if let Some(departure) = lane.form(order) {
                self.batches += 1;
                shared.events.emit(&BatcherEvent::BatchStarted {
                    batch: id,
                    watcher: departure.watcher,
                    len: departure.len,
                    cost: departure.cost,
                    reason,
                    oldest_wait: departure.oldest_wait,
                });
                shared.tracker.spawn(departure.task);
            }
            return true;
        }
        false
    }
}
