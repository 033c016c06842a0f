//! Who does the work: starting and stopping instances.

mod instance;
mod launched;
mod mind;
mod registry;
mod task;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_core::FencingToken;
use tokio::time::Instant;

pub use self::instance::{Exit, Instance, InstanceId, InstanceSpec, Launcher};
pub use self::launched::Launched;
pub use self::task::{InstanceContext, TaskLauncher, Tasks};
use crate::{Events, Reason, ScalerError};

/// What the provisioner is told: so many instances.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Order {
    /// The leader's token: a resource that can compare tokens refuses one smaller than it has seen. `None` without a
    /// leader pool.
    pub fence: Option<FencingToken>,
    /// So many instances.
    pub target: u32,
    /// Why.
    pub why: Reason,
}

impl Order {
    /// An order without a fence.
    pub fn new(target: u32, why: Reason) -> Self {
        Self { fence: None, target, why }
    }

    /// The same order under a leader's token.
    #[must_use]
    pub fn fenced(mut self, fence: Option<FencingToken>) -> Self {
        self.fence = fence;
        self
    }
}

/// Who is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fleet {
    /// Instances that work.
    pub ready: u32,
    /// When each instance that is not ready yet was ordered.
    pub starting: Vec<Instant>,
    /// Instances that finish what they have and take nothing new; not counted in n.
    pub draining: u32,
    /// Instances that ended unasked and wait for their replacement; not counted in n.
    pub failed: u32,
    /// How long the last starts took, from order to ready, newest last; empty if unknown.
    pub took: Vec<Duration>,
}

impl Fleet {
    /// A fleet of that many ready instances.
    pub fn new(ready: u32) -> Self {
        Self { ready, ..Self::default() }
    }

    /// n: instances that work or will.
    pub fn count(&self) -> u32 {
        self.ready.saturating_add(u32::try_from(self.starting.len()).unwrap_or(u32::MAX))
    }

    /// Nobody works, starts or drains.
    pub fn is_empty(&self) -> bool {
        self.count() == 0 && self.draining == 0
    }
}

/// Keeps as many instances as it was told: [`Tasks`], [`Launched`] over a launcher of your own, or an orchestrator
/// that only knows counts.
#[async_trait]
pub trait Provisioner: fmt::Debug + Send + Sync + 'static {
    /// Called once, when the scaler starts: where to tell of instances.
    fn attach(&self, _events: &Events) {}

    /// Who is there now.
    ///
    /// # Errors
    /// `Unavailable`, `NotPermitted`, `NotFound`: the scale is held.
    ///
    /// # Cancel safety
    /// Must be safe to drop.
    async fn fleet(&self) -> Result<Fleet, ScalerError>;

    /// Brings the fleet towards the order, and tells who is there then. Idempotent; waits neither until instances are
    /// ready nor until they are drained. Never called twice at once.
    ///
    /// # Errors
    /// `Provision`, `Conflict`, `Unavailable`, `NotPermitted`: the order is given again at the next look.
    ///
    /// # Cancel safety
    /// Must be safe to drop: the order is given again.
    async fn scale(&self, order: &Order) -> Result<Fleet, ScalerError>;

    /// Completes when an instance became ready, ended or failed: a hint that brings the next look forward.
    ///
    /// # Cancel safety
    /// Must be safe to drop and call again.
    async fn changed(&self);

    /// Whether the instances live and die with this process. Those do not outlive the scaler: they are drained when
    /// it ends, and when it stops being the leader.
    fn is_local(&self) -> bool;
}

#[async_trait]
impl<P: Provisioner + ?Sized> Provisioner for Arc<P> {
    fn attach(&self, events: &Events) {
        (**self).attach(events);
    }

    async fn fleet(&self) -> Result<Fleet, ScalerError> {
        (**self).fleet().await
    }

    async fn scale(&self, order: &Order) -> Result<Fleet, ScalerError> {
        (**self).scale(order).await
    }

    async fn changed(&self) {
        (**self).changed().await;
    }

    fn is_local(&self) -> bool {
        (**self).is_local()
    }
}
