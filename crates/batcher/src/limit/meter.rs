use std::time::Duration;

use tokio::time::Instant;

use super::Bucket;
use crate::{Grant, Rate};

/// The bucket under a grant: evaluates the grant at the moment of taking, so that a lease that has run out meanwhile
/// earns nothing, whoever was too late to notice.
#[derive(Debug)]
pub(crate) struct Meter {
    bucket: Bucket,
    grant: Grant,
    now: Instant,
    /// When the rate changes next by itself.
    edge: Option<Instant>,
    /// Never more than that, whatever is granted.
    ceiling: Option<Rate>,
    /// There is a capacity behind it.
    granted: bool,
}

impl Meter {
    /// Full as far as the rate is reserved, empty as far as it is leased.
    pub(crate) fn new(grant: Grant, slice: Duration, now: Instant) -> Self {
        let mut bucket = Bucket::full(grant.reserved(), slice, now);
        bucket.set_rate(grant.rate_at(now), now);
        let edge = grant.next_edge(now);
        Self { bucket, grant, now, edge, ceiling: None, granted: true }
    }

    /// Where nothing is granted, and only the ceiling limits.
    pub(crate) fn unlimited(slice: Duration, ceiling: Option<Rate>, now: Instant) -> Self {
        let grant = Grant::reserved_only(Rate::per_second(u64::MAX));
        let rate = ceiling.unwrap_or(grant.reserved());
        Self { bucket: Bucket::empty(rate, slice, now), grant, now, edge: None, ceiling, granted: false }
    }

    pub(crate) fn is_granted(&self) -> bool {
        self.granted
    }

    /// From now on never more than that; what was earned before is kept, as far as the new rate allows to save it.
    pub(crate) fn set_ceiling(&mut self, ceiling: Option<Rate>, now: Instant) {
        self.advance(now);
        self.ceiling = ceiling;
        self.bucket.set_rate(self.rate_at(self.now), self.now);
    }

    fn rate_at(&self, at: Instant) -> Rate {
        let granted = self.grant.rate_at(at);
        self.ceiling.map_or(granted, |ceiling| granted.min(ceiling))
    }

    /// From now on that grant holds. It also says what was earned since the last call: a renewal has kept the lease
    /// through that time, and a lease that is gone earns nothing for it.
    pub(crate) fn set_grant(&mut self, grant: Grant) {
        self.edge = grant.next_edge(self.now);
        self.grant = grant;
        self.bucket.set_rate(self.rate_at(self.now), self.now);
    }

    pub(crate) fn advance(&mut self, now: Instant) {
        while let Some(edge) = self.edge.filter(|edge| *edge <= now) {
            self.bucket.set_rate(self.rate_at(edge), edge);
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
