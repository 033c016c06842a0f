//! The contract of `LeasePool` for campaigns on three replicas.

use std::num::{NonZeroU8, NonZeroU32};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sluicegate_core::{LeaseError, LeasePoolAdmin};
use sluicegate_governor::CampaignPool;
use sluicegate_nats::Connection;
use sluicegate_testkit::lease::PoolFixture;
use sluicegate_testkit::server::Cluster;
use tokio::sync::OnceCell;

use crate::support::{config, connection, info, soon, unique};

const THREE: NonZeroU8 = NonZeroU8::new(3).unwrap();

/// Shared, as none of these tests disturbs it.
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// A governor with three replicas, and handles that are connected to different nodes.
#[derive(Debug)]
struct Replicated {
    name: String,
    attached: AtomicUsize,
}

impl Replicated {
    fn new() -> Self {
        Self { name: unique("replicated"), attached: AtomicUsize::new(0) }
    }

    async fn connection(&self) -> Connection {
        let cluster = CLUSTER.get_or_init(|| async { Cluster::start(3).await.expect("a cluster") }).await;
        let nodes = cluster.nodes();
        let node = &nodes[self.attached.fetch_add(1, Ordering::Relaxed) % nodes.len()];
        connection(&node.url()).await
    }
}

/// Nobody answers for a stream that has no leader, which is so for a moment after it was made.
async fn patiently<T, F>(call: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, LeaseError>>,
{
    soon(async {
        loop {
            match call().await {
                Err(error) if error.is_transient() || error.is_unknown() => {}
                other => return other.expect("made, or found"),
            }
        }
    })
    .await
}

#[async_trait]
impl PoolFixture for Replicated {
    async fn create(&self, limit: NonZeroU32, ttl: Duration) -> Arc<dyn LeasePoolAdmin> {
        let connection = self.connection().await;
        let config = config(&self.name, limit.get(), ttl).replicas(THREE);
        let pool = patiently(|| CampaignPool::create(&connection, &config)).await;
        let stream = info(&connection, pool.stream()).await;
        assert_eq!(stream["config"]["num_replicas"], json!(3), "{stream}");
        Arc::new(pool)
    }

    async fn attach(&self) -> Arc<dyn LeasePoolAdmin> {
        let connection = self.connection().await;
        Arc::new(patiently(|| CampaignPool::bind(&connection, &self.name)).await)
    }

    /// Leaders are killed elsewhere.
    async fn restart(&self) -> bool {
        false
    }
}

sluicegate_testkit::lease_contract!(
    @clauses campaign_r3,
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)],
    Replicated::new()
);
