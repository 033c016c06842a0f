//! Where the story takes place: in memory, or on a NATS server.

mod memory;
#[cfg(feature = "demo")]
mod nats;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sluicegate_autoscaler::LoadSource;
use sluicegate_core::LeasePool;
use sluicegate_streaming_client::Client;

pub(crate) use self::memory::MemoryWorld;
#[cfg(feature = "demo")]
pub(crate) use self::nats::NatsWorld;
use super::store::Store;
use crate::error::CliError;

/// Slots of the payment service.
pub(crate) const PAYMENT_SLOTS: u32 = 3;
/// Leases that the shared rate is cut into.
pub(crate) const CAPACITY_LEASES: u32 = 20;
/// What each of them is worth, in units a second.
pub(crate) const LEASE_UNITS: u32 = 100;

/// A place with everything the story needs, made for it alone.
#[async_trait]
pub(crate) trait World: fmt::Debug + Send + Sync {
    /// What it is, in a sentence.
    fn title(&self) -> String;

    /// The client that publishes, and that workers subscribe with.
    fn client(&self) -> &Client;

    /// What the autoscaler looks at.
    fn load(&self) -> Arc<dyn LoadSource>;

    /// The governor in front of the payment service.
    fn payment_slots(&self) -> Arc<dyn LeasePool>;

    /// A writer's handle on the pool of capacity, as its own process would have one.
    async fn capacity(&self) -> Result<Arc<dyn LeasePool>, CliError>;

    /// The store behind the writers.
    fn store(&self) -> &dyn Store;

    /// How many orders the stream has stored, as it says itself.
    async fn stored(&self) -> Result<u64, CliError>;

    /// Whether the workers' consumer is still there.
    async fn has_consumer(&self) -> Result<bool, CliError>;

    /// Removes what was made, or tells where it is.
    async fn leave(&self, keep: bool) -> Result<Option<String>, CliError>;
}
