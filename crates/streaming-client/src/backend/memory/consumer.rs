use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;
use std::time::Duration;

use sluicegate_core::later;
use tokio::time::Instant;

/// One subscriber of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MemberId(pub(super) u64);

/// A position in a channel and what is in flight from it; a plain machine over explicit instants.
#[derive(Debug)]
pub(super) struct Consumer {
    /// The sequence to be delivered first next.
    next: u64,
    /// Delivered and not settled.
    pending: BTreeMap<u64, Pending>,
    /// Those of them that are to be delivered again now.
    ready: BTreeSet<u64>,
    /// Those of them that are to be delivered again later.
    due: BTreeSet<(Instant, u64)>,
    members: BTreeMap<MemberId, Seat>,
    pub(super) delivered: u64,
    pub(super) redelivered: u64,
    pub(super) acked: u64,
}

#[derive(Debug)]
struct Pending {
    deliveries: u32,
    /// In whose hands it counts; nobody's once it is to come again.
    member: Option<MemberId>,
    due: Instant,
}

#[derive(Debug)]
struct Seat {
    max_in_flight: usize,
    in_flight: usize,
    ack_wait: Duration,
    /// Set while the member waits, with the time since when it does.
    waiting: Option<(Waker, u64)>,
}

impl Consumer {
    pub(super) fn new(next: u64) -> Self {
        Self {
            next,
            pending: BTreeMap::new(),
            ready: BTreeSet::new(),
            due: BTreeSet::new(),
            members: BTreeMap::new(),
            delivered: 0,
            redelivered: 0,
            acked: 0,
        }
    }

    pub(super) fn join(&mut self, id: MemberId, max_in_flight: usize, ack_wait: Duration) {
        if self.members.is_empty() {
            // Whoever comes back finds everything that was left unsettled at once, before anything new.
            let left: Vec<u64> = self.pending.keys().copied().collect();
            for sequence in left {
                self.make_ready(sequence);
            }
        }
        self.members.insert(id, Seat { max_in_flight, in_flight: 0, ack_wait, waiting: None });
    }

    pub(super) fn leave(&mut self, id: MemberId) {
        self.members.remove(&id);
        for pending in self.pending.values_mut().filter(|pending| pending.member == Some(id)) {
            pending.member = None;
        }
        self.wake();
    }

    pub(super) fn members(&self) -> usize {
        self.members.len()
    }

    /// Everything up to and including this sequence is settled.
    pub(super) fn floor(&self) -> u64 {
        self.pending.keys().next().copied().unwrap_or(self.next) - 1
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn in_flight(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn coming_again(&self) -> usize {
        self.pending.values().filter(|pending| pending.deliveries > 1).count()
    }

    /// What has waited long enough is to come again.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(due, sequence)) = self.due.first()
            && due <= now
        {
            self.make_ready(sequence);
            self.wake();
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The next sequence for this member and how often it was delivered before, if there is one and the member has
    /// room. `first..=last` is what the channel holds.
    pub(super) fn take(&mut self, id: MemberId, first: u64, last: u64, now: Instant) -> Option<(u64, u32)> {
        self.expire(now);
        while let Some(&gone) = self.pending.keys().next().filter(|sequence| **sequence < first) {
            self.remove(gone);
        }
        let seat = self.members.get_mut(&id)?;
        seat.waiting = None;
        if seat.in_flight >= seat.max_in_flight {
            return None;
        }
        let due = later(now, seat.ack_wait);
        let sequence = match self.ready.pop_first() {
            Some(sequence) => sequence,
            None => {
                let sequence = self.next.max(first);
                if sequence > last {
                    return None;
                }
                self.next = sequence + 1;
                sequence
            }
        };
        seat.in_flight += 1;
        let entry = Pending { deliveries: 0, member: None, due };
        let pending = self.pending.entry(sequence).or_insert(entry);
        let before = pending.deliveries;
        pending.deliveries += 1;
        pending.member = Some(id);
        pending.due = due;
        self.due.insert((due, sequence));
        self.delivered += 1;
        self.redelivered += u64::from(before > 0);
        Some((sequence, before))
    }

    /// The member wants to be woken; `turn` orders those who wait equally loaded.
    pub(super) fn wait(&mut self, id: MemberId, waker: &Waker, turn: u64) {
        if let Some(seat) = self.members.get_mut(&id) {
            seat.waiting = Some((waker.clone(), turn));
        }
    }

    /// Settled for good. Counts whoever says it, as long as it is pending.
    pub(super) fn ack(&mut self, sequence: u64) -> bool {
        let known = self.remove(sequence);
        self.acked += u64::from(known);
        known
    }

    /// Comes again after `delay`, unless it has been delivered again since.
    pub(super) fn nak(&mut self, sequence: u64, delivery: u32, delay: Duration, now: Instant) {
        let Some(pending) = self.current(sequence, delivery) else { return };
        let before = std::mem::replace(&mut pending.due, later(now, delay));
        let member = pending.member.take();
        self.due.remove(&(before, sequence));
        self.free(member);
        if delay.is_zero() {
            self.ready.insert(sequence);
        } else {
            self.due.insert((later(now, delay), sequence));
        }
        self.wake();
    }

    /// Comes again only `ack_wait` from now, unless it has been delivered again since.
    pub(super) fn in_progress(&mut self, sequence: u64, delivery: u32, ack_wait: Duration, now: Instant) {
        let Some(pending) = self.current(sequence, delivery) else { return };
        let before = std::mem::replace(&mut pending.due, later(now, ack_wait));
        self.due.remove(&(before, sequence));
        self.due.insert((later(now, ack_wait), sequence));
    }

    /// Wakes all who wait, those with least in flight first, then those who have waited longest.
    pub(super) fn wake(&mut self) {
        let mut waiting: Vec<_> = self
            .members
            .values_mut()
            .filter_map(|seat| seat.waiting.take().map(|(waker, turn)| (seat.in_flight, turn, waker)))
            .collect();
        waiting.sort_by_key(|(in_flight, turn, _)| (*in_flight, *turn));
        for (_, _, waker) in waiting {
            waker.wake();
        }
    }

    fn current(&mut self, sequence: u64, delivery: u32) -> Option<&mut Pending> {
        if self.ready.contains(&sequence) {
            return None;
        }
        self.pending.get_mut(&sequence).filter(|pending| pending.deliveries == delivery)
    }

    fn make_ready(&mut self, sequence: u64) {
        if let Some(pending) = self.pending.get_mut(&sequence) {
            let (due, member) = (pending.due, pending.member.take());
            self.due.remove(&(due, sequence));
            self.ready.insert(sequence);
            self.free(member);
        }
    }

    fn remove(&mut self, sequence: u64) -> bool {
        let Some(pending) = self.pending.remove(&sequence) else { return false };
        self.due.remove(&(pending.due, sequence));
        self.ready.remove(&sequence);
        self.free(pending.member);
        self.wake();
        true
    }

    fn free(&mut self, member: Option<MemberId>) {
        if let Some(seat) = member.and_then(|id| self.members.get_mut(&id)) {
            seat.in_flight = seat.in_flight.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    #[derive(Clone, Debug)]
    enum Step {
        Publish,
        Take(u64),
        Ack(usize),
        Nak(usize, u64),
        Pass(u64),
        Rejoin(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Publish),
            4 => (0..3u64).prop_map(Step::Take),
            3 => any::<usize>().prop_map(Step::Ack),
            1 => (any::<usize>(), 0..15u64).prop_map(|(which, delay)| Step::Nak(which, delay)),
            1 => (0..12u64).prop_map(Step::Pass),
            1 => (0..3u64).prop_map(Step::Rejoin),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_skipped_nor_comes_back_after_its_ack(steps in proptest::collection::vec(step(), 1..300)) {
            let mut now = Instant::now();
            let mut consumer = Consumer::new(1);
            for id in 0..3 {
                consumer.join(MemberId(id), 4, WAIT);
            }
            let (mut last, mut newest) = (0, 0);
            let mut acked = BTreeSet::new();
            let mut held: Vec<(u64, u32)> = Vec::new();
            for step in steps {
                match step {
                    Step::Publish => last += 1,
                    Step::Take(id) => {
                        if let Some((sequence, before)) = consumer.take(MemberId(id), 1, last, now) {
                            prop_assert!(!acked.contains(&sequence), "came back after its ack");
                            prop_assert_eq!(before == 0, sequence == newest + 1, "first deliveries in order, repeats flagged");
                            newest = newest.max(sequence);
                            held.push((sequence, before + 1));
                        }
                    }
                    Step::Ack(which) if !held.is_empty() => {
                        let (sequence, _) = held.swap_remove(which % held.len());
                        prop_assert_eq!(consumer.ack(sequence), acked.insert(sequence));
                    }
                    Step::Nak(which, delay) if !held.is_empty() => {
                        let (sequence, delivery) = held.swap_remove(which % held.len());
                        consumer.nak(sequence, delivery, Duration::from_secs(delay), now);
                    }
                    Step::Pass(seconds) => now += Duration::from_secs(seconds),
                    Step::Rejoin(id) => {
                        consumer.leave(MemberId(id));
                        consumer.join(MemberId(id), 4, WAIT);
                    }
                    Step::Ack(_) | Step::Nak(..) => {}
                }
                prop_assert!(consumer.members.values().all(|seat| seat.in_flight <= seat.max_in_flight));
                prop_assert_eq!(consumer.in_flight() as u64, newest - acked.len() as u64);
                let floor = consumer.floor();
                prop_assert!((1..=floor).all(|sequence| acked.contains(&sequence)));
            }
            // Whatever is left comes, given time.
            for _ in 0..=last {
                now += WAIT + WAIT;
                while let Some((sequence, _)) = consumer.take(MemberId(0), 1, last, now) {
                    consumer.ack(sequence);
                    acked.insert(sequence);
                }
            }
            prop_assert_eq!(acked.len() as u64, last);
        }
    }
}
