use std::time::Duration;

use tokio::time::Instant;

use super::Bucket;
use crate::Grant;

/// The bucket under a grant: evaluates the grant at the moment of taking, so that a lease that has run out meanwhile
/// earns nothing, whoever was too late to notice.
#[derive(Debug)]
pub(crate) struct Meter {
    bucket: Bucket,
    grant: Grant,
    now: Instant,
    /// When the rate changes next by itself.
    edge: Option<Instant>,
}

impl Meter {
    /// Full as far as the rate is reserved, empty as far as it is leased.
    pub(crate) fn new(grant: Grant, slice: Duration, now: Instant) -> Self {
        let mut bucket = Bucket::full(grant.reserved(), slice, now);
        bucket.set_rate(grant.rate_at(now), now);
        let edge = grant.next_edge(now);
        Self { bucket, grant, now, edge }
    }

    /// From now on that grant holds. It also says what was earned since the last call: a renewal has kept the lease
    /// through that time, and a lease that is gone earns nothing for it.
    pub(crate) fn set_grant(&mut self, grant: Grant) {
        self.bucket.set_rate(grant.rate_at(self.now), self.now);
        self.edge = grant.next_edge(self.now);
        self.grant = grant;
    }

    pub(crate) fn advance(&mut self, now: Instant) {
        while let Some(edge) = self.edge.filter(|edge| *edge <= now) {
            self.bucket.set_rate(self.grant.rate_at(edge), edge);
            self.edge = self.grant.next_edge(edge);
        }
        self.bucket.refill(now);
        self.now = self.now.max(now);
    }

    pub(crate) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// When the rate changes next by itself.
    pub(crate) fn edge(&self) -> Option<Instant> {
        self.edge
    }

    pub(crate) fn bucket(&mut self) -> &mut Bucket {
        &mut self.bucket
    }
}
