//! Tells others of freed slots and ended leases.

use std::collections::VecDeque;
use std::future::Future;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sluicegate_core::{LeaseId, LossCause};
use sluicegate_nats::async_nats::Subject;
use tokio::time::{Instant, timeout};

use super::note::{self, Note, Revocation};
use crate::event::GovernorEvent;
use crate::pool::Pool;

/// While nothing says that others wait, that often they are told of releases, and asked whether they do: a note of each
/// would cost a tenth of a release.
const CURIOSITY: Duration = Duration::from_millis(50);

/// How many releases that were left to others are kept in mind.
const REMEMBERED: usize = 64;

/// After so many notes in a row that came back to us, nobody else seems to wait.
const ALONE: u32 = 8;

/// How long handing a note to the client may take, which is nothing unless its queue is full.
const HANDOVER: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Bell {
    release: Subject,
    revocation: Subject,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where answers arrive; none as long as nobody listens for them.
    inbox: Option<String>,
    /// When an answer was last asked for.
    asked: Option<Instant>,
    /// Releases since then that were not told yet.
    pending: Option<Pending>,
    /// This user may not publish notes.
    denied: bool,
    /// Releases of a moment ago while nobody waited here and others did elsewhere.
    left_to_others: VecDeque<u64>,
    /// How many of our notes came back to us since one that did not, and when the last of them did.
    own: u32,
    heard_own: Option<Instant>,
}

impl Bell {
    /// For the governor with that stream.
    pub(crate) fn new(stream: &str) -> Self {
        let name = stream.strip_prefix("GOVERNOR2_").or_else(|| stream.strip_prefix("GOVERNOR_"));
        let name = name.unwrap_or(stream);
        Self {
            release: format!("_GOV.rel.{name}").into(),
            revocation: format!("_GOV.rev.{name}").into(),
            state: Mutex::default(),
        }
    }

    /// The subject of release notes.
    pub(crate) fn release(&self) -> &Subject {
        &self.release
    }

    /// The subject of revocations.
    pub(super) fn revocation(&self) -> &Subject {
        &self.revocation
    }

    /// Answers arrive there.
    pub(super) fn set_inbox(&self, inbox: Option<String>) {
        self.state().inbox = inbox;
    }

    /// Whether that is our place for answers.
    pub(super) fn is_ours(&self, reply: &str) -> bool {
        self.state().inbox.as_deref().is_some_and(|inbox| reply.starts_with(inbox))
    }

    /// A note of ours came back to us.
    pub(super) fn hear_own(&self) {
        let mut state = self.state();
        state.own = state.own.saturating_add(1);
        state.heard_own = Some(Instant::now());
    }

    /// Somebody else waits.
    pub(super) fn hear_other(&self) {
        self.state().own = 0;
    }

    /// Nobody else was seen to wait for a slot for quite some notes, the last of which is of a moment ago: those of
    /// ours who wait can be told without the detour. Whoever begins to wait elsewhere is heard of with the next note.
    fn are_others_absent(&self) -> bool {
        let state = self.state();
        let fresh = |heard: Instant| heard.elapsed() < CURIOSITY;
        state.own >= ALONE && state.heard_own.is_some_and(fresh)
    }

    pub(super) fn set_denied(&self, denied: bool) {
        self.state().denied = denied;
    }

    /// Notes cannot be published: the answer to a deletion has to serve as one.
    pub(crate) fn is_denied(&self) -> bool {
        self.state().denied
    }

    /// The note of that release is for somebody else, also if it is us who hear it.
    fn leave_to_others(&self, sequence: u64) {
        let mut state = self.state();
        state.left_to_others.truncate(REMEMBERED - 1);
        state.left_to_others.push_front(sequence);
    }

    pub(super) fn is_left_to_others(&self, sequence: u64) -> bool {
        self.state().left_to_others.contains(&sequence)
    }

    /// Whether it can be learnt that nobody else waits.
    fn hears_answers(&self) -> bool {
        let state = self.state();
        state.inbox.is_some() && !state.denied
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a release is told: at once while others wait, somewhere, and otherwise together with those that follow
    /// soon.
    fn ring(&self, contended: bool, release: Pending) -> Ring {
        let mut state = self.state();
        let State { inbox, asked, pending, .. } = &mut *state;
        let Some(inbox) = inbox else { return Ring::Plain };
        let now = Instant::now();
        if !contended && asked.is_some_and(|asked| now < asked + CURIOSITY) {
            let first = pending.is_none();
            *pending = Some(pending.take().map_or(release, |before| before.and(release)));
            return Ring::Later { first };
        }
        let release = pending.take().map_or(release, |before| before.and(release));
        *asked = Some(now);
        Ring::Ask { reply: note::reply_subject(inbox, release.credit), release }
    }

    /// When those releases are to be told that were not told yet.
    pub(super) fn due(&self) -> Option<Instant> {
        let state = self.state();
        state.pending.and(state.asked).map(|asked| asked + CURIOSITY)
    }

    fn take_pending(&self) -> Option<(Pending, Option<String>)> {
        let mut state = self.state();
        let pending = state.pending.take()?;
        state.asked = Some(Instant::now());
        Some((pending, state.inbox.as_deref().map(|inbox| note::reply_subject(inbox, pending.credit))))
    }
}

/// Releases that are told in one note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    sequence: u64,
    slots: u32,
    /// How many of the slots are to be given to those who wait here, should nobody answer.
    credit: u32,
}

impl Pending {
    fn and(self, later: Self) -> Self {
        Self {
            sequence: later.sequence,
            slots: self.slots.saturating_add(later.slots),
            credit: self.credit.saturating_add(later.credit),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ring {
    /// Nobody would hear the answer.
    Plain,
    Ask {
        reply: String,
        release: Pending,
    },
    /// With the next ones; this may be the first.
    Later {
        first: bool,
    },
}

impl Pool {
    /// Slots of this stream were given back, by that deletion: tells who waits for them.
    pub(crate) async fn gave_back(self: &Arc<Self>, sequence: u64, slots: u32) {
        let slots = slots.min(self.board.most());
        if slots == 0 {
            return;
        }
        // The note wakes one of those who wait anywhere, and it may be one of ours.
        let is_heard = self.board.deleted();
        if is_heard && slots as usize <= self.line.len() && self.bell.are_others_absent() {
            self.board.credit(self.id, slots);
            return;
        }
        // Nobody waits at this handle, but others do elsewhere: the slot is theirs and not that of our next caller,
        // unless the answer says that they are gone.
        let is_theirs = self.bell.hears_answers() && self.line.is_empty() && !self.line.is_open();
        match (is_heard, is_theirs) {
            (true, _) => {}
            (false, true) => self.board.tell_waiting(slots),
            (false, false) => self.board.tell(slots),
        }
        self.listener.start(self);
        if self.bell.is_denied() {
            return;
        }
        if is_theirs {
            self.bell.leave_to_others(sequence);
        }
        let credit = if is_heard || is_theirs { slots } else { 0 };
        match self.bell.ring(!self.line.is_open(), Pending { sequence, slots, credit }) {
            Ring::Plain => self.tell_others(Pending { sequence, slots, credit }, None).await,
            Ring::Ask { reply, release } => self.tell_others(release, Some(reply)).await,
            Ring::Later { first: true } => self.listener.changed.notify_one(),
            Ring::Later { first: false } => {}
        }
    }

    /// Tells of releases that were not told yet.
    pub(crate) async fn tell_pending(&self) {
        if let Some((release, reply)) = self.bell.take_pending()
            && !self.bell.is_denied()
        {
            self.tell_others(release, reply).await;
        }
    }

    async fn tell_others(&self, release: Pending, reply: Option<String>) {
        let note = Note::new(release.sequence, release.slots.min(self.board.most())).write();
        self.post(self.bell.release.clone(), reply, note).await;
    }

    /// This process has evicted a lease of so many slots.
    pub(crate) async fn evicted(self: &Arc<Self>, id: LeaseId, slots: u32) {
        self.board.lose(id, LossCause::Evicted);
        self.revoke(Revocation::one(self.stream.name(), id.0)).await;
        self.gave_back(id.0, slots).await;
    }

    /// This process has emptied the stream, up to that sequence.
    pub(crate) async fn was_reset(self: &Arc<Self>, sequence: u64, messages: u64) {
        self.board.reset_through(sequence);
        self.revoke(Revocation::all(self.stream.name())).await;
        self.gave_back(sequence, u32::try_from(messages).unwrap_or(u32::MAX)).await;
    }

    /// This process has deleted the stream.
    pub(crate) async fn was_deleted(&self) {
        self.board.lose_all(LossCause::Deleted);
        self.revoke(Revocation::all(self.stream.name())).await;
    }

    /// This process has set the limit.
    pub(crate) async fn resized(&self, limit: NonZeroU32) {
        let more = self.board.set_limit(Some(limit));
        self.emit(&GovernorEvent::Resized { limit: limit.get() });
        if more > 0 && !self.bell.is_denied() {
            let note = Note::new(0, more).write();
            self.post(self.bell.release.clone(), None, note).await;
        }
    }

    /// Somebody with authority has ended leases: tells those who hold them.
    async fn revoke(&self, revocation: Revocation) {
        self.post(self.bell.revocation.clone(), None, revocation.write()).await;
    }

    /// Hands a message to the client, without waiting for anything.
    pub(super) async fn post(&self, subject: Subject, reply: Option<String>, payload: Bytes) {
        if !self.stream.connection().is_connected() {
            // It would be sent much later, when it is of no use.
            return;
        }
        let client = self.stream.connection().client();
        match reply {
            Some(reply) => hand_over(client.publish_with_reply(subject, reply, payload)).await,
            None => hand_over(client.publish(subject, payload)).await,
        }
    }
}

/// What does not get through is lost: it was a hint.
async fn hand_over<E: std::fmt::Display>(publish: impl Future<Output = Result<(), E>>) {
    match timeout(HANDOVER, publish).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "note not sent"),
        Err(_) => tracing::debug!("note not sent: the client takes nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_those_of_the_governor_on_either_wire() {
        for stream in ["GOVERNOR_T", "GOVERNOR2_T"] {
            let bell = Bell::new(stream);
            assert_eq!((bell.release.as_str(), bell.revocation.as_str()), ("_GOV.rel.T", "_GOV.rev.T"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn others_are_absent_for_a_moment_after_many_notes_that_nobody_else_heard() {
        let bell = Bell::new("GOVERNOR_T");
        for _ in 0..ALONE {
            assert!(!bell.are_others_absent());
            bell.hear_own();
        }
        assert!(bell.are_others_absent());
        tokio::time::advance(CURIOSITY).await;
        assert!(!bell.are_others_absent(), "that has to be seen again");
        bell.hear_own();
        assert!(bell.are_others_absent());
        bell.hear_other();
        assert!(!bell.are_others_absent());
    }

    #[tokio::test(start_paused = true)]
    async fn releases_are_told_at_once_while_others_wait_and_together_otherwise() {
        let release = |sequence| Pending { sequence, slots: 1, credit: 1 };
        let asks = |ring: Ring| match ring {
            Ring::Ask { reply, release } => (note::slots_of_reply(&reply), release.slots),
            other => panic!("{other:?}"),
        };
        let bell = Bell::new("GOVERNOR_T");
        assert_eq!(bell.ring(true, release(1)), Ring::Plain, "nobody listens for answers");
        bell.set_inbox(Some("_INBOX.a".to_owned()));
        assert_eq!(asks(bell.ring(false, release(2))), (Some(1), 1));
        assert_eq!(bell.due(), None);
        assert_eq!(bell.ring(false, release(3)), Ring::Later { first: true });
        assert_eq!(bell.due(), Some(Instant::now() + CURIOSITY));
        assert_eq!(bell.ring(false, release(4)), Ring::Later { first: false });
        assert_eq!(asks(bell.ring(true, release(5))), (Some(3), 3), "with those that were not told yet");
        assert_eq!(bell.due(), None);
        assert_eq!(bell.ring(false, release(6)), Ring::Later { first: true });
        let (told, reply) = bell.take_pending().unwrap();
        assert_eq!((told, reply.is_some_and(|reply| bell.is_ours(&reply))), (release(6), true));
        assert_eq!(bell.take_pending(), None);
        tokio::time::advance(CURIOSITY).await;
        assert_eq!(asks(bell.ring(false, release(7))), (Some(1), 1));
    }
}
