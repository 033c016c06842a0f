use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_core::{Holder, Ignore, LeasePool, Observer, Request, Wait};
use tokio::runtime::Handle as Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cohort::{Cohort, Heirs};
use super::{Governor, Inner};
use crate::event::{Emitter, GovernorEvent};

/// Settings of a [`Governor`]; the defaults are right for nearly everybody.
#[derive(Clone)]
#[must_use = "call `build`"]
pub struct GovernorBuilder {
    pool: Arc<dyn LeasePool>,
    holder: Holder,
    wait: Wait,
    queue_limit: usize,
    margin: Option<Duration>,
    keep: bool,
    renew: bool,
    strict_epoch: bool,
    cohort: Option<Cohort>,
    observer: Arc<dyn Observer<GovernorEvent>>,
}

impl GovernorBuilder {
    pub(super) fn new(pool: Arc<dyn LeasePool>, holder: Holder) -> Self {
        Self {
            pool,
            holder,
            wait: Wait::new(),
            queue_limit: 10_000,
            margin: None,
            keep: false,
            renew: true,
            strict_epoch: false,
            cohort: None,
            observer: Arc::new(Ignore),
        }
    }

    /// Longest wait for a permit. Default: none.
    pub fn max_wait(mut self, time: Duration) -> Self {
        self.wait = self.wait.at_most(time);
        self
    }

    /// How many callers may wait; one more is refused with `Overloaded`. Default 10,000.
    pub fn queue_limit(mut self, callers: usize) -> Self {
        self.queue_limit = callers;
        self
    }

    /// Longest time between two attempts when no hint arrives. Default 250 ms, ± 25 %.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.wait = self.wait.poll_interval(interval);
        self
    }

    /// The same while hints are known to arrive. Default 2 s, ± 25 %.
    pub fn poll_when_hinted(mut self, interval: Duration) -> Self {
        self.wait = self.wait.poll_when_hinted(interval);
        self
    }

    /// Lets the interval double from the first wait on, up to `longest`. Default: it does not.
    pub fn poll_backoff(mut self, longest: Duration) -> Self {
        self.wait = self.wait.poll_backoff(longest);
        self
    }

    /// How long transient errors are borne with. Default 15 s, which outlasts an election.
    pub fn patience(mut self, time: Duration) -> Self {
        self.wait = self.wait.patience(time);
        self
    }

    /// How long before the end of its lease a permit is lost: the time that the work needs to stop, and at least the
    /// difference between the clocks of the cluster's servers. At most a quarter of the time to live. Default: a
    /// twentieth of it, at least 100 ms and at most 5 s.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = Some(margin);
        self
    }

    /// Slots are not given back at the end of the work but return with the time to live: so many jobs a period.
    /// Default: false.
    pub fn keep_on_finish(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// Whether leases are renewed while a permit is out, where the pool can. Default: true.
    pub fn renew(mut self, renew: bool) -> Self {
        self.renew = renew;
        self
    }

    /// Refuses leases of a pool that was made anew and counts from the beginning, which a resource that compares
    /// tokens alone would take for old ones. Default: false, as [`Fence`](super::Fence) orders them.
    pub fn strict_epoch(mut self, strict: bool) -> Self {
        self.strict_epoch = strict;
        self
    }

    /// Lets a released lease go to the next waiter of this governor, within bounds. Default: it does not.
    pub fn cohort(mut self, cohort: Cohort) -> Self {
        self.cohort = Some(cohort);
        self
    }

    /// Who is told what happens. Default: nobody.
    pub fn observer(mut self, observer: impl Observer<GovernorEvent>) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// The governor. Its background tasks run in the runtime of the caller.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build(self) -> Governor {
        let closing = CancellationToken::new();
        let label: Arc<str> = self.holder.to_string().into();
        Governor(Arc::new(Inner {
            pool: self.pool,
            request: Request::new(self.holder),
            wait: self.wait.cancelled_by(closing.clone()),
            queue_limit: self.queue_limit,
            margin: self.margin,
            keep: self.keep,
            renew: self.renew,
            strict_epoch: self.strict_epoch,
            // A kept slot is of no use to anybody else.
            cohort: self.cohort.filter(|_| !self.keep),
            heirs: Heirs::default(),
            newest: Mutex::default(),
            runtime: Runtime::current(),
            closing,
            ended: CancellationToken::new(),
            permits: TaskTracker::new(),
            tasks: TaskTracker::new(),
            released: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            emitter: Emitter::new(label, self.observer),
        }))
    }
}

impl fmt::Debug for GovernorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GovernorBuilder")
            .field("pool", &self.pool)
            .field("holder", &self.holder)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}
