//! A limit that follows what the protected resource says.

mod config;
mod event;
mod policy;
mod record;
mod resizer;
#[cfg(test)]
mod simulation;

use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{Holder, Ignore, LeaseError, LeasePool, LeasePoolAdmin, Observer, Request};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::config::AdaptiveConfig;
pub use self::event::AdaptiveEvent;
use self::event::Events;
pub use self::policy::{Aimd, Reason, Window};
pub use self::record::{Outcome, Recorder};
use self::resizer::Resizer;

/// A task that resizes a pool after each window of calls: one slot more if the resource coped, a tenth fewer if it
/// did not ([`Aimd`]).
///
/// Processes that share a pool share its resizer too: the one that holds a lease of a second pool acts, the others
/// stand in line. It judges by the calls of its own process, so run it in those that make the calls. A pool that
/// cannot renew its leases does as well: leadership is then given back and asked for anew at the end of each lease.
///
/// A window that has more throttled calls than a clean one may have ends at once, and one is never shorter than the
/// calls take on average. After a shrinking nothing is decided until no more leases are held than the limit allows,
/// and calls that began before it are not counted, so that one overload shrinks once. A limit that somebody else
/// sets is where the next window goes on from.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{num::NonZeroU32, sync::Arc, time::Duration};
/// use sluicegate_core::{Holder, LeasePoolExt, LeasePool, MemoryPool, Request, Wait};
/// use sluicegate_governor::{AdaptiveConfig, AdaptiveLimit, Outcome};
/// use tokio::time::Instant;
///
/// let ttl = Duration::from_secs(10);
/// let pool = MemoryPool::new(NonZeroU32::new(8).unwrap(), ttl);
/// let leader = MemoryPool::new(NonZeroU32::MIN, ttl);
///
/// let config = AdaptiveConfig::new(NonZeroU32::MIN, NonZeroU32::new(64).unwrap());
/// let holder = Holder::try_new("host1")?;
/// let adaptive =
///     AdaptiveLimit::builder(config, Arc::new(pool.clone()), Arc::new(leader), holder.clone()).start()?;
///
/// let lease = pool.acquire(&Request::new(holder), &Wait::new()).await?.expect("waits without end");
/// let begin = Instant::now();
/// let outcome = match call().await {
///     200 => Outcome::Ok,
///     429 | 503 => Outcome::Throttled,
///     _ => Outcome::Failed,
/// };
/// adaptive.record(begin.elapsed(), outcome);
/// pool.release(&lease).await?;
///
/// adaptive.stop().await;
/// # Ok(())
/// # }
/// # async fn call() -> u16 { 200 }
/// ```
#[derive(Debug)]
pub struct AdaptiveLimit {
    recorder: Recorder,
    end: DropGuard,
    task: JoinHandle<()>,
}

impl AdaptiveLimit {
    /// Moves the limit of `pool` while a lease of `leader` is held as `holder`.
    ///
    /// Give it the handle through which the calls' permits are acquired: a line of waiters in front of it tells that
    /// the limit is what keeps the calls back. Without, only a pool that is (nearly) full does.
    pub fn builder(
        config: AdaptiveConfig,
        pool: Arc<dyn LeasePoolAdmin>,
        leader: Arc<dyn LeasePool>,
        holder: Holder,
    ) -> AdaptiveLimitBuilder {
        AdaptiveLimitBuilder { config, pool, leader, holder, observer: Arc::new(Ignore) }
    }

    /// Takes note of a call that ended now and took so long, as [`Recorder::record`] does.
    pub fn record(&self, latency: Duration, outcome: Outcome) {
        self.recorder.record(latency, outcome);
    }

    /// For those that make the calls.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Ends the task and gives leadership back; the limit stays as it is. Dropping the value does the same in the
    /// background.
    ///
    /// # Cancel safety
    /// Safe: the task ends by itself.
    pub async fn stop(self) {
        drop(self.end);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the task that adapts the limit failed");
        }
    }
}

/// Makes an [`AdaptiveLimit`].
#[derive(Debug)]
#[must_use]
pub struct AdaptiveLimitBuilder {
    config: AdaptiveConfig,
    pool: Arc<dyn LeasePoolAdmin>,
    leader: Arc<dyn LeasePool>,
    holder: Holder,
    observer: Arc<dyn Observer<AdaptiveEvent>>,
}

impl AdaptiveLimitBuilder {
    /// Who is told what happens. Default: nobody.
    pub fn observer(mut self, observer: impl Observer<AdaptiveEvent>) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Starts the task. Needs a tokio runtime.
    ///
    /// # Errors
    /// `Invalid` for the configuration.
    pub fn start(self) -> Result<AdaptiveLimit, LeaseError> {
        self.config.validate()?;
        let recorder = Recorder::new(Arc::clone(&self.pool), self.config.slow);
        let end = CancellationToken::new();
        let resizer = Resizer {
            policy: Aimd::new(self.config.clone()),
            config: self.config,
            pool: self.pool,
            leader: self.leader,
            request: Request::new(self.holder),
            recorder: recorder.clone(),
            end: end.clone(),
            events: Events(self.observer),
        };
        let task = tokio::spawn(resizer.run());
        Ok(AdaptiveLimit { recorder, end: end.drop_guard(), task })
    }
}
