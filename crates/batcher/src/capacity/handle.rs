use std::num::NonZeroU32;
use std::sync::Arc;

use sluicegate_core::{LeaseError, LeasePoolAdmin};
use tokio::time::Instant;

use super::Rate;
use super::terms::Inner;
use crate::ConfigError;

/// Changes a [`SharedCapacity`](crate::SharedCapacity) while its batcher runs. Leases that are held stay held.
#[derive(Clone, Debug)]
pub struct SharedCapacityHandle {
    inner: Arc<Inner>,
}

impl SharedCapacityHandle {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// What this process may always spend, in units per second, from now on. More of it brings nothing for the time
    /// before.
    pub fn set_reserved(&self, units: u64) {
        self.inner.change(|terms| terms.reserved = units, Instant::now());
    }

    /// Gives the pool another number of leases, for all processes that share it. The others notice within a time to
    /// live. Nobody is evicted: after a lowering, processes come down to their share by what they offer and release.
    ///
    /// # Errors
    /// `Invalid` for more leases than [`max_partitions`](crate::SharedCapacityBuilder::max_partitions), and those of
    /// [`LeasePoolAdmin::resize`].
    ///
    /// # Cancel safety
    /// The pool may or may not have the new size; this process notices within a time to live.
    pub async fn resize(
        &self,
        pool: &(impl LeasePoolAdmin + ?Sized),
        leases: NonZeroU32,
    ) -> Result<(), LeaseError> {
        if leases > self.inner.max_partitions {
            return Err(ConfigError::new("max-partitions", TOO_MANY).into());
        }
        pool.resize(leases).await?;
        self.inner.change(|terms| terms.leases = leases, Instant::now());
        Ok(())
    }

    /// Units per second that are this process's own.
    pub fn reserved(&self) -> Rate {
        Rate::per_second(self.inner.terms.borrow().reserved)
    }

    /// How many leases the pool has, as far as known.
    pub fn leases(&self) -> NonZeroU32 {
        self.inner.terms.borrow().leases
    }

    /// The most that this process can ever have, in units per second.
    pub fn max(&self) -> Rate {
        self.inner.max()
    }
}

pub(super) const TOO_MANY: &str =
    "the pool has more leases than that: raise it, or use fewer leases that are worth more each";
