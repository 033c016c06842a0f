//! Who waits in which order, and how many slots are believed to be free; a plain machine.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// For how long those in front have the first go at a free slot, each. One who has died does not take it.
const STAGGER: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// It is what the stream of tickets is.
    current: bool,
    tickets: BTreeMap<String, Ticket>,
    /// Slots that became free, and that nobody was seen to take.
    free: u32,
    /// When that, or the order, last changed.
    since: Option<Instant>,
    /// Attempts that may be made although others are in front, until that time.
    passes: Option<(u32, Instant)>,
}

#[derive(Clone, Copy, Debug)]
struct Ticket {
    number: u64,
    /// So many slots are waited for.
    needs: u32,
    expires: Instant,
}

/// Whether it is one's turn.
#[derive(Debug, PartialEq)]
pub(super) enum Turn {
    /// Nobody is in front.
    First,
    /// There are slots enough for all in front, and so many more.
    Spare(u32),
    /// Not before that time, unless something changes.
    Later(Instant),
    /// Not until something changes.
    No,
}

impl Queue {
    /// From here on all tickets are told.
    pub(super) fn begin(&mut self) {
        *self = Self::default();
    }

    pub(super) fn set_current(&mut self, current: bool) {
        self.current = current;
    }

    pub(super) fn is_current(&self) -> bool {
        self.current
    }

    /// A ticket was taken, or renewed.
    pub(super) fn enter(&mut self, subject: &str, number: u64, needs: u32, expires: Instant) {
        self.tickets.insert(subject.to_owned(), Ticket { number, needs, expires });
    }

    pub(super) fn leave(&mut self, subject: &str, now: Instant) {
        if self.tickets.remove(subject).is_some() {
            self.since = Some(now);
        }
    }

    pub(super) fn number(&self, subject: &str) -> Option<u64> {
        self.tickets.get(subject).map(|ticket| ticket.number)
    }

    /// Somebody says that so many slots became free.
    pub(super) fn ring(&mut self, slots: u32, limit: u32, now: Instant) {
        if self.current {
            self.free = self.free.saturating_add(slots).min(limit);
            self.since = Some(now);
        }
    }

    /// So many leases are believed to have expired.
    pub(super) fn expired(&mut self, slots: u32, limit: u32, now: Instant) {
        if self.free < slots {
            self.free = slots.min(limit);
            self.since = Some(now);
        }
    }

    /// A grant was seen.
    pub(super) fn taken(&mut self, now: Instant) {
        if self.free > 0 {
            self.free -= 1;
            self.since = Some(now);
        }
    }

    /// The pool said that it is full.
    pub(super) fn refused(&mut self) {
        (self.free, self.passes) = (0, None);
    }

    /// Whether anybody but the one with that ticket waits, as far as is known.
    pub(super) fn others_wait(&self, mine: Option<&str>, now: Instant) -> bool {
        let mut tickets = self.tickets.iter();
        !self.current || tickets.any(|(subject, ticket)| Some(&**subject) != mine && ticket.expires > now)
    }

    /// Whether the one with that ticket, or without any, may ask.
    pub(super) fn turn(&self, mine: Option<&str>, now: Instant) -> Turn {
        if !self.current {
            return Turn::First;
        }
        let number = mine.and_then(|mine| self.number(mine)).unwrap_or(u64::MAX);
        let in_front = || {
            self.tickets.iter().filter(move |(subject, ticket)| {
                Some(&***subject) != mine && ticket.number < number && ticket.expires > now
            })
        };
        let count = u32::try_from(in_front().count()).unwrap_or(u32::MAX);
        let needs = in_front().fold(0_u32, |all, (_, ticket)| all.saturating_add(ticket.needs));
        let most = in_front().map(|(_, ticket)| ticket.needs).max().unwrap_or(0);
        let next_expiry = in_front().map(|(_, ticket)| ticket.expires).min();
        let Some(next_expiry) = next_expiry else { return Turn::First };
        let spare = self.free.saturating_sub(needs);
        if spare > 0 {
            return Turn::Spare(spare);
        }
        let Some(since) = self.since.filter(|_| self.free >= most && most > 0) else {
            // Nothing is free, or those in front wait for more to become free.
            return Turn::Later(next_expiry);
        };
        let at = since + STAGGER * count;
        if at <= now { Turn::Spare(1) } else { Turn::Later(at.min(next_expiry)) }
    }

    /// What may be asked for by now with good reason: slots are free, and it is one's turn.
    pub(super) fn take(&mut self, mine: Option<&str>, now: Instant) -> Result<u32, Turn> {
        let slots = match self.turn(mine, now) {
            Turn::First if self.free > 0 => self.free,
            Turn::Spare(slots) => {
                self.passes = Some((slots.saturating_add(self.passes_left(now)), now + STAGGER));
                slots
            }
            turn => return Err(turn),
        };
        self.free = self.free.saturating_sub(slots);
        Ok(slots)
    }

    fn passes_left(&self, now: Instant) -> u32 {
        self.passes.map_or(0, |(passes, until)| if now < until { passes } else { 0 })
    }

    /// Whether an attempt may be made now.
    pub(super) fn admits(&mut self, mine: Option<&str>, now: Instant) -> bool {
        if let (Some(left), Some((passes, _))) = (self.passes_left(now).checked_sub(1), &mut self.passes) {
            *passes = left;
            return true;
        }
        matches!(self.turn(mine, now), Turn::First | Turn::Spare(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u32 = 4;

    /// A queue in which `a`, `b` and `c` wait, in that order.
    fn queue(now: Instant) -> Queue {
        let mut queue = Queue::default();
        queue.set_current(true);
        for (number, subject) in (1..).zip(["a", "b", "c"]) {
            queue.enter(subject, number, 1, now + STAGGER * 100);
        }
        queue
    }

    #[tokio::test(start_paused = true)]
    async fn a_freed_slot_is_the_firsts_and_several_are_the_firsts_each() {
        let now = Instant::now();
        let mut queue = queue(now);
        assert_eq!(queue.turn(Some("a"), now), Turn::First);
        assert!(matches!(queue.turn(Some("b"), now), Turn::Later(_)));
        queue.ring(1, LIMIT, now);
        assert!(matches!(queue.take(Some("b"), now), Err(Turn::Later(at)) if at == now + STAGGER));
        queue.ring(1, LIMIT, now);
        assert_eq!(queue.turn(Some("b"), now), Turn::Spare(1));
        assert!(matches!(queue.turn(None, now), Turn::Later(_)), "who has no ticket comes after all");
        assert_eq!(queue.take(Some("b"), now), Ok(1));
        assert!(queue.admits(Some("b"), now) && !queue.admits(Some("b"), now));
        queue.ring(1, LIMIT, now);
        assert_eq!(queue.take(Some("b"), now), Ok(1));
        assert!(!queue.admits(None, now + STAGGER * 2), "what was not used in time is over");
        assert_eq!(queue.take(Some("a"), now), Ok(1));
        assert!(queue.take(Some("a"), now).is_err(), "told once");
        assert!(queue.admits(Some("a"), now), "but the first may ask whenever it likes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_that_those_in_front_leave_is_taken_after_a_while() {
        let now = Instant::now();
        let mut queue = queue(now);
        queue.ring(1, LIMIT, now);
        let later = now + STAGGER;
        assert_eq!(queue.turn(Some("b"), later), Turn::Spare(1));
        assert_eq!(queue.turn(Some("c"), later), Turn::Later(now + STAGGER * 2));
        queue.taken(later);
        assert!(matches!(queue.turn(Some("c"), now + STAGGER * 50), Turn::Later(_)), "somebody took it");
        queue.ring(1, LIMIT, later);
        queue.leave("a", later + STAGGER / 2);
        assert_eq!(queue.turn(Some("b"), later), Turn::First);
        assert_eq!(queue.turn(Some("c"), later), Turn::Later(later + STAGGER / 2 + STAGGER));
        queue.refused();
        assert!(queue.take(Some("b"), later).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_passes_who_waits_for_more_slots_than_are_free() {
        let now = Instant::now();
        let mut queue = queue(now);
        queue.enter("a", 1, 3, now + STAGGER * 100);
        queue.ring(1, LIMIT, now);
        assert_eq!(queue.turn(Some("b"), now + STAGGER * 50), Turn::Later(now + STAGGER * 100));
        queue.ring(3, LIMIT, now);
        assert_eq!(queue.turn(Some("b"), now), Turn::Spare(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_that_is_not_renewed_is_none() {
        let now = Instant::now();
        let mut queue = queue(now);
        let end = now + STAGGER * 100;
        assert_eq!(queue.turn(Some("c"), now), Turn::Later(end));
        assert_eq!(queue.turn(Some("c"), end), Turn::First);
        assert!(!queue.others_wait(None, end));
        queue.begin();
        assert_eq!(queue.turn(Some("c"), now), Turn::First, "without the queue there is no order");
    }
}
