//! Where the handles of one stream meet in this process: they tell each other of freed slots and of lost leases.

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
use tokio::time::{Instant, sleep_until};

use self::hints::Hints;
pub(crate) use self::hints::{HandleId, Mark};
pub(crate) use self::identity::Identity;
pub(crate) use self::leases::{Floor, Live};
use self::leases::{Leases, Standing};
use crate::pool::Facts;

/// Stream name and incarnation, which nobody else's stream has.
type Key = (String, Option<String>);

/// As many slots as anybody hears of at once where the limit is unknown.
const PLENTY: NonZeroU32 = NonZeroU32::new(64).expect("not zero");

static BOARDS: LazyLock<Mutex<HashMap<Key, Weak<Board>>>> = LazyLock::new(Mutex::default);

#[derive(Debug)]
pub(crate) struct Board {
    state: Mutex<State>,
    /// A lease was lost, or will be.
    changed: Notify,
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
}

impl Board {
    /// The board of that life of that stream.
    pub(crate) fn meet(stream: &str, identity: Option<Identity>, facts: &Facts) -> Arc<Self> {
        let life = identity.as_ref().map(|identity| identity.incarnation().to_string());
        let key = (stream.to_owned(), life);
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
        };
        let board = Arc::new(Self { state: Mutex::new(state), changed: Notify::new() });
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

    /// All slots are believed to have become free.
    pub(crate) fn tell_all(&self) {
        let all = self.lock().limit.unwrap_or(PLENTY).get();
        self.tell(all);
    }

    /// So many slots are believed to have become free.
    pub(crate) fn tell(&self, slots: u32) {
        if slots > 0 {
            self.lock().hints.tell(slots);
        }
    }

    /// The stream has that limit; more slots than before are free ones.
    pub(crate) fn set_limit(&self, limit: Option<NonZeroU32>) {
        let mut state = self.lock();
        let slots = |limit: Option<NonZeroU32>| limit.map_or(0, NonZeroU32::get);
        let more = slots(limit).saturating_sub(slots(state.limit));
        state.limit = limit;
        if more > 0 {
            state.hints.tell(more);
        }
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

    /// A release is about to be sent.
    pub(crate) fn releasing(&self, id: LeaseId) {
        self.lock().leases.releasing(id);
    }

    pub(crate) fn released(&self, id: LeaseId) {
        self.lock().leases.released(id);
    }

    /// Whether that was news.
    pub(crate) fn lose(&self, id: LeaseId, cause: LossCause) -> bool {
        self.noting(|leases| leases.lose(id, cause))
    }

    pub(crate) fn lose_all(&self, cause: LossCause) -> Vec<LeaseId> {
        self.noting(|leases| leases.lose_all(cause))
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
    /// Asks `verify` every so often, which looks whether the lease is still there, and if not says why.
    pub(crate) async fn lost<V, F>(&self, id: LeaseId, every: Duration, verify: V) -> LossCause
    where
        V: Fn() -> F,
        F: Future<Output = Option<LossCause>>,
    {
        let mut next = Instant::now() + every;
        loop {
            let changed = self.changed.notified();
            let standing = self.lock().leases.standing(id);
            let early = match standing {
                Standing::Lost(cause) => return cause,
                Standing::Over => return pending().await,
                Standing::Held { early } => early,
            };
            let ends_early = async {
                match early {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            let look = async {
                sleep_until(next).await;
                verify().await
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = ends_early => drop(self.lose(id, LossCause::TtlLowered)),
                seen = look => match seen {
                    Some(cause) => drop(self.lose(id, cause)),
                    None => next = Instant::now() + every,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meet(incarnation: &str) -> Arc<Board> {
        let identity = Identity::named(incarnation);
        let second = Duration::from_secs(1);
        let facts = Facts::told("s".into(), second);
        Board::meet("meet", Some(identity), &facts)
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
