use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{
    Lease, LeaseError, LeaseErrorKind, LeasePool, LeasePoolAdmin, LeasePoolExt, LossCause, Request, Wait,
    later,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::event::Events;
use super::{AdaptiveConfig, AdaptiveEvent, Aimd, Reason, Recorder, Window};

/// Pause after an answer that is none.
const PAUSE: Duration = Duration::from_secs(1);

/// How long leadership may take to be given back.
const RELEASE: Duration = Duration::from_secs(2);

/// The task: leads, and resizes while it does.
pub(super) struct Resizer {
    pub(super) policy: Aimd,
    pub(super) config: AdaptiveConfig,
    pub(super) pool: Arc<dyn LeasePoolAdmin>,
    pub(super) leader: Arc<dyn LeasePool>,
    pub(super) request: Request,
    pub(super) recorder: Recorder,
    pub(super) end: CancellationToken,
    pub(super) events: Events,
}

impl Resizer {
    pub(super) async fn run(self) {
        let wait = Wait::new().cancelled_by(self.end.clone());
        while !self.end.is_cancelled() {
            match self.leader.acquire(&self.request, &wait).await {
                Ok(Some(lease)) => self.lead(lease).await,
                Ok(None) => {}
                Err(_) if self.end.is_cancelled() => return,
                Err(error) => {
                    self.failed(&error);
                    tokio::select! {
                        biased;
                        () = self.end.cancelled() => return,
                        () = sleep(PAUSE) => {}
                    }
                }
            }
        }
    }

    async fn lead(&self, lease: Lease) {
        self.events.emit(&AdaptiveEvent::LeaderGained { token: lease.token() });
        let current = watch::Sender::new(lease);
        let cause = tokio::select! {
            biased;
            () = self.end.cancelled() => None,
            cause = self.keep(&current) => cause,
            never = self.resize_after_each_window(&current) => match never {},
        };
        self.recorder.set_bearable(u64::MAX);
        let lease = current.borrow().clone();
        match cause {
            Some(cause) => {
                self.events.emit(&AdaptiveEvent::LeaderLost { token: lease.token(), cause });
            }
            // Otherwise it would keep everybody, this process too, from leading until it expires.
            None => {
                if !matches!(timeout(RELEASE, self.leader.release(&lease)).await, Ok(Ok(_))) {
                    tracing::warn!("leadership not given back: it ends with its time to live");
                }
            }
        }
    }

    /// Keeps the lease for as long as the pool lets it. `None`: it is still held, and to be given back.
    async fn keep(&self, current: &watch::Sender<Lease>) -> Option<LossCause> {
        let described = timeout(PAUSE, self.leader.describe()).await;
        if described.is_ok_and(|answer| answer.is_ok_and(|pool| !pool.renewable)) {
            return self.until_nearly_over(current).await;
        }
        match self.leader.keep_renewed(current).await {
            LossCause::RenewalRefused => self.until_nearly_over(current).await,
            cause => Some(cause),
        }
    }

    /// Gives up in time for the lease to be given back, and so to be won anew without waiting for its end.
    async fn until_nearly_over(&self, current: &watch::Sender<Lease>) -> Option<LossCause> {
        let lease = current.borrow().clone();
        tokio::select! {
            biased;
            cause = self.leader.lost(&lease) => Some(cause),
            () = sleep(lease.remaining().mul_f64(0.9)) => None,
        }
    }

    async fn resize_after_each_window(&self, current: &watch::Sender<Lease>) -> Infallible {
        // What was noted while others led says nothing about now.
        self.recorder.take();
        let mut length = self.config.window;
        let mut calm = Duration::ZERO;
        loop {
            let begin = Instant::now();
            tokio::select! {
                biased;
                () = sleep_until(later(begin, length)) => {}
                () = self.throttled_beyond_doubt(calm) => {}
            }
            let (window, mean) = self.recorder.take();
            if window.calls() == 0 {
                // An idle governor costs nothing.
                continue;
            }
            length = self.config.window.max(mean);
            // What this many calls in this time would be in a whole window.
            let whole = window.calls() as f64 * length.as_secs_f64() / begin.elapsed().as_secs_f64();
            self.recorder.set_bearable((self.config.tolerance * whole) as u64);
            calm = match self.adapt(window, current).await {
                // A shrinking takes effect with the calls that follow: looking before there are any is in vain.
                Ok(Some(Reason::Throttled | Reason::Slow | Reason::Draining)) => length / 10,
                Ok(_) => Duration::ZERO,
                Err(error) => {
                    self.failed(&error);
                    sleep(PAUSE).await;
                    Duration::ZERO
                }
            };
        }
    }

    /// Completes when this window can no longer be a clean one.
    async fn throttled_beyond_doubt(&self, calm: Duration) {
        sleep(calm).await;
        self.recorder.alarm().await;
    }

    /// `None`: there was nothing to decide.
    async fn adapt(
        &self,
        mut window: Window,
        current: &watch::Sender<Lease>,
    ) -> Result<Option<Reason>, LeaseError> {
        let pool = self.pool.describe().await?;
        let Some(from) = pool.limit else {
            let context = "the pool does not tell its limit: whoever adapts it needs the right to look";
            return Err(LeaseError::new(LeaseErrorKind::NotPermitted, context));
        };
        if let Some(held) = pool.held {
            window.draining = held > from.get();
            // Slots that change hands are free for a moment.
            window.constrained |= u64::from(held) * 10 >= u64::from(from.get()) * 9;
        }
        let (to, reason) = self.policy.decide(from, &window);
        if to != from && !self.resize(to, reason, current).await? {
            return Ok(None);
        }
        self.events.emit(&AdaptiveEvent::Decided { from, to, reason, window });
        Ok(Some(reason))
    }

    /// `false`: this process does not lead any more.
    async fn resize(
        &self,
        to: NonZeroU32,
        reason: Reason,
        current: &watch::Sender<Lease>,
    ) -> Result<bool, LeaseError> {
        if current.borrow().remaining().is_zero() {
            return Ok(false);
        }
        self.pool.resize(to).await?;
        if matches!(reason, Reason::Throttled | Reason::Slow) {
            self.recorder.forget_earlier();
        }
        Ok(true)
    }

    fn failed(&self, error: &LeaseError) {
        self.events.emit(&AdaptiveEvent::Failed { error: error.to_string() });
    }
}
