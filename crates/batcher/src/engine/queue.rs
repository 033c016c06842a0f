use std::collections::{BTreeSet, VecDeque};

use tokio::time::Instant;

use super::slot::Slot;

/// The operations of one watcher that may leave, oldest first.
///
/// What is taken out of the middle leaves a gap behind, so that nothing is ever moved or searched for; a place keeps
/// its number for as long as it exists.
pub(super) struct Queue<T, R, E> {
    slots: VecDeque<Option<Slot<T, R, E>>>,
    /// The number of the first place.
    first: i64,
    live: usize,
    cost: u64,
    bytes: u64,
    /// So many places, oldest first, were filled not before then.
    ages: VecDeque<(Instant, usize)>,
    /// Operations at the head that have left before.
    again: usize,
    /// Operations at the head that somebody wants to leave.
    flush: usize,
    deadlines: BTreeSet<(Instant, i64)>,
}

impl<T, R, E> Queue<T, R, E> {
    pub(super) fn new() -> Self {
        Self {
            slots: VecDeque::new(),
            first: 0,
            live: 0,
            cost: 0,
            bytes: 0,
            ages: VecDeque::new(),
            again: 0,
            flush: 0,
            deadlines: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live == 0
    }

    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the oldest came, or later.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.ages.front().map(|(since, _)| *since)
    }

    /// Operations that have left before are at the head.
    pub(super) fn has_again(&self) -> bool {
        self.again > 0
    }

    /// Somebody wants the head to leave.
    pub(super) fn is_flushed(&self) -> bool {
        self.flush > 0
    }

    pub(super) fn flush(&mut self) {
        self.flush = self.slots.len();
    }

    /// Takes what came in, with the sums of it.
    pub(super) fn extend(
        &mut self,
        slots: &mut Vec<Slot<T, R, E>>,
        since: Instant,
        cost: u64,
        bytes: u64,
        timed: bool,
    ) {
        if slots.is_empty() {
            return;
        }
        if timed {
            let number = self.first + self.slots.len() as i64;
            for (number, slot) in (number..).zip(slots.iter()) {
                if let Some(deadline) = slot.operation.terms.deadline() {
                    self.deadlines.insert((deadline, number));
                }
            }
        }
        self.live += slots.len();
        self.cost += cost;
        self.bytes += bytes;
        self.ages.push_back((since, slots.len()));
        self.slots.extend(slots.drain(..).map(Some));
    }

    /// Operations that have left before are the first to leave again.
    pub(super) fn put_back(&mut self, slots: Vec<Slot<T, R, E>>, now: Instant) {
        if slots.is_empty() {
            return;
        }
        self.live += slots.len();
        self.again += slots.len();
        self.flush += if self.flush > 0 { slots.len() } else { 0 };
        self.ages.push_front((now, slots.len()));
        for slot in slots.into_iter().rev() {
            self.first -= 1;
            self.cost += u64::from(slot.operation.terms.cost);
            self.bytes += u64::from(slot.operation.terms.bytes);
            if let Some(deadline) = slot.operation.terms.deadline() {
                self.deadlines.insert((deadline, self.first));
            }
            self.slots.push_front(Some(slot));
        }
    }

    pub(super) fn front(&self) -> Option<&Slot<T, R, E>> {
        self.slots.front()?.as_ref()
    }

    /// How many places there are, gaps included.
    pub(super) fn places(&self) -> usize {
        self.slots.len()
    }

    /// What stands at that place, counted from the head; none: a gap.
    pub(super) fn at(&self, place: usize) -> Option<&Slot<T, R, E>> {
        self.slots.get(place)?.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot<T, R, E>> {
        self.slots.iter().flatten()
    }

    /// Takes out what stands at that place, counted from the head, which then starts with no gap. Places move up if
    /// it was the first.
    pub(super) fn take(&mut self, place: usize) -> Option<Slot<T, R, E>> {
        let slot = self.slots.get_mut(place)?.take()?;
        self.live -= 1;
        self.cost -= u64::from(slot.operation.terms.cost);
        self.bytes -= u64::from(slot.operation.terms.bytes);
        if let Some(deadline) = slot.operation.terms.deadline() {
            self.deadlines.remove(&(deadline, self.first + place as i64));
        }
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
            self.again = self.again.saturating_sub(1);
            self.flush = self.flush.saturating_sub(1);
            if let Some((_, count)) = self.ages.front_mut() {
                *count -= 1;
                if *count == 0 {
                    self.ages.pop_front();
                }
            }
        }
        Some(slot)
    }

    pub(super) fn earliest_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// One operation whose deadline has come.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Option<Slot<T, R, E>> {
        let (deadline, number) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.take(usize::try_from(number - self.first).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::time::Duration;

    use super::*;
    use crate::Operation;

    fn slot(payload: u32) -> Slot<u32, (), ()> {
        Slot { operation: Operation::new(payload).cost(payload % 7).bytes(payload % 5), cell: None }
    }

    fn payloads(queue: &Queue<u32, (), ()>) -> Vec<u32> {
        queue.iter().map(|slot| *slot.operation.payload()).collect()
    }

    proptest! {
        /// Against a plain list.
        #[test]
        fn keeps_order_and_sums(steps in prop::collection::vec((0_u8..4, 0_usize..6, 0_u64..5), 0..60)) {
            let start = Instant::now();
            let (mut queue, mut model) = (Queue::new(), Vec::<(u32, Option<Instant>)>::new());
            let mut next = 0_u32;
            for (step, place, time) in steps {
                let deadline = (time > 0).then(|| start + Duration::from_secs(time));
                let mut fresh = Vec::new();
                for _ in 0..place {
                    next += 1;
                    let mut slot = slot(next);
                    if let Some(deadline) = deadline {
                        slot.operation = slot.operation.deadline(deadline);
                    }
                    fresh.push(slot);
                }
                let named: Vec<_> = fresh.iter().map(|slot| (*slot.operation.payload(), deadline)).collect();
                match step {
                    0 => {
                        let cost = fresh.iter().map(|slot| u64::from(slot.operation.terms.cost)).sum();
                        let bytes = fresh.iter().map(|slot| u64::from(slot.operation.terms.bytes)).sum();
                        queue.extend(&mut fresh, start, cost, bytes, deadline.is_some());
                        model.extend(named);
                    }
                    1 => {
                        queue.put_back(fresh, start);
                        model.splice(0..0, named);
                    }
                    2 => {
                        let occupied: Vec<_> =
                            (0..queue.places()).filter(|place| queue.at(*place).is_some()).collect();
                        if let Some(at) = occupied.get(place) {
                            let taken = queue.take(*at).unwrap();
                            prop_assert_eq!(*taken.operation.payload(), model.remove(place).0);
                        }
                    }
                    _ => {
                        let now = start + Duration::from_secs(time);
                        while let Some(overdue) = queue.take_overdue(now) {
                            let payload = *overdue.operation.payload();
                            let at = model.iter().position(|(other, _)| *other == payload).unwrap();
                            prop_assert!(model.remove(at).1.is_some_and(|deadline| deadline <= now));
                        }
                        prop_assert!(model.iter().all(|(_, deadline)| deadline.is_none_or(|at| at > now)));
                    }
                }
                let expected: Vec<_> = model.iter().map(|(payload, _)| *payload).collect();
                prop_assert_eq!(payloads(&queue), expected.clone());
                prop_assert_eq!(queue.len(), expected.len());
                prop_assert_eq!(queue.cost(), expected.iter().map(|payload| u64::from(payload % 7)).sum::<u64>());
                prop_assert_eq!(queue.bytes(), expected.iter().map(|payload| u64::from(payload % 5)).sum::<u64>());
                prop_assert_eq!(queue.front().map(|slot| *slot.operation.payload()), expected.first().copied());
                prop_assert_eq!(queue.earliest_deadline(), model.iter().filter_map(|(_, at)| *at).min());
                prop_assert_eq!(queue.ages.iter().map(|(_, count)| count).sum::<usize>(), queue.places());
            }
        }
    }
}
