use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_autoscaler::{Load, LoadSource, ScalerError, ScalerErrorKind};
use sluicegate_core::{LeasePool, MemoryPool};
use sluicegate_streaming_client::{
    Backend, Channel, Client, ClientId, DurableName, MemoryBroker, MemoryStats, Queue, Retention, Start,
    StreamError,
};
use tokio::sync::watch;

use super::{CAPACITY_LEASES, PAYMENT_SLOTS, World};
use crate::code::Code;
use crate::demo::shop::{CHANNEL, WORKERS};
use crate::demo::store::{MemoryStore, Store};
use crate::error::CliError;
use crate::failure;

const TTL: Duration = Duration::from_secs(10);

/// Everything in this process.
#[derive(Debug)]
pub(crate) struct MemoryWorld {
    client: Client,
    queue: MemoryQueue,
    slots: MemoryPool,
    capacity: MemoryPool,
    store: MemoryStore,
}

impl MemoryWorld {
    pub(crate) async fn create() -> Result<Self, CliError> {
        Self::make().await.map_err(|error| failure::stream("making the stream", &error))
    }

    async fn make() -> Result<Self, StreamError> {
        let broker = MemoryBroker::builder().retention(Retention::Interest).build();
        let channel = Channel::new(CHANNEL)?;
        broker.ensure_group(&channel, &DurableName::new(WORKERS)?, &Queue::new(WORKERS)?, Start::First)?;
        let backend = Backend::memory(broker.clone());
        let client = Client::builder("demo", ClientId::new("demo")?).backend(backend).connect().await?;
        let slots = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Ok(Self {
            client,
            queue: MemoryQueue { broker, channel },
            slots: MemoryPool::new(slots(PAYMENT_SLOTS), TTL),
            capacity: MemoryPool::new(slots(CAPACITY_LEASES), TTL),
            store: MemoryStore::default(),
        })
    }
}

/// The shared position of the workers, as the autoscaler looks at it.
#[derive(Clone)]
struct MemoryQueue {
    broker: MemoryBroker,
    channel: Channel,
}

impl fmt::Debug for MemoryQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQueue").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl MemoryQueue {
    fn stats(&self) -> Option<MemoryStats> {
        self.broker.stats(&self.channel, WORKERS)
    }

    fn look(&self) -> Option<Load> {
        let stats = self.stats()?;
        Some(Load::new(stats.pending, stats.ack_pending, stats.delivered))
    }
}

#[async_trait]
impl LoadSource for MemoryQueue {
    fn name(&self) -> &str {
        "orders.WORKERS"
    }

    async fn observe(&self) -> Result<Load, ScalerError> {
        self.look()
            .ok_or_else(|| ScalerError::new(ScalerErrorKind::NotFound, "the workers' position is gone"))
    }

    async fn wake(&self, mark: u64) {
        let mut changes: watch::Receiver<u64> = self.broker.changes();
        while self.look().is_none_or(|load| load.lag() <= mark) && changes.changed().await.is_ok() {}
    }

    fn wakes(&self) -> bool {
        true
    }
}

#[async_trait]
impl World for MemoryWorld {
    fn title(&self) -> String {
        "memory; nothing leaves this process".to_owned()
    }

    fn client(&self) -> &Client {
        &self.client
    }

    fn load(&self) -> Arc<dyn LoadSource> {
        Arc::new(self.queue.clone())
    }

    fn payment_slots(&self) -> Arc<dyn LeasePool> {
        Arc::new(self.slots.clone())
    }

    async fn capacity(&self) -> Result<Arc<dyn LeasePool>, CliError> {
        Ok(Arc::new(self.capacity.handle()))
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }

    async fn stored(&self) -> Result<u64, CliError> {
        let gone = || CliError::new(Code::NotFound, "the workers' position is gone");
        self.queue.stats().map(|stats| stats.last_sequence).ok_or_else(gone)
    }

    async fn has_consumer(&self) -> Result<bool, CliError> {
        Ok(self.queue.look().is_some())
    }

    async fn leave(&self, _keep: bool) -> Result<Option<String>, CliError> {
        Ok(None)
    }
}
