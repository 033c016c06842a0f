use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Holder, later};

/// Identifies a lease within its pool; never used twice, and never changed by a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// Grows with every grant and every renewal of a pool. The protected resource refuses a token smaller than the
/// largest it has seen: only that check turns a lease, which is advice, into exclusion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One life of a pool: a pool that was deleted and made anew, or lost its state, has another incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(String);

impl Incarnation {
    /// The incarnation of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is asked of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    holder: Holder,
    weight: NonZeroU32,
}

impl Request {
    /// One slot for that holder.
    pub fn new(holder: Holder) -> Self {
        Self { holder, weight: NonZeroU32::MIN }
    }

    /// That many slots at once, all or nothing. A pool without weights answers `Unsupported` to more than one.
    #[must_use]
    pub fn weight(mut self, weight: NonZeroU32) -> Self {
        self.weight = weight;
        self
    }

    /// Who asks.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// How many slots.
    pub fn slots(&self) -> NonZeroU32 {
        self.weight
    }
}

/// A slot held until its deadline.
///
/// A plain value: dropping it frees nothing. Release it with [`LeasePool::release`](crate::LeasePool::release), or
/// let it expire.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a lease that is not released holds its slot until it expires"]
pub struct Lease {
    id: LeaseId,
    token: FencingToken,
    holder: Holder,
    weight: NonZeroU32,
    epoch: u64,
    renewable: bool,
    deadline: Instant,
}

impl Lease {
    /// Part of the time to live that a holder may count on: clocks of holder and pool may drift apart by 0.1 %.
    const USABLE: f64 = 0.999;

    /// For pools: a lease granted or renewed by a request whose first byte left at `first_send`.
    ///
    /// The deadline is `first_send + 0.999 · ttl` on the caller's own monotonic clock: earlier than the pool's, as
    /// the pool starts to count when the request arrives.
    pub fn granted(
        id: LeaseId,
        token: FencingToken,
        request: &Request,
        first_send: Instant,
        ttl: Duration,
    ) -> Self {
        Self {
            id,
            token,
            holder: request.holder.clone(),
            weight: request.weight,
            epoch: 0,
            renewable: false,
            deadline: later(first_send, ttl.mul_f64(Self::USABLE)),
        }
    }

    /// For pools: the same lease after a confirmed renewal whose first byte left at `first_send`.
    pub fn renewed(&self, token: FencingToken, first_send: Instant, ttl: Duration) -> Self {
        Self { token, deadline: later(first_send, ttl.mul_f64(Self::USABLE)), ..self.clone() }
    }

    /// For pools: the lease is of that life of the pool.
    pub fn in_epoch(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }

    /// For pools: the lease can be renewed, or it cannot.
    pub fn with_renewal(mut self, renewable: bool) -> Self {
        self.renewable = renewable;
        self
    }

    /// Whether its pool can renew it.
    pub fn is_renewable(&self) -> bool {
        self.renewable
    }

    /// Which life of the pool it is of: a later life has a larger number. Zero: the pool does not know, or has no
    /// more than one.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Which lease; a renewal keeps it.
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// To be handed to the protected resource with every write.
    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// Who holds it.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// How many slots it takes.
    pub fn weight(&self) -> NonZeroU32 {
        self.weight
    }

    /// After this instant the pool may give the slot to somebody else. Subtract the time that stopping takes.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What remains until the deadline; zero afterwards.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// A lease as anybody sees it in the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldLease {
    /// Which lease.
    pub id: LeaseId,
    /// Its newest token.
    pub token: FencingToken,
    /// Who holds it, as written by the holder: hostile until escaped (`Display` does).
    pub holder: Holder,
    /// How many slots it takes.
    pub weight: NonZeroU32,
    /// Time since it was granted (or renewed, where the pool only knows that), by the pool's clock.
    pub age: Duration,
}

impl HeldLease {
    /// A held lease of weight one.
    pub fn new(id: LeaseId, token: FencingToken, holder: Holder, age: Duration) -> Self {
        Self { id, token, holder, weight: NonZeroU32::MIN, age }
    }

    /// The same with another weight.
    #[must_use]
    pub fn with_weight(mut self, weight: NonZeroU32) -> Self {
        self.weight = weight;
        self
    }
}

/// Why a lease ended before its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossCause {
    /// Somebody with authority ended this lease.
    Evicted,
    /// Somebody emptied the pool.
    Reset,
    /// The pool was deleted.
    Deleted,
    /// The pool was deleted and made anew, or lost its state.
    Recreated,
    /// The pool's time to live was lowered below the lease's age.
    TtlLowered,
    /// The deadline passed without a confirmed renewal.
    Expired,
    /// The pool refuses to renew it, for a reason that trying again does not change; it lasts until its deadline.
    RenewalRefused,
    /// It is no longer in the pool, and nobody said why.
    Gone,
    /// Who kept it for its holder was closed.
    Closed,
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evicted => "evicted",
            Self::Reset => "pool reset",
            Self::Deleted => "pool deleted",
            Self::Recreated => "pool made anew",
            Self::TtlLowered => "time to live lowered",
            Self::Expired => "deadline passed",
            Self::RenewalRefused => "renewal refused",
            Self::Gone => "no longer in the pool",
            Self::Closed => "closed",
        })
    }
}
