use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sluicegate_core::FencingToken;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Fleet;

/// How many starts the cold start is learned from.
const STARTS: usize = 20;

/// So many crashes within [`CRASH_WINDOW`] stop growth.
const CRASHES: usize = 5;
const CRASH_WINDOW: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Ordered at that time, not ready yet.
    Starting(Instant),
    Ready,
    /// Takes nothing new.
    Draining,
    /// Ended unasked: waits for its replacement.
    Failed,
}

/// A place for one instance, and for its replacements if it crashes.
#[derive(Debug)]
struct Slot {
    state: State,
    stop: CancellationToken,
}

/// Who is there: a plain machine over explicit instants.
#[derive(Debug, Default)]
pub(super) struct Registry {
    slots: BTreeMap<u64, Slot>,
    next_slot: u64,
    next_instance: u64,
    target: u32,
    fence: Option<FencingToken>,
    took: VecDeque<Duration>,
    crashes: VecDeque<Instant>,
}

impl Registry {
    /// Takes an order; `false` if it comes from a leader that has been replaced.
    pub(super) fn order(&mut self, target: u32, fence: Option<FencingToken>) -> bool {
        if fence < self.fence {
            return false;
        }
        self.fence = fence;
        self.target = target;
        true
    }

    /// Opens the slots that are missing, and tells those that are too many to stop. Returns the new ones.
    pub(super) fn settle(&mut self, root: &CancellationToken, now: Instant) -> Vec<(u64, CancellationToken)> {
        let target = self.target as usize;
        let mut open: Vec<u64> =
            self.slots.iter().filter(|(_, slot)| slot.state != State::Draining).map(|(id, _)| *id).collect();
        if open.len() > target {
            // Failed ones first, then those furthest from ready, then the youngest.
            open.sort_by_key(|id| {
                let state = self.slots.get(id).map_or(State::Failed, |slot| slot.state);
                let rank = match state {
                    State::Failed => 0,
                    State::Starting(_) => 1,
                    State::Ready | State::Draining => 2,
                };
                (rank, std::cmp::Reverse(*id))
            });
            for id in open.iter().take(open.len() - target) {
                if let Some(slot) = self.slots.get_mut(id) {
                    slot.state = State::Draining;
                    slot.stop.cancel();
                }
            }
            return Vec::new();
        }
        self.crashes.retain(|at| now.saturating_duration_since(*at) < CRASH_WINDOW);
        if self.crashes.len() >= CRASHES {
            return Vec::new();
        }
        let mut opened = Vec::new();
        for _ in open.len()..target {
            let stop = root.child_token();
            self.slots.insert(self.next_slot, Slot { state: State::Starting(now), stop: stop.clone() });
            opened.push((self.next_slot, stop));
            self.next_slot += 1;
        }
        opened
    }

    /// The number of an instance that is about to start in that slot, and the fence it starts under.
    pub(super) fn start(&mut self, slot: u64, now: Instant) -> (u64, Option<FencingToken>) {
        self.set(slot, State::Starting(now));
        self.next_instance += 1;
        (self.next_instance, self.fence)
    }

    pub(super) fn ready(&mut self, slot: u64, took: Duration) {
        self.set(slot, State::Ready);
        if self.took.len() == STARTS {
            self.took.pop_front();
        }
        self.took.push_back(took);
    }

    pub(super) fn failed(&mut self, slot: u64, now: Instant) {
        self.set(slot, State::Failed);
        self.crashes.push_back(now);
    }

    /// Changes the state of a slot that has not been told to stop.
    fn set(&mut self, slot: u64, state: State) {
        if let Some(slot) = self.slots.get_mut(&slot)
            && slot.state != State::Draining
        {
            slot.state = state;
        }
    }

    pub(super) fn close(&mut self, slot: u64) {
        self.slots.remove(&slot);
    }

    pub(super) fn fleet(&self) -> Fleet {
        let mut fleet = Fleet { took: self.took.iter().copied().collect(), ..Fleet::default() };
        for slot in self.slots.values() {
            match slot.state {
                State::Starting(at) => fleet.starting.push(at),
                State::Ready => fleet.ready += 1,
                State::Draining => fleet.draining += 1,
                State::Failed => fleet.failed += 1,
            }
        }
        fleet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn victims_are_failed_then_starting_then_young() {
        let (mut registry, root, now) = (Registry::default(), CancellationToken::new(), Instant::now());
        registry.order(5, None);
        let slots = registry.settle(&root, now);
        assert_eq!(slots.len(), 5);
        for slot in [0, 1, 3, 4] {
            registry.ready(slot, Duration::ZERO);
        }
        registry.failed(1, now);
        let mut stopped = Vec::new();
        for target in (0..5).rev() {
            registry.order(target, None);
            registry.settle(&root, now);
            let all = slots.iter().filter(|(_, stop)| stop.is_cancelled()).map(|(slot, _)| *slot);
            let new = all.filter(|slot| !stopped.contains(slot)).collect::<Vec<_>>();
            stopped.extend(new);
        }
        assert_eq!(stopped, [1, 2, 4, 3, 0]);
        assert_eq!(registry.fleet().draining, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_of_a_replaced_leader_is_refused() {
        let mut registry = Registry::default();
        assert!(registry.order(1, None));
        assert!(registry.order(1, Some(FencingToken(7))));
        assert!(!registry.order(9, Some(FencingToken(6))));
        assert!(!registry.order(9, None));
        assert_eq!(registry.target, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn five_crashes_in_a_minute_stop_growth() {
        let (mut registry, root, now) = (Registry::default(), CancellationToken::new(), Instant::now());
        registry.order(1, None);
        registry.settle(&root, now);
        for _ in 0..5 {
            registry.failed(0, now);
        }
        registry.order(3, None);
        assert_eq!(registry.settle(&root, now).len(), 0);
        assert_eq!(registry.settle(&root, now + Duration::from_secs(61)).len(), 2);
    }
}
