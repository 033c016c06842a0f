//! Where the handles of one stream and connection meet: they tell each other of freed slots and of lost leases.

mod hints;
mod identity;
mod leases;

use std::collections::HashMap;
use std::future::pending;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sluicegate_core::{Incarnation, Lease, LeaseId, LossCause};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use self::hints::Hints;
pub(crate) use self::hints::{HandleId, Mark};
pub(crate) use self::identity::Identity;
pub(crate) use self::leases::{Floor, Live};
use self::leases::{Leases, Rumour, Standing};
use crate::backoff;
use crate::forecast::Forecast;
use crate::pool::Facts;

/// Connection, stream name and incarnation. Handles of other connections are as good as other processes: they may be
/// in another account, and hear of each other through the server.
type Key = (u64, String, Option<String>);

/// As many slots as anybody hears of at once where the limit is unknown.
const PLENTY: NonZeroU32 = NonZeroU32::new(64).expect("not zero");

static BOARDS: LazyLock<Mutex<HashMap<Key, Weak<Board>>>> = LazyLock::new(Mutex::default);

#[derive(Debug)]
pub(crate) struct Board {
    state: Mutex<State>,
    /// A lease was lost, or will be, or is said to be.
    changed: Notify,
    pub(crate) forecast: Forecast,
}

#[derive(Debug)]
struct State {
    /// None: unknown, as with the identity.
    limit: Option<NonZeroU32>,
    ttl: Duration,
    /// For how long the server remembers message ids.
    window: Duration,
    identity: Option<Identity>,
    hints: Hints,
    leases: Leases,
    /// When somebody last looked at the stream as a whole.
    inspected: Instant,
    /// When the server last confirmed a deletion of ours.
    deleted: Option<Instant>,
}

impl State {
    /// Whether the lease was granted in this life of the stream, if that is known.
    fn is_of_this_life(&self, lease: &Lease) -> Option<bool> {
        let epoch = self.identity.as_ref().map_or(0, Identity::epoch);
        (epoch != 0 && lease.epoch() != 0).then(|| lease.epoch() == epoch)
    }
}

impl Board {
    /// The board of that life of that stream.
    pub(crate) fn meet(
        connection: u64,
        stream: &str,
        identity: Option<Identity>,
        facts: &Facts,
    ) -> Arc<Self> {
        let life = identity.as_ref().map(|identity| identity.incarnation().to_string());
        let key = (connection, stream.to_owned(), life);
        let mut boards = BOARDS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(board) = boards.get(&key).and_then(Weak::upgrade) {
            return board;
        }
        boards.retain(|_, board| board.strong_count() > 0);
        let state = State {
            limit: facts.limit,
            ttl: facts.ttl,
            window: facts.window,
            identity,
            hints: Hints::default(),
            leases: Leases::default(),
            inspected: Instant::now(),
            deleted: None,
        };
        let (state, changed) = (Mutex::new(state), Notify::new());
        let board = Arc::new(Self { state, changed, forecast: Forecast::new() });
        boards.insert(key, Arc::downgrade(&board));
        board
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.lock().ttl
    }

    pub(crate) fn window(&self) -> Duration {
        self.lock().window
    }

    pub(crate) fn set_window(&self, window: Duration) {
        self.lock().window = window;
    }

    /// None: unknown.
    pub(crate) fn limit(&self) -> Option<NonZeroU32> {
        self.lock().limit
    }

    /// None: unknown.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        self.lock().identity.as_ref().map(Identity::incarnation)
    }

    /// When this life of the stream began, in microseconds since 1970; 0: unknown.
    pub(crate) fn epoch(&self) -> u64 {
        self.lock().identity.as_ref().map_or(0, Identity::epoch)
    }

    /// Somebody saw the stream, whose last sequence was that. If it is another one than before, the leases of the
    /// old one are lost, and returned.
    pub(crate) fn recognize(&self, seen: &Identity, last_sequence: u64) -> Option<Vec<LeaseId>> {
        let mut state = self.lock();
        let went_back = last_sequence < state.leases.largest();
        let same = state.identity.as_ref().is_none_or(|known| known.is(seen, went_back));
        if same {
            state.identity.get_or_insert_with(|| seen.clone());
            return None;
        }
        state.identity = Some(seen.clone());
        let lost = state.leases.made_anew();
        drop(state);
        self.changed.notify_waiters();
        Some(lost)
    }

    // Hints.

    pub(crate) fn attach(&self, hint: Arc<Notify>) -> HandleId {
        self.lock().hints.attach(hint)
    }

    pub(crate) fn detach(&self, id: HandleId) {
        self.lock().hints.detach(id);
    }

    /// What is known as an attempt begins.
    pub(crate) fn begin(&self, id: HandleId) -> (Mark, Floor) {
        let state = self.lock();
        (state.hints.mark(id), state.leases.floor())
    }

    /// The attempt that began at `mark` found the pool full.
    pub(crate) fn full(&self, id: HandleId, mark: Mark) {
        self.lock().hints.full(id, mark);
    }

    pub(crate) fn take_hint(&self, id: HandleId) -> Option<NonZeroU32> {
        let mut state = self.lock();
        let most = state.limit.unwrap_or(PLENTY).get();
        state.hints.take(id, most)
    }

    pub(crate) fn leave(&self, id: HandleId) {
        self.lock().hints.leave(id);
    }

    /// So many slots are believed to have become free, of which that handle alone shall know.
    pub(crate) fn credit(&self, id: HandleId, slots: u32) {
        if slots > 0 {
            self.lock().hints.credit(id, slots);
        }
    }

    /// Whether that handle hears release notes.
    pub(crate) fn hears_notes(&self, id: HandleId, hears: bool) {
        self.lock().hints.hears_notes(id, hears);
    }

    /// The most slots that a hint can be about.
    pub(crate) fn most(&self) -> u32 {
        self.limit().unwrap_or(PLENTY).get()
    }

    /// So many slots are believed to have become free.
    pub(crate) fn tell(&self, slots: u32) {
        if slots > 0 {
            self.lock().hints.tell(slots);
        }
    }

    /// The same, for the handles that wait just now alone.
    pub(crate) fn tell_waiting(&self, slots: u32) {
        self.lock().hints.wake(slots);
    }

    /// The stream has that limit; so many more slots than before are free ones.
    pub(crate) fn set_limit(&self, limit: Option<NonZeroU32>) -> u32 {
        let mut state = self.lock();
        let slots = |limit: Option<NonZeroU32>| limit.map_or(0, NonZeroU32::get);
        let more = slots(limit).saturating_sub(slots(state.limit));
        state.limit = limit;
        if more > 0 {
            state.hints.tell(more);
        }
        more
    }

    /// What the stream is now, by all that is known.
    pub(crate) fn adopt(&self, identity: Identity) {
        self.lock().identity = Some(identity);
    }

    // Leases.

    /// Leases granted from now on last so long, and those already held too if it `applies_to_held`.
    pub(crate) fn set_ttl(&self, ttl: Duration, applies_to_held: bool) {
        let mut state = self.lock();
        if state.ttl == ttl {
            return;
        }
        state.ttl = ttl;
        if applies_to_held {
            state.leases.set_ttl(ttl);
            drop(state);
            self.changed.notify_waiters();
        }
    }

    pub(crate) fn granted(&self, lease: &Lease, live: Live, floor: Floor) -> Option<Vec<LeaseId>> {
        let lost = self.lock().leases.granted(lease.id(), live, floor);
        if lost.is_some() {
            self.changed.notify_waiters();
        }
        lost
    }

    pub(crate) fn renewed(&self, lease: &Lease, first_send: Instant) {
        self.lock().leases.renewed(lease.id(), lease, first_send);
    }

    /// One of several messages of a lease was written anew.
    pub(crate) fn entry_renewed(&self, id: LeaseId, entry: usize, sequence: u64) {
        self.lock().leases.entry_renewed(id, entry, sequence);
    }

    pub(crate) fn live(&self, id: LeaseId) -> Option<Live> {
        self.lock().leases.get(id).cloned()
    }

    pub(crate) fn loss(&self, id: LeaseId) -> Option<LossCause> {
        self.lock().leases.loss(id)
    }

    /// A lease of which a renewal is about to be sent.
    pub(crate) fn renewing(&self, id: LeaseId) -> Option<Live> {
        let mut state = self.lock();
        state.leases.doubt(id);
        state.leases.get(id).cloned()
    }

    /// Whether a lease was not renewed for so long, told once.
    pub(crate) fn misses_renewals(&self, id: LeaseId, long: Duration) -> bool {
        self.lock().leases.misses_renewals(id, long)
    }

    /// A release is about to be sent. Answers the lease, if this process holds it still; `Err`: it belongs to another
    /// life of the stream, which may have given its number to somebody else, so that nothing must be sent.
    pub(crate) fn releasing(&self, lease: &Lease) -> Result<Option<Live>, LossCause> {
        let mut state = self.lock();
        let same_life = state.is_of_this_life(lease);
        if same_life == Some(false) {
            return Err(LossCause::Recreated);
        }
        // A number that was lost with its stream may have been granted to us again by the next one.
        let live = state.leases.get(lease.id());
        let held = live.is_some_and(|live| same_life.is_some() || live.deadline == lease.deadline());
        let loss = state.leases.loss(lease.id());
        if let (false, Some(cause @ (LossCause::Recreated | LossCause::Deleted))) = (held, loss) {
            return Err(cause);
        }
        let before = state.leases.get(lease.id()).cloned();
        state.leases.releasing(lease.id());
        Ok(before)
    }

    pub(crate) fn released(&self, id: LeaseId) {
        self.lock().leases.released(id);
    }

    /// The server has confirmed a deletion of ours. Whether the note of it, once sent, comes back to this process if
    /// it is its turn; if not, the handles have to be told.
    pub(crate) fn deleted(&self) -> bool {
        let mut state = self.lock();
        state.deleted = Some(Instant::now());
        state.hints.are_notes_heard()
    }

    /// When the server last confirmed a deletion of ours.
    pub(crate) fn last_deletion(&self) -> Option<Instant> {
        self.lock().deleted
    }

    /// How often the stream was made anew.
    pub(crate) fn life(&self) -> u64 {
        self.lock().leases.life()
    }

    /// Somebody says that the lease with that message was ended: whoever awaits its loss looks at once.
    pub(crate) fn doubt_one(&self, sequence: u64, cause: LossCause) {
        self.doubted(cause, |id, live| id.0 == sequence || live.has(sequence));
    }

    /// The same of all leases whose subject begins so.
    pub(crate) fn doubt_all(&self, cause: LossCause, prefix: &str) {
        self.doubted(cause, |_, live| live.subject.starts_with(prefix));
    }

    fn doubted(&self, cause: LossCause, which: impl Fn(LeaseId, &Live) -> bool) {
        if self.lock().leases.doubted(cause, which) {
            self.changed.notify_waiters();
        }
    }

    /// Whether that was news.
    pub(crate) fn lose(&self, id: LeaseId, cause: LossCause) -> bool {
        self.noting(|leases| leases.lose(id, cause))
    }

    pub(crate) fn lose_all(&self, cause: LossCause) -> Vec<LeaseId> {
        self.noting(|leases| leases.lose_all(cause))
    }

    /// The leases of this life of the stream are lost.
    pub(crate) fn made_anew(&self) -> Vec<LeaseId> {
        self.noting(Leases::made_anew)
    }

    pub(crate) fn reset_through(&self, sequence: u64) -> Vec<LeaseId> {
        self.noting(|leases| leases.reset_through(sequence))
    }

    fn noting<T>(&self, change: impl FnOnce(&mut Leases) -> T) -> T {
        let result = change(&mut self.lock().leases);
        self.changed.notify_waiters();
        result
    }

    /// Whether it is this caller's turn to look at the stream as a whole, which one of all does now and then.
    pub(crate) fn is_due(&self, every: Duration) -> bool {
        let mut state = self.lock();
        let due = state.inspected.elapsed() >= every;
        if due {
            state.inspected = Instant::now();
        }
        due
    }

    /// Completes when that lease is known to be lost; for one that is over, never.
    ///
    /// Asks `look`, whether the lease is still there, when somebody says that it is not, and every so often unless
    /// losses are `pushed`, since that time.
    pub(crate) async fn lost<V, F>(
        &self,
        lease: &Lease,
        every: Duration,
        pushed: impl Fn() -> Option<Instant>,
        look: V,
    ) -> LossCause
    where
        V: Fn() -> F,
        F: Future<Output = Seen>,
    {
        let id = lease.id();
        let mut next = Some(Instant::now() + every);
        let mut delays = backoff::resolving();
        let mut pause = Duration::ZERO;
        loop {
            let changed = self.changed.notified();
            let standing = {
                let state = self.lock();
                if state.is_of_this_life(lease) == Some(false) {
                    return LossCause::Recreated;
                }
                state.leases.standing(id)
            };
            let (early, rumour, seen) = match standing {
                Standing::Lost(cause) => return cause,
                Standing::Over => return pending().await,
                Standing::Held { early, rumour, seen } => (early, rumour, seen),
            };
            let look = async {
                match rumour {
                    Some(_) => sleep(pause).await,
                    None => until(next).await,
                }
                // Whoever hears of each loss need not look.
                let began = Instant::now();
                if rumour.is_none() && pushed().is_some_and(|since| since <= seen) {
                    return (Seen::There, seen);
                }
                (look().await, began)
            };
            let seen_before = seen;
            let (seen, began) = tokio::select! {
                biased;
                () = changed => continue,
                () = until(early) => {
                    self.lose(id, LossCause::TtlLowered);
                    continue;
                }
                seen = look => seen,
            };
            next = Some(Instant::now() + every);
            match (seen, rumour) {
                (Seen::There, rumour) => {
                    self.lock().leases.seen(id, rumour, began);
                    delays = backoff::resolving();
                    pause = Duration::ZERO;
                }
                // Nothing but a doubt.
                (Seen::Forbidden, Some(rumour)) if rumour.cause == LossCause::Gone => {
                    self.lock().leases.seen(id, Some(rumour), seen_before);
                }
                (Seen::Gone(LossCause::Gone) | Seen::Forbidden, Some(Rumour { cause, .. }))
                | (Seen::Gone(cause), _) => drop(self.lose(id, cause)),
                (Seen::Forbidden, None) => next = None,
                (Seen::Nothing, Some(_)) => pause = delays.next().unwrap_or(backoff::LONGEST),
                (Seen::Nothing, None) => {}
            }
        }
    }
}

/// What a look for a lease showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    There,
    Gone(LossCause),
    /// Looking is not permitted.
    Forbidden,
    /// The question was not answered.
    Nothing,
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meet(incarnation: &str) -> Arc<Board> {
        let identity = Identity::named(incarnation);
        let second = Duration::from_secs(1);
        let facts = Facts::told("s".into(), second);
        Board::meet(7, "meet", Some(identity), &facts)
    }

    #[test]
    fn handles_of_one_life_meet_and_others_do_not() {
        let first = meet("a");
        assert!(Arc::ptr_eq(&first, &meet("a")));
        assert!(!Arc::ptr_eq(&first, &meet("b")));
        drop(first);
        let again = meet("a");
        assert_eq!(Arc::strong_count(&again), 1, "nobody keeps a board that has no handle");
    }
}
