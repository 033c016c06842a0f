//! One lease in the hands of a governor, from its grant to its end.

use std::future::pending;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sluicegate_core::{Lease, LeasePool, LeasePoolExt, LossCause};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Cohort, Inner};

/// The margin where none is set, and its bounds.
const SHORTEST_MARGIN: Duration = Duration::from_millis(100);
const LONGEST_MARGIN: Duration = Duration::from_secs(5);

/// A lease, from grant to release. With cohorts several permits have it one after the other.
#[derive(Debug)]
pub(super) struct Tenure {
    pool: Arc<dyn LeasePool>,
    lease: watch::Sender<Lease>,
    began: Instant,
    /// How long the lease lasted when it was granted.
    lasts: Duration,
    margin: Duration,
    /// A task renews it, and knows of its loss.
    kept: bool,
    loss: OnceLock<LossCause>,
    /// Made when somebody asks for it, or when there is a task that knows.
    lost: OnceLock<CancellationToken>,
    /// The governor is over.
    ended: CancellationToken,
    /// The lease was given back: nothing is to be watched any more.
    over: CancellationToken,
}

impl Tenure {
    pub(super) fn begin(inner: &Inner, lease: Lease) -> Arc<Self> {
        let lasts = lease.remaining();
        let margin = inner.margin.unwrap_or_else(|| (lasts / 20).clamp(SHORTEST_MARGIN, LONGEST_MARGIN));
        let kept = inner.renew && lease.is_renewable();
        let tenure = Arc::new(Self {
            pool: Arc::clone(&inner.pool),
            lease: watch::Sender::new(lease),
            began: Instant::now(),
            lasts,
            margin: margin.min(lasts / 4),
            kept,
            loss: OnceLock::new(),
            lost: OnceLock::new(),
            ended: inner.ended.clone(),
            over: CancellationToken::new(),
        });
        if kept {
            tenure.clone().watch_over(inner);
        }
        tenure
    }

    /// The lease was given back, or is left to its end.
    pub(super) fn over(&self) {
        self.over.cancel();
    }

    pub(super) fn lease(&self) -> Lease {
        self.lease.borrow().clone()
    }

    /// When the work has to stop, if the lease is not renewed by then.
    pub(super) fn deadline(&self) -> Instant {
        let deadline = self.lease.borrow().deadline();
        deadline.checked_sub(self.margin).unwrap_or(deadline)
    }

    /// Whether a cohort may hand it on once more.
    pub(super) fn is_within(&self, bounds: &Cohort) -> bool {
        let enough = bounds.min_remaining.unwrap_or(self.lasts / 2);
        self.began.elapsed() < bounds.max_time && self.lease().remaining() >= enough && self.loss().is_none()
    }

    /// Completes when the lease is lost, at the deadline of its permits at the latest.
    pub(super) async fn lost(&self) -> LossCause {
        if self.kept
            && let Some(lost) = self.lost.get()
        {
            lost.cancelled().await;
        }
        match self.loss.get() {
            Some(cause) => *cause,
            None => self.watch().await,
        }
    }

    async fn watch(&self) -> LossCause {
        let cause = tokio::select! {
            biased;
            () = self.ended.cancelled() => LossCause::Closed,
            cause = self.end() => cause,
            () = self.expiry() => LossCause::Expired,
        };
        self.note(cause)
    }

    /// What the pool knows of an early end; a lease that is kept is renewed meanwhile.
    async fn end(&self) -> LossCause {
        if !self.kept {
            return self.pool.lost(&self.lease()).await;
        }
        match self.pool.keep_renewed(&self.lease).await {
            // It lasts until its deadline all the same.
            LossCause::RenewalRefused | LossCause::Expired => pending().await,
            cause => cause,
        }
    }

    /// Completes at the deadline that no renewal has moved.
    async fn expiry(&self) {
        while self.deadline() > Instant::now() {
            sleep_until(self.deadline()).await;
        }
    }

    /// The first cause is the one that is told.
    fn note(&self, cause: LossCause) -> LossCause {
        *self.loss.get_or_init(|| cause)
    }

    /// The loss, if it is known by now.
    pub(super) fn loss(&self) -> Option<LossCause> {
        if let Some(cause) = self.loss.get() {
            return Some(*cause);
        }
        if self.deadline() <= Instant::now() {
            return Some(self.note(LossCause::Expired));
        }
        let lease = self.lease();
        let lost = pin!(self.pool.lost(&lease));
        match lost.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(cause) => Some(self.note(cause)),
            Poll::Pending => None,
        }
    }

    /// A token that is cancelled when the lease is lost. The first call starts a task that watches over it.
    pub(super) fn lost_token(self: &Arc<Self>, inner: &Inner) -> CancellationToken {
        match self.lost.get() {
            Some(token) => token.clone(),
            None => self.clone().watch_over(inner),
        }
    }

    fn watch_over(self: Arc<Self>, inner: &Inner) -> CancellationToken {
        let mut is_first = false;
        let token = self.lost.get_or_init(|| {
            is_first = true;
            CancellationToken::new()
        });
        let token = token.clone();
        if is_first {
            let (tenure, lost) = (self, token.clone());
            let watching = async move {
                tokio::select! {
                    biased;
                    () = tenure.over.cancelled() => {}
                    _ = tenure.watch() => lost.cancel(),
                }
            };
            drop(inner.tasks.spawn_on(watching, &inner.runtime));
        }
        token
    }
}
