use std::future::pending;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sluicegate_core::LeaseErrorKind;
use tokio::time::{Instant, sleep_until};

use crate::pool::Pool;

/// Least time between two looks at the stream.
const SHORTEST: Duration = Duration::from_millis(250);

/// Foresees when the oldest lease of a stream expires, because no server tells it. Costs a waiting handle one look
/// at the stream a quarter of the time to live.
#[derive(Debug)]
pub(crate) struct Forecast(Mutex<State>);

#[derive(Clone, Copy, Debug)]
struct State {
    /// When a slot becomes free, unless its lease ends otherwise.
    due: Option<Instant>,
    /// When to look next; none: looking is not permitted.
    look_at: Option<Instant>,
}

impl Forecast {
    pub(crate) fn new(may_look: bool) -> Self {
        Self(Mutex::new(State { due: None, look_at: may_look.then(Instant::now) }))
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Completes when the oldest lease is believed to have expired.
    ///
    /// # Cancel safety
    /// Safe: what is foreseen is kept for the next call.
    pub(crate) async fn next_expiry(&self, pool: &Pool) {
        loop {
            let State { due, look_at } = self.with(|state| *state);
            match (due, look_at) {
                (Some(due), _) => {
                    sleep_until(due).await;
                    self.with(|state| {
                        state.due = None;
                        state.look_at = state.look_at.map(|_| Instant::now() + SHORTEST);
                    });
                    return;
                }
                (None, Some(at)) => {
                    sleep_until(at).await;
                    self.look(pool).await;
                }
                (None, None) => pending().await,
            }
        }
    }

    async fn look(&self, pool: &Pool) {
        let ttl = pool.board.ttl();
        self.with(|state| state.look_at = Some(Instant::now() + (ttl / 4).max(SHORTEST)));
        match pool.stream.info().await {
            Ok(info) => {
                pool.learn(&info);
                // Server times are subtracted from each other only, and the rest counts from the answer.
                let left = info.age_of_first().map(|age| pool.board.ttl().saturating_sub(age));
                let due = left.map(|left| Instant::now() + left + pool.wire.expiry_grain);
                // The expiry came later than foreseen: who was told of it found no slot yet.
                let is_free =
                    pool.board.limit().is_some_and(|limit| info.state.messages < limit.get().into());
                let due = if is_free { Some(Instant::now()) } else { due };
                self.with(|state| state.due = due);
            }
            Err(error) if error.kind() == LeaseErrorKind::NotPermitted => {
                self.with(|state| state.look_at = None);
            }
            Err(_) => {}
        }
    }
}
