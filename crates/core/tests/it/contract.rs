use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_core::{LeasePoolAdmin, MemoryPool};
use sluicegate_testkit::lease::PoolFixture;

#[derive(Debug)]
pub(crate) struct Memory {
    pool: OnceLock<MemoryPool>,
    renewable: bool,
}

impl Memory {
    pub(crate) fn renewable() -> Self {
        Self { pool: OnceLock::new(), renewable: true }
    }

    fn expiring() -> Self {
        Self { pool: OnceLock::new(), renewable: false }
    }
}

#[async_trait]
impl PoolFixture for Memory {
    async fn create(&self, limit: NonZeroU32, ttl: Duration) -> Arc<dyn LeasePoolAdmin> {
        let make = || MemoryPool::builder(limit, ttl).renewable(self.renewable).build();
        Arc::new(self.pool.get_or_init(make).clone())
    }

    async fn attach(&self) -> Arc<dyn LeasePoolAdmin> {
        Arc::new(self.pool.get().expect("created before").handle())
    }

    async fn restart(&self) -> bool {
        false
    }

    fn expiry_grace(&self) -> Duration {
        Duration::ZERO
    }
}

sluicegate_testkit::lease_contract!(renewable, #[tokio::test(start_paused = true)], Memory::renewable());
sluicegate_testkit::lease_contract!(expiring, #[tokio::test(start_paused = true)], Memory::expiring());
