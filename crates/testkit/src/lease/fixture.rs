use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_core::LeasePoolAdmin;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::{Fault, Faulty, Switch};

/// Where a contract test gets its pool from: one fixture, one pool.
#[async_trait]
pub trait PoolFixture: fmt::Debug + Send + Sync + 'static {
    /// Makes the pool, new and empty, and gives the first handle on it.
    async fn create(&self, limit: NonZeroU32, ttl: Duration) -> Arc<dyn LeasePoolAdmin>;

    /// Another process's handle on the pool that was created.
    async fn attach(&self) -> Arc<dyn LeasePoolAdmin>;

    /// Kills and restarts what keeps the pool, with its data. `false`: there is nothing to restart.
    async fn restart(&self) -> bool;

    /// Whether the handles that [`attach`](Self::attach) gives hint each other without a poll. Default: they do.
    fn shares_hints(&self) -> bool {
        true
    }

    /// How late the pool may free an expired slot, beyond the round trips of the test. Default 1 s.
    fn expiry_grace(&self) -> Duration {
        Duration::from_secs(1)
    }
}

/// A fixture whose handles have a [`Fault`] in front of them.
#[derive(Debug)]
pub struct Faulted<F> {
    fixture: F,
    fault: Fault,
    _flicker: Option<AbortOnDropHandle<()>>,
}

impl<F: PoolFixture> Faulted<F> {
    /// Each call takes 3 ms longer.
    pub fn slow(fixture: F) -> Self {
        Self { fixture, fault: Fault::Slow(Duration::from_millis(3)), _flicker: None }
    }

    /// Every third call of a handle fails.
    pub fn flaky(fixture: F) -> Self {
        let third = NonZeroU32::MIN.saturating_add(2);
        Self { fixture, fault: Fault::Flaky(third), _flicker: None }
    }

    /// The pool cannot be reached for 30 ms out of every 100 ms. Needs a tokio runtime.
    pub fn cut_off(fixture: F) -> Self {
        let switch = Switch::new();
        let fault = Fault::CutOff(switch.clone());
        let flicker = tokio::spawn(async move {
            loop {
                switch.cut();
                sleep(Duration::from_millis(30)).await;
                switch.connect();
                sleep(Duration::from_millis(70)).await;
            }
        });
        Self { fixture, fault, _flicker: Some(AbortOnDropHandle::new(flicker)) }
    }
}

#[async_trait]
impl<F: PoolFixture> PoolFixture for Faulted<F> {
    async fn create(&self, limit: NonZeroU32, ttl: Duration) -> Arc<dyn LeasePoolAdmin> {
        Arc::new(Faulty::new(self.fixture.create(limit, ttl).await, self.fault.clone()))
    }

    async fn attach(&self) -> Arc<dyn LeasePoolAdmin> {
        Arc::new(Faulty::new(self.fixture.attach().await, self.fault.clone()))
    }

    async fn restart(&self) -> bool {
        self.fixture.restart().await
    }

    fn shares_hints(&self) -> bool {
        self.fixture.shares_hints()
    }

    fn expiry_grace(&self) -> Duration {
        self.fixture.expiry_grace()
    }
}
