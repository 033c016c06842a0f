use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_core::{HeldLease, HumanDuration, LeaseError, LeaseErrorKind, LeaseId, LeasePoolAdmin};

use super::NativePool;
use super::facts::validate_ttl;
use super::held::Found;
use crate::batch::all_entries;
use crate::capacity::set_limit;
use crate::wire::{StreamInfo, TTL};
use crate::{CapacityEdit, Force, LifecycleKind, lifecycle};

/// How often an eviction looks again because its lease was renewed in the meantime.
const RACES: usize = 10;

impl NativePool {
    /// Changes the capacity whose pool this is, in one write; and tells what its stream is then, if anything was
    /// written.
    pub(crate) async fn edit(
        &self,
        edit: &CapacityEdit,
        force: Force,
    ) -> Result<Option<StreamInfo>, LeaseError> {
        edit.validate()?;
        let pool = &self.0.pool;
        let change = pool.stream.try_change(|info, config| edit.apply(info, config, force));
        let (units, after) = change.await?;
        if let Some(ttl) = edit.ttl {
            pool.board.set_ttl(ttl, false);
        }
        if let Some(units) = units {
            pool.resized(units.leases()).await;
        }
        Ok(after)
    }
}

#[async_trait]
impl LeasePoolAdmin for NativePool {
    /// Of a capacity the total follows: a lease stays worth what it is.
    async fn resize(&self, limit: NonZeroU32) -> Result<(), LeaseError> {
        let pool = &self.0.pool;
        pool.stream.change(|config| set_limit(config, limit)).await?;
        pool.resized(limit).await;
        Ok(())
    }

    /// Holds for grants and renewals from now on, in this process at once and in others when they next look at the
    /// stream; a lease that is held lasts as long as it was promised. Whole seconds.
    async fn set_ttl(&self, ttl: Duration) -> Result<(), LeaseError> {
        crate::config::validate_ttl(ttl)?;
        validate_ttl(ttl)?;
        let pool = &self.0.pool;
        let text = HumanDuration(ttl).to_string();
        pool.stream.change(|config| config.set_metadata(TTL, &text)).await?;
        pool.board.set_ttl(ttl, false);
        Ok(())
    }

    async fn evict(&self, id: LeaseId) -> Result<Option<HeldLease>, LeaseError> {
        let pool = &self.0.pool;
        for _ in 0..RACES {
            let Some(Found { lease: held, subject }) = self.find(id).await? else { return Ok(None) };
            let within = pool.options.resolve_for;
            let evicted = if held.weight > NonZeroU32::MIN {
                pool.delete_matching(&all_entries(&subject), within).await?
            } else {
                pool.delete_message(held.token.0, true, within).await?
            };
            if evicted {
                pool.evicted(id, held.weight.get()).await;
                self.ring(held.weight.get()).await;
                lifecycle::announce(pool, LifecycleKind::Eviction, Some(id), &held.holder);
                return Ok(Some(held));
            }
        }
        let context = format!("lease {id} is renewed faster than it can be evicted");
        Err(LeaseError::new(LeaseErrorKind::Transient, context))
    }

    async fn reset(&self) -> Result<u64, LeaseError> {
        let pool = &self.0.pool;
        // Everything up to here is in the stream before the purge, and is gone after it.
        let last = pool.stream.info().await?.state.last_seq;
        let purged = pool.stream.purge().await?;
        pool.was_reset(last, purged).await;
        self.ring(u32::try_from(purged).unwrap_or(u32::MAX)).await;
        Ok(purged)
    }

    async fn delete(&self) -> Result<(), LeaseError> {
        let pool = &self.0.pool;
        pool.stream.delete().await?;
        pool.was_deleted().await;
        if let Some(tickets) = &self.0.tickets {
            tickets.delete().await;
        }
        Ok(())
    }
}
