use std::fmt;
use std::sync::Arc;

use sluicegate_core::{Ignore, Observer};

use crate::backend::{Backend, Session, jetstream, memory};
use crate::event::Events;
use crate::publish::Outcomes;
use crate::{Client, ClientId, Cluster, ErrorKind, PublishConfig, StreamError, StreamEvent};

/// A client that is being put together, from [`Client::builder`].
#[must_use = "a client begins with `connect`"]
pub struct ClientBuilder {
    cluster: Result<Cluster, StreamError>,
    id: ClientId,
    backend: Option<Backend>,
    publish: PublishConfig,
    observer: Arc<dyn Observer<StreamEvent>>,
}

impl ClientBuilder {
    pub(crate) fn new(cluster: Result<Cluster, StreamError>, id: ClientId) -> Self {
        Self { cluster, id, backend: None, publish: PublishConfig::default(), observer: Arc::new(Ignore) }
    }

    /// What it talks to. There is no default.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// How it publishes.
    pub fn publish(mut self, config: PublishConfig) -> Self {
        self.publish = config;
        self
    }

    /// Who is told what happens: a closure, a broadcast sender, anything that implements [`Observer`].
    pub fn observer(mut self, observer: impl Observer<StreamEvent>) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Registers. The connection of a JetStream back end stands already, so this does not wait for one.
    ///
    /// # Errors
    /// `InvalidName`, `Invalid`; `Conflict` if the client id is in use (memory).
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn connect(self) -> Result<Client, StreamError> {
        let cluster = self.cluster?;
        self.publish.validate()?;
        let events = Events::new(self.observer);
        let outcomes = Arc::new(Outcomes::new(events.clone()));
        let session = match self.backend {
            None => {
                let context = "no back end: choose one with `backend(Backend::memory(..))`";
                return Err(StreamError::new(ErrorKind::Invalid, context));
            }
            Some(Backend::Memory(broker)) => {
                Session::Memory(memory::Session::register(broker, self.id.clone(), Arc::clone(&outcomes))?)
            }
            Some(Backend::JetStream(config, connection)) => Session::JetStream(
                jetstream::Session::register(
                    &cluster,
                    self.id.clone(),
                    config,
                    &self.publish,
                    connection,
                    Arc::clone(&outcomes),
                )
                .await?,
            ),
        };
        events.emit(StreamEvent::Registered);
        Ok(Client::assemble(cluster, self.id, session, &self.publish, outcomes))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("cluster", &self.cluster)
            .field("id", &self.id)
            .field("backend", &self.backend)
            .field("publish", &self.publish)
            .finish_non_exhaustive()
    }
}
