use async_trait::async_trait;
use tokio::sync::watch;

use super::{Capacity, Driver, Grant, Rate};

/// A rate that is this process's own and never changes.
#[derive(Debug)]
pub struct Fixed {
    grant: watch::Sender<Grant>,
}

impl Fixed {
    /// That many units per second.
    pub fn per_second(units: u64) -> Self {
        Self { grant: watch::Sender::new(Grant::reserved_only(Rate::per_second(units))) }
    }
}

#[async_trait]
impl Capacity for Fixed {
    fn max(&self) -> Rate {
        self.grant.borrow().reserved()
    }

    fn current(&self) -> watch::Receiver<Grant> {
        self.grant.subscribe()
    }

    fn want(&self, _rate: Rate) {}

    async fn drive(&self, driver: Driver) {
        driver.stopped().await;
    }
}
