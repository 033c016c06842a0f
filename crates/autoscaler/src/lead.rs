//! Leadership: acting only while holding the only slot of a pool.

use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{FencingToken, Holder, Lease, LeasePool, LeasePoolExt, LossCause, Request, Wait};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Events, ScalerEvent};

/// Pause after an answer of the pool that is not a lease.
const PAUSE: Duration = Duration::from_secs(1);

/// Time to live of a pool that does not tell.
const UNKNOWN_TTL: Duration = Duration::from_secs(10);

/// How long the slot may take to be given back.
const RELEASE: Duration = Duration::from_secs(1);

/// The task that holds the slot, or stands in line for it.
#[derive(Debug)]
pub(crate) struct Lead {
    lease: watch::Receiver<Option<Lease>>,
    /// Time to live of a lease: for so long the resource may still obey the leader before.
    ttl: Duration,
    /// Dropped with a scaler that panicked, too: nobody may lead who does not act.
    end: DropGuard,
    task: JoinHandle<()>,
}

impl Lead {
    pub(crate) async fn start(pool: Arc<dyn LeasePool>, holder: Holder, events: Events) -> Self {
        let asked = timeout(PAUSE, pool.describe()).await;
        let ttl = asked.ok().and_then(Result::ok).map_or(UNKNOWN_TTL, |description| description.ttl);
        let (sender, lease) = watch::channel(None);
        let end = CancellationToken::new();
        let task = tokio::spawn(hold(pool, Request::new(holder), sender, end.clone(), events));
        Self { lease, ttl, end: end.drop_guard(), task }
    }

    /// The token, while this replica may act.
    pub(crate) fn fence(&self) -> Option<FencingToken> {
        let lease = self.lease.borrow();
        lease.as_ref().filter(|lease| Instant::now() < lease.deadline()).map(Lease::token)
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Completes when leadership was gained, renewed or lost.
    ///
    /// # Cancel safety
    /// Safe: a change that was not told of completes the next call.
    pub(crate) async fn changed(&mut self) {
        if self.lease.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Gives the slot back.
    pub(crate) async fn end(self) {
        drop(self.end);
        let _ = self.task.await;
    }
}

async fn hold(
    pool: Arc<dyn LeasePool>,
    request: Request,
    sender: watch::Sender<Option<Lease>>,
    end: CancellationToken,
    events: Events,
) {
    let wait = Wait::new().cancelled_by(end.clone());
    while !end.is_cancelled() {
        let lease = match pool.acquire(&request, &wait).await {
            Ok(Some(lease)) => lease,
            Ok(None) => continue,
            Err(_) if end.is_cancelled() => return,
            Err(error) => {
                tracing::warn!(scaler = events.scaler(), %error, "no leadership");
                tokio::select! {
                    biased;
                    () = end.cancelled() => return,
                    () = sleep(PAUSE) => continue,
                }
            }
        };
        events.emit(ScalerEvent::LeaderGained { token: lease.token() });
        let current = watch::Sender::new(lease.clone());
        sender.send_replace(Some(lease));
        let cause = tokio::select! {
            biased;
            () = end.cancelled() => None,
            cause = pool.keep_renewed(&current) => Some(cause),
            () = copy(&current, &sender) => None,
        };
        sender.send_replace(None);
        let lease = current.borrow().clone();
        if let Some(cause) = cause {
            events.emit(ScalerEvent::LeaderLost { token: lease.token(), cause });
        }
        // One that cannot be renewed is held until its deadline, and would keep everybody else from leading.
        let held = matches!(cause, None | Some(LossCause::RenewalRefused));
        if held && !matches!(timeout(RELEASE, pool.release(&lease)).await, Ok(Ok(_))) {
            tracing::warn!(
                scaler = events.scaler(),
                "leadership not given back: it ends with its time to live"
            );
        }
    }
}

/// Shows every renewal.
async fn copy(current: &watch::Sender<Lease>, sender: &watch::Sender<Option<Lease>>) {
    let mut renewals = current.subscribe();
    while renewals.changed().await.is_ok() {
        sender.send_replace(Some(renewals.borrow_and_update().clone()));
    }
}
