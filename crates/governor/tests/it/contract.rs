//! The contract of `LeasePool` on both wires, on the oldest and the newest server of each.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_core::LeasePoolAdmin;
use sluicegate_governor::{CampaignPool, NativePool};
use sluicegate_testkit::lease::PoolFixture;
use sluicegate_testkit::server::NatsServer;
use tokio::sync::OnceCell;

use crate::support::{config, connection, unique};

#[derive(Clone, Copy, Debug)]
enum Wire {
    Campaign,
    Native,
}

/// A governor on a server of its own, because the suite restarts it.
struct OnServer {
    wire: Wire,
    version: &'static str,
    name: String,
    server: OnceCell<NatsServer>,
    made: OnceLock<()>,
}

impl OnServer {
    fn new(wire: Wire, version: &'static str) -> Self {
        Self { wire, version, name: unique("contract"), server: OnceCell::new(), made: OnceLock::new() }
    }

    async fn server(&self) -> &NatsServer {
        let start = || async {
            NatsServer::builder().version(self.version).start().await.expect("the server starts")
        };
        self.server.get_or_init(start).await
    }
}

impl fmt::Debug for OnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} on {}", self.wire, self.name, self.version)
    }
}

#[async_trait]
impl PoolFixture for OnServer {
    async fn create(&self, limit: NonZeroU32, ttl: Duration) -> Arc<dyn LeasePoolAdmin> {
        self.made.set(()).expect("one fixture, one pool");
        let connection = connection(&self.server().await.url()).await;
        let config = config(&self.name, limit.get(), ttl);
        match self.wire {
            Wire::Campaign => Arc::new(CampaignPool::create(&connection, &config).await.expect("created")),
            Wire::Native => Arc::new(NativePool::create(&connection, &config).await.expect("created")),
        }
    }

    async fn attach(&self) -> Arc<dyn LeasePoolAdmin> {
        let connection = connection(&self.server().await.url()).await;
        match self.wire {
            Wire::Campaign => Arc::new(CampaignPool::bind(&connection, &self.name).await.expect("bound")),
            Wire::Native => Arc::new(NativePool::bind(&connection, &self.name).await.expect("bound")),
        }
    }

    async fn restart(&self) -> bool {
        let server = self.server().await;
        server.kill().await.expect("killed");
        server.restart().await.expect("restarted");
        true
    }
}

sluicegate_testkit::lease_contract!(
    campaign_2_15,
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
    OnServer::new(Wire::Campaign, "2.15.1")
);
sluicegate_testkit::lease_contract!(
    campaign_2_10,
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
    OnServer::new(Wire::Campaign, "2.10.26")
);
sluicegate_testkit::lease_contract!(
    native_2_15,
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
    OnServer::new(Wire::Native, "2.15.1")
);
sluicegate_testkit::lease_contract!(
    native_2_11,
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
    OnServer::new(Wire::Native, "2.11.11")
);
