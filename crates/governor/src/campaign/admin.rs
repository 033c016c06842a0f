use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_core::{FencingToken, HeldLease, Holder, LeaseError, LeaseId, LeasePoolAdmin};

use super::CampaignPool;
use crate::config::validate_ttl;
use crate::wire::GetMessage;
use crate::{LifecycleKind, lifecycle};

#[async_trait]
impl LeasePoolAdmin for CampaignPool {
    async fn resize(&self, limit: NonZeroU32) -> Result<(), LeaseError> {
        let pool = &self.0.pool;
        pool.stream.change(|config| config.set_limit(limit)).await?;
        pool.resized(limit).await;
        Ok(())
    }

    /// Applies to held leases too: the server drops those that are older than the new time to live.
    async fn set_ttl(&self, ttl: Duration) -> Result<(), LeaseError> {
        validate_ttl(ttl)?;
        let pool = &self.0.pool;
        let before = pool.board.ttl();
        if ttl < before {
            // Holders learn of it before the server acts on it.
            pool.board.set_ttl(ttl, true);
        }
        match pool.stream.change(|config| config.set_max_age(ttl)).await {
            Ok(_) => pool.board.set_ttl(ttl, true),
            Err(error) if error.is_unknown() => return Err(error),
            Err(error) => {
                pool.board.set_ttl(before, true);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn evict(&self, id: LeaseId) -> Result<Option<HeldLease>, LeaseError> {
        let pool = &self.0.pool;
        let info = pool.stream.info().await?;
        let Some(message) = pool.stream.get(GetMessage::Sequence { seq: id.0 }).await? else {
            return Ok(None);
        };
        if !pool.delete_message(id.0, true, pool.options.resolve_for).await? {
            return Ok(None);
        }
        pool.evicted(id, 1).await;
        let age = info.since(message.time).unwrap_or_default();
        let holder = Holder::from_wire(&message.data);
        lifecycle::announce(pool, LifecycleKind::Eviction, Some(id), &holder);
        Ok(Some(HeldLease::new(id, FencingToken(id.0), holder, age)))
    }

    async fn reset(&self) -> Result<u64, LeaseError> {
        let pool = &self.0.pool;
        // Everything up to here is in the stream before the purge, and is gone after it.
        let last = pool.stream.info().await?.state.last_seq;
        let purged = pool.stream.purge().await?;
        pool.was_reset(last, purged).await;
        Ok(purged)
    }

    async fn delete(&self) -> Result<(), LeaseError> {
        let pool = &self.0.pool;
        pool.stream.delete().await?;
        pool.was_deleted().await;
        Ok(())
    }
}
