use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{FencingToken, Lease, LeaseId, LossCause};
use tokio::time::Instant;

/// How many lost leases are remembered, so that a late `lost` can tell the cause.
const REMEMBERED: usize = 1024;

/// A lease that this process holds.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    /// Sequence of its newest message.
    pub(crate) token: FencingToken,
    /// The subject of its messages.
    pub(crate) subject: Arc<str>,
    /// The message id that it was acquired with.
    pub(crate) message_id: Arc<str>,
    /// First send of the last confirmed acquire or renewal.
    pub(crate) first_send: Instant,
    pub(crate) deadline: Instant,
    /// It ends before its deadline, at that time.
    early: Option<Instant>,
    /// Sequences of the newest message of each slot, if the lease takes several.
    pub(crate) entries: Vec<u64>,
    /// A renewal is under way or was never answered: the newest message may be a later one than `token`.
    pub(crate) in_doubt: bool,
    /// It was told that renewals are missed.
    missed: bool,
    /// Its holder gives it back: that it disappears is no loss.
    pub(crate) releasing: bool,
    /// Somebody says that it was ended.
    rumour: Option<Rumour>,
    /// It was there at that time, or later.
    seen: Instant,
}

impl Live {
    pub(crate) fn new(lease: &Lease, subject: Arc<str>, message_id: Arc<str>, first_send: Instant) -> Self {
        Self {
            token: lease.token(),
            subject,
            message_id,
            first_send,
            deadline: lease.deadline(),
            early: None,
            entries: Vec::new(),
            in_doubt: false,
            missed: false,
            releasing: false,
            rumour: None,
            seen: first_send,
        }
    }

    /// A lease of several slots, whose messages have these sequences.
    pub(crate) fn of_several(mut self, entries: Vec<u64>) -> Self {
        self.entries = entries;
        self
    }

    /// One of its messages has that sequence, or may have.
    pub(super) fn has(&self, sequence: u64) -> bool {
        self.token.0 == sequence || self.in_doubt || self.entries.contains(&sequence)
    }

    /// By now a lowered time to live has ended it.
    pub(crate) fn ends_early(&self, now: Instant) -> bool {
        self.early.is_some_and(|early| early <= now)
    }
}

/// That a lease was ended is said to be so, which one look at the stream proves or refutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rumour {
    pub(crate) cause: LossCause,
    number: u64,
}

/// What had been granted at some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    life: u64,
    sequence: u64,
}

/// What a waiter for a loss has to wait for.
#[derive(Debug, PartialEq)]
pub(super) enum Standing {
    /// Held; ends before its deadline at that time, if at all.
    Held {
        early: Option<Instant>,
        rumour: Option<Rumour>,
        /// It was there at that time, or later.
        seen: Instant,
    },
    Lost(LossCause),
    /// Released, or run out long ago.
    Over,
}

/// The leases of this process; a plain machine.
#[derive(Debug, Default)]
pub(super) struct Leases {
    live: BTreeMap<LeaseId, Live>,
    /// The most recent losses, oldest first.
    lost: VecDeque<(LeaseId, LossCause)>,
    /// Everything up to there was reset away.
    reset: u64,
    /// Largest sequence that this process was granted in this life of the stream.
    largest: u64,
    /// How often the stream was made anew.
    life: u64,
    rumours: u64,
    sweep_at: usize,
}

impl Leases {
    /// What every grant of this stream that is asked for from now on is larger than.
    pub(super) fn floor(&self) -> Floor {
        Floor { life: self.life, sequence: self.largest }
    }

    /// Enters a lease that was asked for when `floor` was. Answers overtake each other, but a sequence that is not
    /// larger than what had been granted before it was asked for belongs to a stream made anew: then the leases of
    /// the old one are lost, and returned.
    pub(super) fn granted(&mut self, id: LeaseId, live: Live, floor: Floor) -> Option<Vec<LeaseId>> {
        let made_anew = floor.life == self.life && id.0 <= floor.sequence;
        let lost = made_anew.then(|| self.made_anew());
        self.largest = self.largest.max(id.0);
        if id.0 <= self.reset {
            self.remember(id, LossCause::Reset);
        } else {
            self.sweep();
            self.live.insert(id, live);
        }
        lost
    }

    /// The stream was deleted and made anew.
    pub(super) fn made_anew(&mut self) -> Vec<LeaseId> {
        self.life += 1;
        self.reset = 0;
        self.largest = 0;
        self.lose_all(LossCause::Recreated)
    }

    pub(super) fn largest(&self) -> u64 {
        self.largest
    }

    pub(super) fn renewed(&mut self, id: LeaseId, lease: &Lease, first_send: Instant) {
        self.largest = self.largest.max(lease.token().0);
        if let Some(live) = self.live.get_mut(&id)
            && lease.token() > live.token
        {
            live.token = lease.token();
            live.deadline = lease.deadline();
            live.first_send = first_send;
            live.seen = first_send;
            live.in_doubt = false;
            live.missed = false;
            live.early = None;
        }
    }

    /// One of several messages of a lease was written anew.
    pub(super) fn entry_renewed(&mut self, id: LeaseId, entry: usize, sequence: u64) {
        self.largest = self.largest.max(sequence);
        if let Some(known) = self.live.get_mut(&id).and_then(|live| live.entries.get_mut(entry)) {
            *known = sequence.max(*known);
        }
    }

    pub(super) fn get(&self, id: LeaseId) -> Option<&Live> {
        self.live.get(&id)
    }

    pub(super) fn loss(&self, id: LeaseId) -> Option<LossCause> {
        self.lost.iter().rev().find(|(lost, _)| *lost == id).map(|(_, cause)| *cause)
    }

    pub(super) fn doubt(&mut self, id: LeaseId) {
        if let Some(live) = self.live.get_mut(&id) {
            live.in_doubt = true;
        }
    }

    /// Whether it was not renewed for so long, told once.
    pub(super) fn misses_renewals(&mut self, id: LeaseId, long: Duration) -> bool {
        let Some(live) = self.live.get_mut(&id) else { return false };
        let news = !live.missed && live.first_send.elapsed() >= long;
        live.missed |= news;
        news
    }

    pub(super) fn releasing(&mut self, id: LeaseId) {
        if let Some(live) = self.live.get_mut(&id) {
            live.releasing = true;
        }
    }

    pub(super) fn released(&mut self, id: LeaseId) {
        self.live.remove(&id);
    }

    /// Whether that was news.
    pub(super) fn lose(&mut self, id: LeaseId, cause: LossCause) -> bool {
        match self.live.remove(&id) {
            Some(live) if !live.releasing => {
                self.remember(id, cause);
                true
            }
            _ => false,
        }
    }

    pub(super) fn lose_all(&mut self, cause: LossCause) -> Vec<LeaseId> {
        let ids: Vec<_> = self.live.keys().copied().collect();
        ids.into_iter().filter(|id| self.lose(*id, cause)).collect()
    }

    /// Everything that was granted up to that sequence was reset away, also what we shall hear of only now.
    pub(super) fn reset_through(&mut self, sequence: u64) -> Vec<LeaseId> {
        self.reset = self.reset.max(sequence);
        let ids: Vec<_> = self.live.range(..=LeaseId(sequence)).map(|(id, _)| *id).collect();
        ids.into_iter().filter(|id| self.lose(*id, LossCause::Reset)).collect()
    }

    /// The time to live of held leases changed: those that end earlier by it are marked.
    pub(super) fn set_ttl(&mut self, ttl: Duration) {
        for live in self.live.values_mut() {
            let end = live.first_send + ttl.mul_f64(0.999);
            live.early = (end < live.deadline).then_some(end);
        }
    }

    pub(super) fn standing(&self, id: LeaseId) -> Standing {
        match (self.live.get(&id), self.loss(id)) {
            (Some(live), _) => Standing::Held { early: live.early, rumour: live.rumour, seen: live.seen },
            (None, Some(cause)) => Standing::Lost(cause),
            (None, None) => Standing::Over,
        }
    }

    /// How often the stream was made anew.
    pub(super) fn life(&self) -> u64 {
        self.life
    }

    /// Somebody says that these leases were ended: those for which the test, which sees id and entry, holds. Whether
    /// there are any.
    pub(super) fn doubted(&mut self, cause: LossCause, which: impl Fn(LeaseId, &Live) -> bool) -> bool {
        self.rumours += 1;
        let rumour = Rumour { cause, number: self.rumours };
        let mut any = false;
        for (id, live) in &mut self.live {
            if !live.releasing && which(*id, live) {
                live.rumour = Some(rumour);
                any = true;
            }
        }
        any
    }

    /// A look that began at that time, after that was said, found the lease in its place.
    pub(super) fn seen(&mut self, id: LeaseId, rumour: Option<Rumour>, began: Instant) {
        if let Some(live) = self.live.get_mut(&id) {
            live.seen = live.seen.max(began);
            if live.rumour == rumour {
                live.rumour = None;
            }
        }
    }

    fn remember(&mut self, id: LeaseId, cause: LossCause) {
        if self.lost.len() == REMEMBERED {
            self.lost.pop_front();
        }
        self.lost.push_back((id, cause));
    }

    /// Forgets what ran out without anybody's release, now and then.
    fn sweep(&mut self) {
        if self.live.len() >= self.sweep_at {
            let now = Instant::now();
            self.live.retain(|_, live| live.deadline > now);
            self.sweep_at = (self.live.len() * 2).max(64);
        }
    }
}

#[cfg(test)]
mod tests {
    use sluicegate_core::{Holder, Request};

    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn live(n: u64, first_send: Instant) -> (LeaseId, Live, Lease) {
        let request = Request::new(Holder::try_new("h").unwrap());
        let lease = Lease::granted(LeaseId(n), FencingToken(n), &request, first_send, TTL);
        (LeaseId(n), Live::new(&lease, "s".into(), "m".into(), first_send), lease)
    }

    fn enter(leases: &mut Leases, n: u64) -> LeaseId {
        let (id, live, _) = live(n, Instant::now());
        let floor = Floor { life: 0, sequence: 0 };
        leases.granted(id, live, floor);
        id
    }

    /// When it ends early, if it does.
    fn held(leases: &Leases, id: LeaseId) -> Option<Instant> {
        match leases.standing(id) {
            Standing::Held { early, .. } => early,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_lease_is_over_and_not_lost() {
        let mut leases = Leases::default();
        let id = enter(&mut leases, 5);
        assert_eq!(held(&leases, id), None);
        leases.releasing(id);
        assert!(!leases.lose(id, LossCause::Gone), "its holder gives it back");
        assert_eq!(leases.standing(id), Standing::Over);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rumour_stays_until_it_is_refuted_by_a_look_that_began_after_it() {
        let mut leases = Leases::default();
        let id = enter(&mut leases, 5);
        let rumour = |leases: &Leases| match leases.standing(id) {
            Standing::Held { rumour, .. } => rumour,
            other => panic!("{other:?}"),
        };
        assert!(!leases.doubted(LossCause::Evicted, |id, _| id.0 == 6));
        assert_eq!(rumour(&leases), None);
        assert!(leases.doubted(LossCause::Evicted, |id, _| id.0 == 5));
        let first = rumour(&leases).unwrap();
        leases.doubted(LossCause::Reset, |_, _| true);
        leases.seen(id, Some(first), Instant::now());
        let second = rumour(&leases).unwrap();
        assert_eq!(second.cause, LossCause::Reset, "it came after that look");
        leases.seen(id, Some(second), Instant::now());
        assert_eq!(rumour(&leases), None);
        leases.releasing(id);
        assert!(!leases.doubted(LossCause::Evicted, |_, _| true), "its holder gives it back");
    }

    #[tokio::test(start_paused = true)]
    async fn reset_reaches_grants_that_are_heard_of_later() {
        let mut leases = Leases::default();
        let (early, late) = (enter(&mut leases, 3), LeaseId(4));
        assert_eq!(leases.reset_through(4), [early]);
        enter(&mut leases, 4);
        assert_eq!(leases.standing(late), Standing::Lost(LossCause::Reset));
        let after = enter(&mut leases, 5);
        assert_eq!(held(&leases, after), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lowered_ttl_ends_leases_early_and_a_raised_one_does_not() {
        let mut leases = Leases::default();
        let begin = Instant::now();
        let id = enter(&mut leases, 1);
        leases.set_ttl(TTL * 2);
        assert_eq!(held(&leases, id), None);
        leases.set_ttl(TTL / 2);
        assert_eq!(held(&leases, id), Some(begin + (TTL / 2).mul_f64(0.999)));
        leases.set_ttl(TTL);
        assert_eq!(held(&leases, id), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sequence_that_was_granted_before_the_attempt_is_another_stream() {
        let mut leases = Leases::default();
        let (first, second) = (enter(&mut leases, 1), enter(&mut leases, 2));
        let floor = leases.floor();
        let (id, entry, _) = live(1, Instant::now());
        assert_eq!(leases.granted(id, entry, floor), Some(vec![first, second]));
        assert_eq!(leases.standing(second), Standing::Lost(LossCause::Recreated));
        // Asked for at the same time, and answered by the new stream too.
        let (other, entry, _) = live(2, Instant::now());
        assert_eq!(leases.granted(other, entry, floor), None);
        assert_eq!(held(&leases, id), None);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_overtake_each_other_are_no_other_stream() {
        let mut leases = Leases::default();
        let floor = leases.floor();
        enter(&mut leases, 2);
        let (id, entry, _) = live(1, Instant::now());
        assert_eq!(leases.granted(id, entry, floor), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_larger_token_moves_a_lease_on() {
        let mut leases = Leases::default();
        let begin = Instant::now();
        let (id, entry, lease) = live(1, begin);
        leases.granted(id, entry, Floor { life: 0, sequence: 0 });
        leases.doubt(id);
        let renewed = lease.renewed(FencingToken(9), begin + TTL / 2, TTL);
        leases.renewed(id, &renewed, begin + TTL / 2);
        leases.renewed(id, &lease.renewed(FencingToken(7), begin, TTL), begin);
        let now = leases.get(id).unwrap();
        assert_eq!((now.token, now.deadline, now.in_doubt), (FencingToken(9), renewed.deadline(), false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_ran_out_is_forgotten() {
        let mut leases = Leases::default();
        for n in 0..64 {
            enter(&mut leases, n + 1);
        }
        tokio::time::advance(TTL * 2).await;
        enter(&mut leases, 100);
        assert_eq!(leases.live.len(), 1);
    }
}
