use std::collections::{BTreeSet, VecDeque};
use std::mem;

use tokio::time::Instant;

use super::slot::Slot;

/// Fewer than that are moved to where others wait already; more stay where the callers have put them.
const FEW: usize = 64;

/// The operations of one watcher that may leave, oldest first.
///
/// They stay in the chunks in which they were fetched from the inbox. What is taken out of the middle leaves a gap
/// behind, so that nothing is ever moved or searched for; a place keeps its number for as long as it exists.
pub(super) struct Queue<T, R, E> {
    chunks: VecDeque<Chunk<T, R, E>>,
    places: usize,
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
    /// Empty, to be filled again.
    spare: Option<Slots<T, R, E>>,
}

/// Places in a row; none: a gap.
pub(super) type Slots<T, R, E> = VecDeque<Option<Slot<T, R, E>>>;

struct Chunk<T, R, E> {
    /// The number of its first place.
    first: i64,
    slots: Slots<T, R, E>,
}

impl<T, R, E> Queue<T, R, E> {
    pub(super) fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            places: 0,
            live: 0,
            cost: 0,
            bytes: 0,
            ages: VecDeque::new(),
            again: 0,
            flush: 0,
            deadlines: BTreeSet::new(),
            spare: None,
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
        self.flush = self.places;
    }

    /// Takes what came in, with the sums of it, and leaves room for more behind.
    pub(super) fn extend(&mut self, slots: &mut Slots<T, R, E>, came: Came) {
        let (many, first) = (slots.len(), self.end());
        if many == 0 {
            return;
        }
        if came.timed {
            for (number, slot) in (first..).zip(slots.iter().flatten()) {
                if let Some(deadline) = slot.operation.terms.deadline() {
                    self.deadlines.insert((deadline, number));
                }
            }
        }
        self.places += many;
        self.live += many;
        self.cost += came.cost;
        self.bytes += came.bytes;
        self.ages.push_back((came.since, many));
        match self.chunks.back_mut() {
            Some(last) if many < FEW => last.slots.extend(slots.drain(..)),
            _ => {
                if self.chunks.back().is_some_and(|last| last.slots.is_empty()) {
                    self.spare = self.chunks.pop_back().map(|chunk| chunk.slots);
                }
                let slots = mem::replace(slots, self.spare.take().unwrap_or_default());
                self.chunks.push_back(Chunk { first, slots });
            }
        }
    }

    /// Operations that have left before are the first to leave again.
    pub(super) fn put_back(&mut self, slots: Vec<Slot<T, R, E>>, now: Instant) {
        let many = slots.len();
        if many == 0 {
            return;
        }
        let first = self.chunks.front().map_or(0, |chunk| chunk.first) - many as i64;
        self.places += many;
        self.live += many;
        self.again += many;
        self.flush += if self.flush > 0 { many } else { 0 };
        self.ages.push_front((now, many));
        for (number, slot) in (first..).zip(&slots) {
            self.cost += slot.cost();
            self.bytes += u64::from(slot.operation.terms.bytes);
            if let Some(deadline) = slot.operation.terms.deadline() {
                self.deadlines.insert((deadline, number));
            }
        }
        self.chunks.push_front(Chunk { first, slots: slots.into_iter().map(Some).collect() });
    }

    pub(super) fn front(&self) -> Option<&Slot<T, R, E>> {
        self.chunks.front()?.slots.front()?.as_ref()
    }

    /// How many places there are, gaps included.
    pub(super) fn places(&self) -> usize {
        self.places
    }

    /// What stands at that place, counted from the head; none: a gap.
    pub(super) fn at(&self, place: usize) -> Option<&Slot<T, R, E>> {
        let (chunk, place) = self.locate(place)?;
        self.chunks[chunk].slots.get(place)?.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot<T, R, E>> {
        self.chunks.iter().flat_map(|chunk| chunk.slots.iter().flatten())
    }

    /// Takes out what stands at that place, counted from the head, which then starts with no gap. Places move up if
    /// it was the first.
    pub(super) fn take(&mut self, place: usize) -> Option<Slot<T, R, E>> {
        let (chunk, within) = self.locate(place)?;
        let chunk = &mut self.chunks[chunk];
        let number = chunk.first + within as i64;
        let slot = chunk.slots.get_mut(within)?.take()?;
        self.live -= 1;
        self.cost -= slot.cost();
        self.bytes -= u64::from(slot.operation.terms.bytes);
        if let Some(deadline) = slot.operation.terms.deadline() {
            self.deadlines.remove(&(deadline, number));
        }
        if place == 0 {
            self.close_up();
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
        let first = self.chunks.front()?.first;
        self.take(usize::try_from(number - first).ok()?)
    }

    /// The number of the next place.
    fn end(&self) -> i64 {
        self.chunks.back().map_or(0, |chunk| chunk.first + chunk.slots.len() as i64)
    }

    /// In which chunk a place is, and where in it.
    fn locate(&self, place: usize) -> Option<(usize, usize)> {
        let front = self.chunks.front()?;
        if place < front.slots.len() {
            return Some((0, place));
        }
        let number = front.first + place as i64;
        let chunk = self.chunks.partition_point(|chunk| chunk.first <= number) - 1;
        Some((chunk, usize::try_from(number - self.chunks[chunk].first).ok()?))
    }

    /// Removes the gaps at the head.
    fn close_up(&mut self) {
        let mut removed = 0;
        while let Some(front) = self.chunks.front_mut() {
            while let Some(None) = front.slots.front() {
                front.slots.pop_front();
                front.first += 1;
                removed += 1;
            }
            // The last one is kept for more.
            if !front.slots.is_empty() || self.chunks.len() == 1 {
                break;
            }
            self.spare = self.chunks.pop_front().map(|chunk| chunk.slots);
        }
        self.places -= removed;
        self.again = self.again.saturating_sub(removed);
        self.flush = self.flush.saturating_sub(removed);
        while removed > 0
            && let Some((_, count)) = self.ages.front_mut()
        {
            let gone = removed.min(*count);
            (*count, removed) = (*count - gone, removed - gone);
            if *count == 0 {
                self.ages.pop_front();
            }
        }
    }
}

/// What is known of operations that came in together.
pub(super) struct Came {
    pub(super) since: Instant,
    pub(super) cost: u64,
    pub(super) bytes: u64,
    /// Some of them have deadlines.
    pub(super) timed: bool,
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
        fn keeps_order_and_sums(steps in prop::collection::vec((0_u8..4, prop_oneof![0_usize..6, Just(100)], 0_u64..5), 0..60)) {
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
                        let mut fresh = fresh.into_iter().map(Some).collect();
                        queue.extend(&mut fresh, Came { since: start, cost, bytes, timed: deadline.is_some() });
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
