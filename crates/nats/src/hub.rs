use std::sync::Arc;

use sluicegate_core::Observer;
use tokio::sync::broadcast;

use crate::NatsEvent;

/// Old events are lost to a reader that is that far behind.
const CAPACITY: usize = 256;

/// Where events go: tracing, the observer, and whoever listens.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    observer: Arc<dyn Observer<NatsEvent>>,
    listeners: broadcast::Sender<NatsEvent>,
}

impl Hub {
    pub(crate) fn new(observer: Arc<dyn Observer<NatsEvent>>) -> Self {
        Self { observer, listeners: broadcast::channel(CAPACITY).0 }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<NatsEvent> {
        self.listeners.subscribe()
    }

    /// Call it without a lock held.
    pub(crate) fn emit(&self, event: NatsEvent) {
        match &event {
            NatsEvent::Connected | NatsEvent::Reconnected => tracing::info!("{event}"),
            NatsEvent::ClientRebuilt | NatsEvent::LameDuck => tracing::warn!("{event}"),
            NatsEvent::CredentialsRefused { .. } => tracing::error!("{event}"),
            _ => tracing::warn!("{event}"),
        }
        self.observer.observe(&event);
        // Nobody listening is not an error.
        let _ = self.listeners.send(event);
    }
}
