//! The loop: look, judge, decide, order.

mod act;
mod engine;
mod running;
mod settle;
mod wait;

use std::sync::Arc;

use sluicegate_core::{Holder, LeasePool};
use tokio_util::sync::CancellationToken;

use self::engine::Engine;
pub use self::running::{Phase, Report, Running, Status};
#[cfg(test)]
pub(crate) use self::settle::settle;
use crate::{AutoscalerBuilder, Config, Events, LoadSource, Policy, Provisioner};

/// Keeps the number of worker instances right for what a [`LoadSource`] shows.
#[derive(Debug)]
pub struct Autoscaler {
    pub(crate) parts: Parts,
    pub(crate) policy: Box<dyn Policy>,
    pub(crate) leader: Option<(Arc<dyn LeasePool>, Holder)>,
}

/// What the loop uses and does not change.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) load: Arc<dyn LoadSource>,
    pub(crate) provisioner: Arc<dyn Provisioner>,
    pub(crate) events: Events,
}

impl Autoscaler {
    /// A scaler for that load.
    pub fn builder(load: impl LoadSource) -> AutoscalerBuilder {
        AutoscalerBuilder::new(load)
    }

    /// What the scaler is called: as its load source.
    pub fn name(&self) -> &str {
        self.parts.events.scaler()
    }

    /// Starts the loop, as one task, and runs until the token is cancelled: then instances that live in this process
    /// are drained, and [`Running::join`] tells what happened. Dropping the handle does not end it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(self, token: CancellationToken) -> Running {
        let (engine, controls, status) = Engine::new(self);
        let task = tokio::spawn(engine.run(token));
        Running::new(controls, status, task)
    }
}
