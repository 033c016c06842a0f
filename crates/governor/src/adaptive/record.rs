use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sluicegate_core::LeasePoolAdmin;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Window;

/// What became of a call of the protected resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was served.
    Ok,
    /// It was refused, or given up, because the resource had too much to do: 429, 503, `SlowDown`, a timeout.
    Throttled,
    /// It failed for a reason that says nothing about load: 404, a refused login.
    Failed,
}

/// Takes note of calls for an [`AdaptiveLimit`](crate::AdaptiveLimit). Cheap to clone, and to call: a few atomic
/// additions, no lock.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pool: Arc<dyn LeasePoolAdmin>,
    slow_after: Option<Duration>,
    origin: Instant,
    /// Calls that began before that time since the origin say nothing about the limit of now. Nanoseconds.
    since: AtomicU64,
    served: AtomicU64,
    throttled: AtomicU64,
    failed: AtomicU64,
    slow: AtomicU64,
    /// Nanoseconds that all calls took together.
    spent: AtomicU64,
    waited: AtomicBool,
    /// More throttled calls than this end a window early.
    bearable: AtomicU64,
    alarm: Notify,
}

impl Recorder {
    pub(super) fn new(pool: Arc<dyn LeasePoolAdmin>, slow_after: Option<Duration>) -> Self {
        Self(Arc::new(Shared {
            pool,
            slow_after,
            origin: Instant::now(),
            since: AtomicU64::new(0),
            served: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            spent: AtomicU64::new(0),
            waited: AtomicBool::new(false),
            bearable: AtomicU64::new(u64::MAX),
            alarm: Notify::new(),
        }))
    }

    /// Takes note of a call that ended now and took so long.
    pub fn record(&self, latency: Duration, outcome: Outcome) {
        let shared = &*self.0;
        if nanos(shared.origin.elapsed().saturating_sub(latency)) < shared.since.load(Ordering::Relaxed) {
            return;
        }
        if !shared.waited.load(Ordering::Relaxed) && !shared.pool.line().is_empty() {
            shared.waited.store(true, Ordering::Relaxed);
        }
        shared.spent.fetch_add(nanos(latency), Ordering::Relaxed);
        if outcome == Outcome::Throttled {
            let before = shared.throttled.fetch_add(1, Ordering::Relaxed);
            if before >= shared.bearable.load(Ordering::Relaxed) {
                shared.alarm.notify_one();
            }
            return;
        }
        if shared.slow_after.is_some_and(|slow| latency > slow) {
            shared.slow.fetch_add(1, Ordering::Relaxed);
        }
        let counter = if outcome == Outcome::Ok { &shared.served } else { &shared.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Completes when more calls were throttled than a clean window may have. May complete early.
    pub(super) async fn alarm(&self) {
        self.0.alarm.notified().await;
    }

    /// From now on so many throttled calls are borne before the alarm is given.
    pub(super) fn set_bearable(&self, calls: u64) {
        self.0.bearable.store(calls, Ordering::Relaxed);
    }

    /// Calls that have begun until now are not counted any more.
    pub(super) fn forget_earlier(&self) {
        self.0.since.store(nanos(self.0.origin.elapsed()), Ordering::Relaxed);
    }

    /// What was noted since the last time, and how long a call took on average.
    pub(super) fn take(&self) -> (Window, Duration) {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        let shared = &*self.0;
        let window = Window {
            served: take(&shared.served),
            throttled: take(&shared.throttled),
            failed: take(&shared.failed),
            slow: take(&shared.slow),
            constrained: shared.waited.swap(false, Ordering::Relaxed) || !shared.pool.line().is_empty(),
            draining: false,
        };
        let mean = take(&shared.spent).checked_div(window.calls()).unwrap_or(0);
        (window, Duration::from_nanos(mean))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use futures::FutureExt;
    use sluicegate_core::MemoryPool;
    use tokio::time::advance;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn recorder() -> Recorder {
        let pool = MemoryPool::new(NonZeroU32::MIN, Duration::from_secs(10));
        Recorder::new(Arc::new(pool), Some(MS * 10))
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_counted_once_and_by_kind() {
        let recorder = recorder();
        recorder.record(MS, Outcome::Ok);
        recorder.record(MS * 11, Outcome::Ok);
        recorder.record(MS * 12, Outcome::Failed);
        recorder.record(MS * 100, Outcome::Throttled);
        let (window, mean) = recorder.take();
        let expected = Window { served: 2, throttled: 1, failed: 1, slow: 2, ..Window::default() };
        assert_eq!((window, mean), (expected, MS * 31));
        assert_eq!(recorder.take(), (Window::default(), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_began_under_an_earlier_limit_do_not_count() {
        let recorder = recorder();
        advance(MS * 50).await;
        recorder.forget_earlier();
        advance(MS * 20).await;
        recorder.record(MS * 21, Outcome::Throttled);
        recorder.record(MS * 20, Outcome::Ok);
        let (window, _) = recorder.take();
        assert_eq!((window.served, window.throttled), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_alarm_is_given_with_the_first_call_too_many() {
        let recorder = recorder();
        recorder.set_bearable(2);
        recorder.record(MS, Outcome::Throttled);
        recorder.record(MS, Outcome::Throttled);
        assert!(recorder.alarm().now_or_never().is_none());
        recorder.record(MS, Outcome::Throttled);
        assert!(recorder.alarm().now_or_never().is_some());
    }
}
