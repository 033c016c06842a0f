//! Waiting for permits, keeping them, and giving them back.

mod builder;
mod close;
mod cohort;
mod error;
mod grant;
mod held;
mod permit;
mod tenure;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluicegate_core::{Holder, Lease, LeaseErrorKind, LeasePool, LeasePoolExt, Request, Wait};
use tokio::runtime::Handle as Runtime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::builder::GovernorBuilder;
pub use self::close::CloseReport;
pub use self::cohort::Cohort;
use self::cohort::Heirs;
pub use self::error::{GovernorError, GovernorErrorKind, ReleaseError, RunError};
pub use self::grant::{Fence, Grant};
use self::held::Held;
pub use self::permit::{Permit, Released};
use self::tenure::Tenure;
use crate::event::{Emitter, GovernorEvent};

/// Hands out permits of a [`LeasePool`]: first come, first served in this process, told of their loss in time, given
/// back when they are dropped.
///
/// A value is a handle; clones share it, and any number of callers may acquire at the same time. It knows nothing of
/// NATS: over a [`MemoryPool`](sluicegate_core::MemoryPool) it runs without a server.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{num::NonZeroU32, time::Duration};
/// use sluicegate_core::{Holder, MemoryPool};
/// use sluicegate_governor::Governor;
///
/// let pool = MemoryPool::new(NonZeroU32::MIN, Duration::from_secs(60));
/// let governor = Governor::builder(pool, Holder::try_new("worker@web03")?).build();
///
/// let permit = governor.acquire().await?;
/// println!("write with token {}", permit.token());
/// permit.release().await?;
///
/// let out = governor.run(|grant| async move { grant.token() }).await?;
/// # let _ = out;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Governor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Arc<dyn LeasePool>,
    request: Request,
    wait: Wait,
    queue_limit: usize,
    margin: Option<Duration>,
    keep: bool,
    renew: bool,
    strict_epoch: bool,
    cohort: Option<Cohort>,
    heirs: Heirs,
    /// The largest epoch and token that were granted.
    newest: Mutex<(u64, u64)>,
    runtime: Runtime,
    /// No more permits.
    closing: CancellationToken,
    /// Those who still hold one have to stop.
    ended: CancellationToken,
    /// Permits that are out.
    permits: TaskTracker,
    /// Releases and renewals in the background.
    tasks: TaskTracker,
    released: AtomicU64,
    kept: AtomicU64,
    emitter: Emitter,
}

impl Governor {
    /// A governor over that pool, whose permits are held in the name of `holder`.
    pub fn builder(pool: impl LeasePool, holder: Holder) -> GovernorBuilder {
        GovernorBuilder::new(Arc::new(pool), holder)
    }

    /// Waits for a permit, for as long as [`max_wait`](GovernorBuilder::max_wait) says.
    ///
    /// # Errors
    /// `Timeout`, `Overloaded`, `Closed`; `Pool` with what the pool says: transient errors only after its patience.
    ///
    /// # Cancel safety
    /// Safe: a dropped call leaves the line, and no slot behind. One that is kept without being polled holds up those
    /// who stand behind it.
    pub async fn acquire(&self) -> Result<Permit, GovernorError> {
        self.wait_for(&self.0.request).await
    }

    /// As [`acquire`](Self::acquire), in the name of somebody else: the one job that it is for.
    ///
    /// # Errors
    /// As `acquire`; `Pool(Invalid)` on a governor with [`cohort`](GovernorBuilder::cohort)s, whose permits go from
    /// one job to the next.
    ///
    /// # Cancel safety
    /// As `acquire`.
    pub async fn acquire_as(&self, holder: Holder) -> Result<Permit, GovernorError> {
        if self.0.cohort.is_some() {
            let kind = GovernorErrorKind::Pool(LeaseErrorKind::Invalid);
            return Err(GovernorError::new(kind, "a governor with cohorts has one holder: use `acquire`"));
        }
        self.wait_for(&Request::new(holder)).await
    }

    /// One attempt. `None`: all slots are taken.
    ///
    /// # Errors
    /// `Closed`, and `Pool` with what the pool says.
    ///
    /// # Cancel safety
    /// As `acquire`.
    pub async fn try_acquire(&self) -> Result<Option<Permit>, GovernorError> {
        self.open()?;
        let began = Instant::now();
        match self.0.pool.try_acquire(&self.0.request).await? {
            Some(lease) => self.grant(lease, began).map(Some),
            None => Ok(None),
        }
    }

    /// Does the work with a permit: waits for one, drops the work when the permit is lost, gives it back at the end.
    ///
    /// # Errors
    /// `Acquire`, or `Lost`: then the work was dropped where it stood.
    ///
    /// # Cancel safety
    /// A dropped call drops the work, and gives the permit back in the background.
    pub async fn run<T, F>(&self, work: impl FnOnce(Grant) -> F) -> Result<T, RunError>
    where
        F: Future<Output = T>,
    {
        let permit = self.acquire().await?;
        let grant = Grant::clone(&permit);
        let done = tokio::select! {
            biased;
            cause = permit.lost() => Err(RunError::Lost(cause)),
            done = work(grant) => Ok(done),
        };
        // What cannot be released now goes on in the background: the work's outcome stands.
        drop(permit.release().await);
        done
    }

    /// The pool below.
    pub fn pool(&self) -> &Arc<dyn LeasePool> {
        &self.0.pool
    }

    fn open(&self) -> Result<(), GovernorError> {
        if self.0.closing.is_cancelled() {
            return Err(GovernorError::new(GovernorErrorKind::Closed, "the governor was closed"));
        }
        Ok(())
    }

    async fn wait_for(&self, request: &Request) -> Result<Permit, GovernorError> {
        self.open()?;
        let inner = &self.0;
        let line = inner.pool.line();
        let ahead = line.len();
        if ahead >= inner.queue_limit {
            let context = format!("{ahead} wait already, which is the limit");
            return Err(GovernorError::new(GovernorErrorKind::Overloaded, context));
        }
        let began = Instant::now();
        if !line.is_open() {
            inner.emitter.emit(&GovernorEvent::Waiting { ahead });
        }
        let acquire = inner.pool.acquire(request, &inner.wait);
        let acquired = match &inner.cohort {
            None => acquire.await,
            Some(_) => {
                let inherited = inner.heirs.enter();
                tokio::select! {
                    biased;
                    (held, tenure) = inherited => return Ok(self.permit(held, tenure, began)),
                    acquired = acquire => acquired,
                }
            }
        };
        match acquired {
            Ok(Some(lease)) => self.grant(lease, began),
            Ok(None) => {
                let context = format!("no slot became free in {:.1?}", began.elapsed());
                Err(GovernorError::new(GovernorErrorKind::Timeout, context))
            }
            Err(error) if error.kind() == LeaseErrorKind::Closed => {
                Err(GovernorError::new(GovernorErrorKind::Closed, "the governor was closed").because(error))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn grant(&self, lease: Lease, began: Instant) -> Result<Permit, GovernorError> {
        let id = lease.id();
        let seen = self.0.see(&lease);
        let tenure = Tenure::begin(&self.0, lease);
        let permit = self.permit(Held::new(&self.0, Arc::clone(&tenure)), tenure, began);
        match seen {
            // Dropped, and so given back.
            Err((epoch, token)) if self.0.strict_epoch => {
                let context = format!(
                    "the pool was made anew and counts from the beginning: lease {id} is not newer than \
                     token {token} of epoch {epoch}"
                );
                Err(GovernorError::new(GovernorErrorKind::Pool(LeaseErrorKind::Conflict), context))
            }
            _ => Ok(permit),
        }
    }

    fn permit(&self, held: Held, tenure: Arc<Tenure>, began: Instant) -> Permit {
        let (id, reuse) = (tenure.lease().id(), held.reuse());
        self.0.emitter.emit(&GovernorEvent::Granted { id, waited: began.elapsed(), reuse });
        Permit::new(Grant::new(Arc::clone(&self.0), tenure, reuse), held)
    }
}

impl Inner {
    /// Takes notice of a lease. Err: a resource that compares tokens alone takes it for older than that one of
    /// another epoch.
    fn see(&self, lease: &Lease) -> Result<(), (u64, u64)> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *newest;
        *newest = before.max((lease.epoch(), lease.token().0));
        if lease.epoch() != before.0 && lease.token().0 <= before.1 { Err(before) } else { Ok(()) }
    }
}
