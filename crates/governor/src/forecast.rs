use std::future::pending;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::pool::Pool;
use crate::wire::StreamInfo;

/// Least time between two looks at the stream.
const SHORTEST: Duration = Duration::from_millis(250);

/// Foresees when the oldest lease of a stream expires, because no server tells it. Costs the handles that wait one
/// look at the stream a quarter of the time to live, together; none while nobody waits.
#[derive(Debug)]
pub(crate) struct Forecast {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// When so many slots become free, unless their leases end otherwise.
    due: Option<(Instant, NonZeroU32)>,
    /// When to look next; none: looking is not permitted.
    look_at: Option<Instant>,
}

impl Forecast {
    pub(crate) fn new() -> Self {
        let state = State { due: None, look_at: Some(Instant::now()) };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looking is not permitted.
    pub(crate) fn give_up(&self) {
        self.with(|state| state.look_at = None);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.with(|state| state.look_at.is_none())
    }

    /// Takes notice of a look at the stream. Answers how many slots are free.
    pub(crate) fn learn(&self, pool: &Pool, info: &StreamInfo) -> u32 {
        let limit = pool.board.limit().map_or(0, |limit| u64::from(limit.get()));
        let free = u32::try_from(limit.saturating_sub(info.state.messages)).unwrap_or(u32::MAX);
        let now = Instant::now();
        let due = match NonZeroU32::new(free) {
            // Who begins to wait later asks first.
            Some(free) => {
                let waited_for = pool.listener.is_waited_for() || !pool.line.is_empty();
                waited_for.then_some((now, free))
            }
            // Server times are subtracted from each other only, and the rest counts from the answer.
            None => info.age_of_first().map(|age| {
                let left = pool.board.ttl().saturating_sub(age);
                (now + left + pool.wire.expiry_grain, NonZeroU32::MIN)
            }),
        };
        let next = now + (pool.board.ttl() / 4).max(SHORTEST);
        self.with(|state| {
            state.due = due;
            state.look_at = state.look_at.map(|_| next);
        });
        self.changed.notify_waiters();
        free
    }

    /// Completes when slots are believed to have expired.
    ///
    /// # Cancel safety
    /// Safe: what is foreseen is kept for the next call.
    pub(crate) async fn next_expiry(&self, pool: &Pool) -> NonZeroU32 {
        loop {
            let changed = self.changed.notified();
            let State { due, look_at } = self.with(|state| *state);
            let time = due.map(|(at, _)| at).or(look_at);
            tokio::select! {
                biased;
                () = changed => continue,
                () = async { match time { Some(at) => sleep_until(at).await, None => pending().await } } => {}
            }
            let now = Instant::now();
            let slots = self.with(|state| match (state.due, state.look_at) {
                // Whoever sees it first, of all the handles that wait.
                (Some((at, slots)), _) if at <= now => {
                    state.due = None;
                    // It may come later than foreseen, and others with it.
                    state.look_at = state.look_at.map(|_| now + SHORTEST);
                    Some(slots)
                }
                (None, Some(at)) if at <= now => {
                    state.look_at = Some(now + (pool.board.ttl() / 4).max(SHORTEST));
                    pool.listener.look();
                    None
                }
                _ => None,
            });
            if let Some(slots) = slots {
                return slots;
            }
        }
    }
}
