//! The leases of a stream as a follower sees them; a plain machine.
//!
//! Whoever follows a stream hears of every message that is stored, and of none that is deleted: what is seen here may
//! be gone already, until a look at the stream has confirmed it.

use std::collections::BTreeMap;
use std::time::Duration;

use sluicegate_core::HeldLease;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::feed::Entry;
use super::held::group;
use crate::config::LONGEST_TTL;
use crate::wire::{LEASE_HEADER, StoredMessage, StreamInfo};

/// How long before an expiry a look has to show that the lease was still there, for the expiry to be believed.
const FRESH: Duration = Duration::from_millis(300);

/// Least time between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// The same while an expiry is late.
const SHORT_PAUSE: Duration = Duration::from_millis(20);

/// How long before an expiry the stream is looked at.
const AHEAD: Duration = Duration::from_millis(100);

/// When an expiry is told of, counted from when it is due: the server may be late.
const TOLD_AFTER: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(60),
    Duration::from_millis(250),
];

/// That many entries more than the stream has are looked through before they become a burden.
const SURPLUS: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct View {
    /// Everything up to `covered` was told, and whatever is stored is told at once.
    current: bool,
    covered: u64,
    /// The life of the stream that is followed.
    created: Option<OffsetDateTime>,
    /// The server's clock, and when it was read.
    clock: Option<(OffsetDateTime, Instant)>,
    entries: BTreeMap<String, Seen>,
    looked: Option<Instant>,
    /// Slots that the stream had at the last look.
    stored: usize,
}

#[derive(Debug)]
struct Seen {
    message: StoredMessage,
    /// When the lease was granted, if that was seen.
    granted: Option<OffsetDateTime>,
    expires: Instant,
    /// How often its expiry was told of.
    told: usize,
    /// When it was last known to be there.
    confirmed: Instant,
}

/// What a follower that waits for an expiry does next.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing is known to expire.
    Wait,
    /// Looks at the stream, at that time.
    Look(Instant),
    /// Tells that a slot is free, at that time.
    Tell(Instant),
}

impl View {
    /// The stream as it is now; everything that it has is told after this.
    pub(super) fn begin(&mut self, info: &StreamInfo, now: Instant) {
        let granted: BTreeMap<String, OffsetDateTime> = if self.created == Some(info.created) {
            // When leases were granted is not forgotten over a lost connection.
            let known = std::mem::take(&mut self.entries).into_iter();
            known.filter_map(|(subject, seen)| Some((subject, seen.granted?))).collect()
        } else {
            BTreeMap::new()
        };
        *self = Self {
            covered: info.state.last_seq,
            created: Some(info.created),
            clock: info.now().map(|ts| (ts, now)),
            ..Self::default()
        };
        for (subject, granted) in granted {
            self.entries.insert(subject, Seen::remembered(granted, now));
        }
    }

    pub(super) fn is_current(&self) -> bool {
        self.current
    }

    pub(super) fn caught_up(&mut self) {
        self.current = true;
        // Remembered from before, and not told again: gone.
        self.entries.retain(|_, seen| seen.message.seq > 0);
    }

    pub(super) fn stale(&mut self) {
        self.current = false;
    }

    pub(super) fn store(&mut self, entry: &Entry<'_>, ttl: Duration) {
        self.covered = self.covered.max(entry.sequence);
        let lease = entry.header(LEASE_HEADER);
        let ttl = entry.header(super::NATS_TTL).and_then(read_ttl).unwrap_or(ttl);
        // Told late, it expires earlier than from now on; told by a server whose clock has jumped, no later.
        let end = entry.arrived + ttl;
        let by_clock = self.clock.and_then(|(ts, at)| {
            let since = entry.time + ttl - ts;
            let expires = at + Duration::try_from(since).unwrap_or_default();
            Some(expires).filter(|_| !since.is_negative())
        });
        let before = self.entries.get(entry.subject).and_then(|seen| seen.granted);
        let seen = Seen {
            message: StoredMessage::seen(entry.subject, entry.sequence, lease, entry.payload, entry.time),
            granted: if lease.is_some() { before } else { Some(entry.time) },
            expires: by_clock.map_or(end, |by_clock| by_clock.min(end)),
            told: 0,
            confirmed: entry.arrived,
        };
        self.entries.insert(entry.subject.to_owned(), seen);
    }

    /// The stream was looked at, or would have been.
    pub(super) fn looked(&mut self, now: Instant) {
        self.looked = Some(now);
    }

    /// Takes notice of a look at the stream that has counted its subjects: what is not there is gone.
    pub(super) fn confirm(&mut self, info: &StreamInfo, asked: Instant) {
        if self.created != Some(info.created) {
            self.current = false;
            return;
        }
        let none = BTreeMap::new();
        let there = info.state.subjects.as_ref().unwrap_or(&none);
        if there.len() as u64 != info.state.messages {
            // Not all are listed.
            return;
        }
        self.stored = there.len();
        let last = info.state.last_seq;
        self.entries.retain(|subject, seen| {
            let there = there.contains_key(subject);
            if there {
                seen.confirmed = seen.confirmed.max(asked);
            }
            // Stored after the stream was looked at.
            there || seen.message.seq > last
        });
    }

    /// Everything up to that sequence was seen.
    pub(super) fn covers(&self, sequence: u64) -> bool {
        self.current && self.covered >= sequence
    }

    /// The leases that the stream has, if all of them are known here.
    pub(super) fn held(&self, info: &StreamInfo) -> Option<Vec<HeldLease>> {
        let none = BTreeMap::new();
        let there = info.state.subjects.as_ref().unwrap_or(&none);
        let known = self.covers(info.state.last_seq)
            && self.created == Some(info.created)
            && there.len() as u64 == info.state.messages;
        if !known {
            return None;
        }
        let seen = there.keys().map(|subject| {
            let seen = self.entries.get(subject)?;
            let since = seen.granted.unwrap_or(seen.message.time);
            let age = info.since(since).filter(|age| !age.is_zero()).unwrap_or_default();
            Some((seen.message.clone(), age))
        });
        let seen: Option<Vec<_>> = seen.collect();
        Some(group(&seen?).into_iter().map(|found| found.lease).collect())
    }

    pub(super) fn next(&self, now: Instant) -> Step {
        if !self.current {
            return Step::Wait;
        }
        let soonest = |pause| self.looked.map_or(now, |looked: Instant| looked + pause);
        if self.entries.len() > self.stored * 2 + SURPLUS {
            return Step::Look(soonest(PAUSE));
        }
        let due = self.entries.values().filter_map(|seen| Some((seen.due()?, seen)));
        let Some((at, seen)) = due.min_by_key(|(at, _)| *at) else { return Step::Wait };
        if seen.is_believed() {
            return Step::Tell(at);
        }
        if seen.told > 0 {
            // Told of once already, and either taken or late.
            return Step::Look(at.max(soonest(SHORT_PAUSE)));
        }
        // Most leases are given back before they expire, which nobody tells.
        let look = soonest(PAUSE).max(at.checked_sub(AHEAD).unwrap_or(at));
        if look < at { Step::Look(look) } else { Step::Tell(at) }
    }

    /// How many slots are due to be free by then, each told of a few times at most.
    pub(super) fn take_due(&mut self, now: Instant) -> u32 {
        let mut due = 0;
        for seen in self.entries.values_mut() {
            if seen.due().is_some_and(|at| at <= now) && (seen.told == 0 || seen.is_believed()) {
                seen.told += 1;
                due += 1;
            }
        }
        due
    }
}

impl Seen {
    fn due(&self) -> Option<Instant> {
        Some(self.expires + *TOLD_AFTER.get(self.told)?)
    }

    /// It was seen late enough.
    fn is_believed(&self) -> bool {
        match self.told.checked_sub(1).and_then(|before| TOLD_AFTER.get(before)) {
            None => self.confirmed + FRESH >= self.expires,
            Some(after) => self.confirmed >= self.expires + *after,
        }
    }

    /// Of a lease from before the connection was lost.
    fn remembered(granted: OffsetDateTime, now: Instant) -> Self {
        Self {
            message: StoredMessage::seen("", 0, None, &[], granted),
            granted: Some(granted),
            expires: now,
            told: TOLD_AFTER.len(),
            confirmed: now,
        }
    }
}

/// `5s`, or a bare number of seconds.
fn read_ttl(text: &str) -> Option<Duration> {
    let ttl = text.strip_suffix('s').unwrap_or(text).parse().ok().map(Duration::from_secs);
    // Anybody may publish, and beyond that sums with times overflow.
    ttl.filter(|ttl| *ttl <= LONGEST_TTL)
}

#[cfg(test)]
mod tests {
    use sluicegate_nats::async_nats::HeaderMap;
    use time::format_description::well_known::Rfc3339;

    use super::*;

    const TTL: Duration = Duration::from_secs(10);
    const BEGIN: &str = "2026-11-22T00:00:00Z";

    fn at(seconds: u64) -> OffsetDateTime {
        OffsetDateTime::parse(BEGIN, &Rfc3339).unwrap() + Duration::from_secs(seconds)
    }

    /// The stream `seconds` after the beginning, with these subjects.
    fn info(seconds: u64, last: u64, subjects: &[&str]) -> StreamInfo {
        let listed: BTreeMap<_, _> = subjects.iter().map(|subject| (*subject, 1)).collect();
        let json = serde_json::json!({
            "config": {}, "created": BEGIN, "ts": at(seconds).format(&Rfc3339).unwrap(),
            "state": {"messages": subjects.len(), "first_seq": 1, "last_seq": last, "subjects": listed,
                "first_ts": BEGIN, "last_ts": BEGIN},
        });
        serde_json::from_value(json).unwrap()
    }

    fn store(
        view: &mut View,
        subject: &str,
        sequence: u64,
        seconds: u64,
        arrived: Instant,
        lease: Option<&str>,
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-TTL", "10s");
        if let Some(lease) = lease {
            headers.insert(LEASE_HEADER, lease);
        }
        let time = at(seconds);
        let entry = Entry { sequence, subject, time, arrived, headers: Some(&headers), payload: b"h" };
        view.store(&entry, TTL * 9);
    }

    fn following(now: Instant) -> View {
        let mut view = View::default();
        view.begin(&info(0, 0, &[]), now);
        view.caught_up();
        view
    }

    #[tokio::test(start_paused = true)]
    async fn an_expiry_is_told_once_the_lease_was_seen_shortly_before_it() {
        let begin = Instant::now();
        let mut view = following(begin);
        assert_eq!(view.next(begin), Step::Wait);
        store(&mut view, "s.a", 1, 0, begin, None);
        let due = begin + TTL + TOLD_AFTER[0];
        assert_eq!(view.next(begin), Step::Look(due - AHEAD));
        view.looked(due - AHEAD);
        view.confirm(&info(9, 1, &["s.a"]), due - AHEAD);
        assert_eq!(view.next(due - AHEAD), Step::Tell(due));
        assert_eq!(view.take_due(due - Duration::from_millis(1)), 0);
        assert_eq!(view.take_due(due), 1);
        let late = begin + TTL + TOLD_AFTER[1];
        assert_eq!(view.next(due), Step::Look(late), "told once: from now on only if it is there still");
        assert_eq!(view.take_due(late), 0);
        view.confirm(&info(10, 1, &["s.a"]), late);
        assert_eq!((view.next(late), view.take_due(late)), (Step::Tell(late), 1));
        view.confirm(&info(10, 1, &[]), late);
        assert_eq!(view.next(late), Step::Wait, "gone");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_released_or_renewed_is_not_told_of() {
        let begin = Instant::now();
        let mut view = following(begin);
        store(&mut view, "s.a", 1, 0, begin, None);
        store(&mut view, "s.b", 2, 0, begin, None);
        let renewed = begin + TTL / 2;
        store(&mut view, "s.b", 3, 5, renewed, Some("2"));
        view.confirm(&info(9, 3, &["s.b"]), begin + TTL);
        assert_eq!(view.take_due(begin + TTL * 2), 1, "the renewed one, later");
        assert_eq!(view.take_due(renewed + TTL - Duration::from_millis(1)), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_told_message_expires_by_the_servers_clock_and_a_jump_of_it_delays_nothing() {
        let begin = Instant::now();
        let mut view = View::default();
        view.begin(&info(7, 1, &["s.a"]), begin);
        store(&mut view, "s.a", 1, 0, begin, None);
        view.caught_up();
        view.confirm(&info(7, 1, &["s.a"]), begin + Duration::from_secs(3));
        assert_eq!(view.next(begin), Step::Tell(begin + Duration::from_secs(3) + TOLD_AFTER[0]));
        store(&mut view, "s.a", 2, 500, begin, Some("1"));
        view.confirm(&info(7, 2, &["s.a"]), begin + TTL);
        assert_eq!(view.next(begin), Step::Tell(begin + TTL + TOLD_AFTER[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_known_only_if_all_was_seen() {
        let begin = Instant::now();
        let mut view = following(begin);
        store(&mut view, "s.a", 1, 1, begin, None);
        store(&mut view, "s.gone", 2, 1, begin, None);
        store(&mut view, "s.a", 3, 4, begin, Some("1"));
        let held = view.held(&info(5, 3, &["s.a"])).unwrap();
        assert_eq!((held.len(), held[0].id.0, held[0].token.0), (1, 1, 3));
        assert_eq!(held[0].age, Duration::from_secs(4), "since the grant, which was seen");
        assert_eq!(view.held(&info(5, 4, &["s.a", "s.new"])), None, "one was not seen yet");
        let mut partly = info(5, 3, &["s.a"]);
        partly.state.messages = 2;
        assert_eq!(view.held(&partly), None, "not all are listed");
        view.stale();
        assert_eq!(view.held(&info(5, 3, &["s.a"])), None);

        view.begin(&info(6, 3, &["s.a"]), begin);
        assert_eq!(view.held(&info(6, 3, &["s.a"])), None, "not told yet");
        store(&mut view, "s.a", 3, 4, begin, Some("1"));
        view.caught_up();
        let held = view.held(&info(6, 3, &["s.a"])).unwrap();
        assert_eq!(held[0].age, Duration::from_secs(5), "the grant is not forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_deletes_here_does_not_pile_up() {
        let begin = Instant::now();
        let mut view = following(begin);
        for n in 0..SURPLUS as u64 + 2 {
            store(&mut view, &format!("s.{n}"), n + 1, 0, begin, None);
        }
        assert_eq!(view.next(begin), Step::Look(begin));
        view.confirm(&info(1, 5000, &[]), begin);
        assert!(view.entries.is_empty());
    }
}
