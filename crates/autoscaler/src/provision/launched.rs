use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::mind::mind;
use super::registry::Registry;
use super::{Fleet, Launcher, Order, Provisioner};
use crate::{Events, ScalerError, ScalerErrorKind};

/// A provisioner made of a [`Launcher`]: keeps count, replaces what crashed, chooses victims, drains, and kills at
/// the deadline.
///
/// An instance that ends unasked is replaced at once, and after 1 s, 2 s, … 60 s if its replacements crash too; one
/// that lived for 60 s begins anew. Five crashes within a minute stop growth, not what runs. Dropping it tells every
/// instance to drain.
#[derive(Debug)]
pub struct Launched<L> {
    shared: Arc<Shared<L>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// From the order to stop until it is killed.
    pub(super) drain: Duration,
    /// From the kill until it is given up.
    pub(super) kill: Duration,
    /// From the start until it must be ready.
    pub(super) ready: Duration,
}

#[derive(Debug)]
pub(super) struct Shared<L> {
    pub(super) launcher: L,
    pub(super) deadlines: Mutex<Deadlines>,
    pub(super) registry: Mutex<Registry>,
    pub(super) changed: Notify,
    pub(super) events: OnceLock<Events>,
    root: CancellationToken,
}

impl<L> Shared<L> {
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn deadlines(&self) -> Deadlines {
        *self.deadlines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn emit(&self, event: crate::ScalerEvent) {
        if let Some(events) = self.events.get() {
            events.emit(event);
        }
    }
}

impl<L: Launcher> Launched<L> {
    /// A provisioner over that launcher.
    pub fn over(launcher: L) -> Self {
        Self {
            shared: Arc::new(Shared {
                launcher,
                deadlines: Mutex::new(Deadlines {
                    drain: Duration::from_secs(30),
                    kill: Duration::from_secs(10),
                    ready: Duration::from_secs(60),
                }),
                registry: Mutex::new(Registry::default()),
                changed: Notify::new(),
                events: OnceLock::new(),
                root: CancellationToken::new(),
            }),
        }
    }

    /// How long an instance gets to finish what it has, before it is killed. Default 30 s; shorter than the
    /// consumer's `ack_wait`, or its messages are delivered to somebody else meanwhile.
    #[must_use]
    pub fn drain_deadline(self, drain: Duration) -> Self {
        self.set(|deadlines| deadlines.drain = drain)
    }

    /// How long a killed instance gets to end, before it is given up. Default 10 s.
    #[must_use]
    pub fn kill_after(self, kill: Duration) -> Self {
        self.set(|deadlines| deadlines.kill = kill)
    }

    /// How long a started instance gets to become ready, before it counts as crashed. Default 60 s.
    #[must_use]
    pub fn ready_timeout(self, ready: Duration) -> Self {
        self.set(|deadlines| deadlines.ready = ready)
    }

    fn set(self, change: impl FnOnce(&mut Deadlines)) -> Self {
        change(&mut self.shared.deadlines.lock().unwrap_or_else(PoisonError::into_inner));
        self
    }
}

#[async_trait]
impl<L: Launcher> Provisioner for Launched<L> {
    fn attach(&self, events: &Events) {
        // A provisioner serves one scaler: the first one that starts.
        let _ = self.shared.events.set(events.clone());
    }

    async fn fleet(&self) -> Result<Fleet, ScalerError> {
        Ok(self.shared.registry().fleet())
    }

    async fn scale(&self, order: &Order) -> Result<Fleet, ScalerError> {
        let (opened, fleet) = {
            let mut registry = self.shared.registry();
            if !registry.order(order.target, order.fence) {
                return Err(ScalerError::new(
                    ScalerErrorKind::NotLeader,
                    "the order's fence is older than one seen before",
                ));
            }
            let opened = registry.settle(&self.shared.root, Instant::now());
            (opened, registry.fleet())
        };
        for (slot, stop) in opened {
            tokio::spawn(mind(Arc::clone(&self.shared), slot, stop));
        }
        Ok(fleet)
    }

    async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    fn is_local(&self) -> bool {
        true
    }
}

impl<L> Drop for Launched<L> {
    fn drop(&mut self) {
        self.shared.root.cancel();
    }
}
