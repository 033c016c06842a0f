use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::Notify;

/// One pool handle of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HandleId(u64);

/// How many hints a handle had heard when an attempt began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

#[derive(Debug, Default)]
struct Ear {
    hint: Arc<Notify>,
    /// Freed slots heard of, ever.
    heard: u64,
    /// Of these, how many were handed out or proved stale.
    used: u64,
    /// It hears the release notes, those of this process included.
    hears_notes: bool,
}

/// Who is told of freed slots; a plain machine.
#[derive(Debug, Default)]
pub(super) struct Hints {
    ears: BTreeMap<HandleId, Ear>,
    /// Handles that wait for a hint, in the order in which they began to.
    waiting: VecDeque<HandleId>,
    next: u64,
}

impl Hints {
    pub(super) fn attach(&mut self, hint: Arc<Notify>) -> HandleId {
        let id = HandleId(self.next);
        self.next += 1;
        self.ears.insert(id, Ear { hint, ..Ear::default() });
        id
    }

    pub(super) fn detach(&mut self, id: HandleId) {
        self.leave(id);
        self.ears.remove(&id);
    }

    pub(super) fn mark(&self, id: HandleId) -> Mark {
        Mark(self.ears.get(&id).map_or(0, |ear| ear.heard))
    }

    /// An attempt that began at `mark` found the pool full: what had been heard by then is stale. What came while
    /// it was under way is not, as nobody knows which was first.
    pub(super) fn full(&mut self, id: HandleId, mark: Mark) {
        if let Some(ear) = self.ears.get_mut(&id) {
            ear.used = ear.used.max(mark.0);
        }
    }

    /// The hint for this handle, if there is one; otherwise it stands in the line of waiting handles.
    pub(super) fn take(&mut self, id: HandleId, limit: u32) -> Option<NonZeroU32> {
        let ear = self.ears.entry(id).or_default();
        let fresh = (ear.heard - ear.used).min(u64::from(limit));
        ear.used = ear.heard;
        let slots = NonZeroU32::new(u32::try_from(fresh).unwrap_or(limit));
        if slots.is_none() && !self.waiting.contains(&id) {
            self.waiting.push_back(id);
        }
        slots
    }

    /// The handle no longer waits for a hint. One that it was told of and did not take goes to the next.
    pub(super) fn leave(&mut self, id: HandleId) {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| *waiting != id);
        let was_told = before == self.waiting.len();
        let untaken = self.ears.get(&id).is_some_and(|ear| ear.heard > ear.used);
        if was_told && untaken {
            self.wake(1);
        }
    }

    /// Slots became free: as many waiting handles learn of one, and those that do not wait just now of all.
    pub(super) fn tell(&mut self, slots: u32) {
        for (id, ear) in &mut self.ears {
            if !self.waiting.contains(id) {
                ear.heard += u64::from(slots);
            }
        }
        self.wake(slots);
    }

    /// That handle alone learns of freed slots.
    pub(super) fn credit(&mut self, id: HandleId, slots: u32) {
        self.waiting.retain(|waiting| *waiting != id);
        if let Some(ear) = self.ears.get_mut(&id) {
            ear.heard += u64::from(slots);
            ear.hint.notify_one();
        }
    }

    pub(super) fn hears_notes(&mut self, id: HandleId, hears: bool) {
        if let Some(ear) = self.ears.get_mut(&id) {
            ear.hears_notes = hears;
        }
    }

    /// A release note wakes somebody of this process, if it is that one's turn: it is not told of otherwise.
    pub(super) fn are_notes_heard(&self) -> bool {
        self.ears.values().any(|ear| ear.hears_notes)
    }

    /// As many waiting handles learn of one.
    pub(super) fn wake(&mut self, slots: u32) {
        // One handle alone gets them all: it has them to give to all its callers.
        let told = self.waiting.len().min(slots as usize);
        for n in 0..told {
            let Some(id) = self.waiting.pop_front() else { return };
            let share = slots as usize / told + usize::from(n < slots as usize % told);
            if let Some(ear) = self.ears.get_mut(&id) {
                ear.heard += share as u64;
                ear.hint.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u32 = 10;

    fn some(n: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(n)
    }

    #[test]
    fn a_hint_between_a_failed_attempt_and_the_call_is_kept() {
        let mut hints = Hints::default();
        let id = hints.attach(Arc::default());
        let mark = hints.mark(id);
        hints.full(id, mark);
        hints.tell(1);
        assert_eq!(hints.take(id, LIMIT), some(1));
        assert_eq!(hints.take(id, LIMIT), None, "taken once");
    }

    #[test]
    fn a_hint_during_an_attempt_is_kept_and_one_before_it_is_stale() {
        let mut hints = Hints::default();
        let id = hints.attach(Arc::default());
        hints.tell(2);
        let mark = hints.mark(id);
        hints.tell(1);
        hints.full(id, mark);
        assert_eq!(hints.take(id, LIMIT), some(1));
    }

    #[test]
    fn one_freed_slot_wakes_one_of_the_waiting_handles_in_turn() {
        let mut hints = Hints::default();
        let (a, b) = (hints.attach(Arc::default()), hints.attach(Arc::default()));
        assert_eq!((hints.take(a, LIMIT), hints.take(b, LIMIT)), (None, None));
        hints.tell(1);
        assert_eq!((hints.take(b, LIMIT), hints.take(a, LIMIT)), (None, some(1)));
        hints.tell(1);
        assert_eq!(hints.take(b, LIMIT), some(1));
    }

    #[test]
    fn a_hint_that_was_not_taken_goes_on() {
        let mut hints = Hints::default();
        let (a, b) = (hints.attach(Arc::default()), hints.attach(Arc::default()));
        assert_eq!((hints.take(a, LIMIT), hints.take(b, LIMIT)), (None, None));
        hints.tell(1);
        hints.leave(a);
        assert_eq!(hints.take(b, LIMIT), some(1));
        assert_eq!(
            hints.take(a, LIMIT),
            some(1),
            "and stays with the one that was told, too: a false hint is harmless"
        );
    }

    #[test]
    fn a_credit_is_for_one_handle_alone() {
        let mut hints = Hints::default();
        let (a, b) = (hints.attach(Arc::default()), hints.attach(Arc::default()));
        assert_eq!((hints.take(a, LIMIT), hints.take(b, LIMIT)), (None, None));
        hints.credit(b, 2);
        assert_eq!((hints.take(a, LIMIT), hints.take(b, LIMIT)), (None, some(2)));
        hints.credit(a, 1);
        assert_eq!(hints.take(a, LIMIT), some(1), "also while it does not wait just now");
    }

    #[test]
    fn notes_are_heard_while_one_handle_hears_them() {
        let mut hints = Hints::default();
        let (a, b) = (hints.attach(Arc::default()), hints.attach(Arc::default()));
        hints.hears_notes(a, true);
        hints.hears_notes(b, true);
        hints.hears_notes(a, false);
        assert!(hints.are_notes_heard());
        hints.detach(b);
        assert!(!hints.are_notes_heard());
    }

    #[test]
    fn hints_are_capped_at_the_limit() {
        let mut hints = Hints::default();
        let id = hints.attach(Arc::default());
        hints.tell(1000);
        assert_eq!(hints.take(id, LIMIT), some(LIMIT));
        assert_eq!(hints.take(id, LIMIT), None);
    }

    #[test]
    fn a_lone_waiting_handle_learns_of_all_slots() {
        let mut hints = Hints::default();
        let id = hints.attach(Arc::default());
        assert_eq!(hints.take(id, LIMIT), None);
        hints.tell(3);
        assert_eq!(hints.take(id, LIMIT), some(3));
    }
}
