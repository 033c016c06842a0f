use std::sync::Arc;

use sluicegate_core::{FencingToken, Lease, LossCause};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::tenure::Tenure;

/// What the protected resource compares: it refuses a fence that is smaller than the largest it has seen.
///
/// A token alone orders the leases of one life of a pool, and those of pools that sluicegate has made also beyond
/// that. The epoch orders the lives of any pool, and `reuse` the jobs that had the same lease one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// Which life of the pool: the larger the later, 0 where the pool does not know.
    pub epoch: u64,
    /// The lease's token.
    pub token: FencingToken,
    /// How many permits of a [`Cohort`](super::Cohort) had the lease before.
    pub reuse: u32,
}

/// What a [`Permit`](super::Permit) grants, to be handed to the work: cheap to clone, and it does not keep the slot.
#[derive(Clone, Debug)]
pub struct Grant {
    tenure: Arc<Tenure>,
    inner: Arc<Inner>,
    reuse: u32,
}

impl Grant {
    pub(super) fn new(inner: Arc<Inner>, tenure: Arc<Tenure>, reuse: u32) -> Self {
        Self { tenure, inner, reuse }
    }

    /// The newest state of the lease.
    pub fn lease(&self) -> Lease {
        self.tenure.lease()
    }

    /// To be handed to the protected resource with every write. It grows when the lease is renewed.
    pub fn token(&self) -> FencingToken {
        self.lease().token()
    }

    /// Token and epoch in one, for a resource that is to be safe also over a pool that is deleted and made anew.
    pub fn fence(&self) -> Fence {
        let lease = self.lease();
        Fence { epoch: lease.epoch(), token: lease.token(), reuse: self.reuse }
    }

    /// When it is lost at the latest, unless it is renewed: the lease's end less the margin.
    pub fn deadline(&self) -> Instant {
        self.tenure.deadline()
    }

    /// Completes when the work has to stop: at the deadline, or as soon as it is known that the lease ended before.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn lost(&self) -> LossCause {
        self.tenure.lost().await
    }

    /// The same as a token. The first call starts a task that ends with the permit.
    pub fn lost_token(&self) -> CancellationToken {
        self.tenure.lost_token(&self.inner)
    }

    /// Why it is lost, if it is known to be: without waiting, for work that looks now and then.
    pub fn loss(&self) -> Option<LossCause> {
        self.tenure.loss()
    }
}
