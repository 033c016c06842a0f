//! The contract of `LeasePool` on both wires and all supported servers: behind each fault on the oldest and the newest
//! of each wire, plain on those in between.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_core::LeasePoolAdmin;
use sluicegate_governor::{CampaignPool, NativePool, PoolOptions};
use sluicegate_testkit::lease::{Faulted, PoolFixture, suite};
use sluicegate_testkit::server::NatsServer;
use tokio::sync::OnceCell;

use crate::support::{config, connection, server, unique};

#[derive(Clone, Copy, Debug)]
enum Wire {
    Campaign,
    Native,
    /// With tickets.
    InOrder,
}

/// Each shared by the tests that do not restart it.
static NEWEST: Server = Server::new("2.15.1");
static LAST_OF_2_12: Server = Server::new("2.12.8");
static LAST_OF_2_11: Server = Server::new("2.11.11");
static OLDEST: Server = Server::new("2.10.26");

#[derive(Debug)]
struct Server {
    version: &'static str,
    started: OnceCell<NatsServer>,
}

impl Server {
    const fn new(version: &'static str) -> Self {
        Self { version, started: OnceCell::const_new() }
    }

    async fn get(&self) -> &NatsServer {
        self.started.get_or_init(|| server(self.version)).await
    }
}

/// A governor on a shared server, or on one of its own that the suite may restart.
struct OnServer {
    wire: Wire,
    name: String,
    shared: &'static Server,
    own: Option<Server>,
    made: OnceLock<()>,
}

impl OnServer {
    fn new(wire: Wire, shared: &'static Server) -> Self {
        Self { wire, name: unique("contract"), shared, own: None, made: OnceLock::new() }
    }

    fn alone(wire: Wire, like: &'static Server) -> Self {
        Self { own: Some(Server::new(like.version)), ..Self::new(wire, like) }
    }

    async fn server(&self) -> &NatsServer {
        self.own.as_ref().unwrap_or(self.shared).get().await
    }
}

impl fmt::Debug for OnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} on {}", self.wire, self.name, self.shared.version)
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
            Wire::InOrder => {
                let options = PoolOptions::default().tickets(true);
                let pool = NativePool::create_with(&connection, &config, options).await;
                Arc::new(pool.expect("created"))
            }
        }
    }

    async fn attach(&self) -> Arc<dyn LeasePoolAdmin> {
        let connection = connection(&self.server().await.url()).await;
        match self.wire {
            Wire::Campaign => Arc::new(CampaignPool::bind(&connection, &self.name).await.expect("bound")),
            Wire::Native => Arc::new(NativePool::bind(&connection, &self.name).await.expect("bound")),
            Wire::InOrder => {
                let options = PoolOptions::default().tickets(true);
                Arc::new(NativePool::bind_with(&connection, &self.name, options).await.expect("bound"))
            }
        }
    }

    async fn restart(&self) -> bool {
        let Some(server) = &self.own else { return false };
        let server = server.get().await;
        server.kill().await.expect("killed");
        server.restart().await.expect("restarted");
        true
    }
}

sluicegate_testkit::lease_contract!(
    campaign_2_15,
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
    OnServer::new(Wire::Campaign, &NEWEST)
);
sluicegate_testkit::lease_contract!(
    campaign_2_10,
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
    OnServer::new(Wire::Campaign, &OLDEST)
);
mod campaign_2_11 {
    use super::*;

    sluicegate_testkit::lease_contract!(
        @clauses plain,
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
        OnServer::new(Wire::Campaign, &LAST_OF_2_11)
    );
}
mod campaign_2_12 {
    use super::*;

    sluicegate_testkit::lease_contract!(
        @clauses plain,
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
        OnServer::new(Wire::Campaign, &LAST_OF_2_12)
    );
}
sluicegate_testkit::lease_contract!(
    native_2_15,
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
    OnServer::new(Wire::Native, &NEWEST)
);
mod native_in_order {
    use super::*;

    sluicegate_testkit::lease_contract!(
        @clauses plain,
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
        OnServer::new(Wire::InOrder, &NEWEST)
    );
}
mod native_2_12 {
    use super::*;

    sluicegate_testkit::lease_contract!(
        @clauses plain,
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
        OnServer::new(Wire::Native, &LAST_OF_2_12)
    );
}
sluicegate_testkit::lease_contract!(
    native_2_11,
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
    OnServer::new(Wire::Native, &LAST_OF_2_11)
);

/// The clauses that restart the server, plain and behind each fault.
async fn over_a_restart(wire: Wire, like: &'static Server) {
    let alone = || OnServer::alone(wire, like);
    clauses_with_a_restart(alone).await;
    clauses_with_a_restart(|| Faulted::slow(alone())).await;
    clauses_with_a_restart(|| Faulted::flaky(alone())).await;
    clauses_with_a_restart(|| Faulted::cut_off(alone())).await;
}

async fn clauses_with_a_restart<F: PoolFixture>(fixture: impl Fn() -> F) {
    suite::clause_05_tokens_strictly_increase(&fixture()).await;
    suite::clause_06_ids_are_never_reused(&fixture()).await;
}

#[tokio::test]
async fn campaigns_over_a_restart() {
    over_a_restart(Wire::Campaign, &NEWEST).await;
    over_a_restart(Wire::Campaign, &OLDEST).await;
    for between in [&LAST_OF_2_11, &LAST_OF_2_12] {
        clauses_with_a_restart(|| OnServer::alone(Wire::Campaign, between)).await;
    }
}

#[tokio::test]
async fn native_leases_over_a_restart() {
    over_a_restart(Wire::Native, &NEWEST).await;
    over_a_restart(Wire::Native, &LAST_OF_2_11).await;
}
