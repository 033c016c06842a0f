use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Event, jetstream};
use tokio::sync::{broadcast, watch};

use crate::error::{ConnectError, ConnectErrorKind, RequestError, RequestErrorKind};
use crate::{NatsEvent, Settings};

/// A connection to NATS that survives rebuilds of the client underneath. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    state: watch::Receiver<bool>,
    events: broadcast::Sender<NatsEvent>,
}

/// Connects.
///
/// # Errors
/// `Unreachable`, `AuthRefused`, `Tls`, `Configuration`, `Credentials`.
pub async fn connect(settings: &Settings) -> Result<Connection, ConnectError> {
    let (sender, state) = watch::channel(true);
    let sender = Arc::new(sender);
    let client = async_nats::ConnectOptions::new()
        .connection_timeout(settings.timeout)
        .custom_inbox_prefix(format!("_INBOX_{}", nuid::next()))
        .ping_interval(Duration::from_secs(10))
        .event_callback(move |event| {
            match event {
                Event::Connected => drop(sender.send_replace(true)),
                Event::Disconnected | Event::Closed => drop(sender.send_replace(false)),
                _ => {}
            }
            std::future::ready(())
        })
        .connect(settings.servers.as_slice())
        .await
        .map_err(|error| {
            let kind = match error.kind() {
                async_nats::ConnectErrorKind::AuthorizationViolation => ConnectErrorKind::AuthRefused,
                async_nats::ConnectErrorKind::Tls => ConnectErrorKind::Tls,
                async_nats::ConnectErrorKind::ServerParse => ConnectErrorKind::Configuration,
                _ => ConnectErrorKind::Unreachable,
            };
            ConnectError::new(kind, error.to_string()).with_source(error)
        })?;
    Ok(Connection(Arc::new(Inner { client, state, events: broadcast::channel(256).0 })))
}

impl Connection {
    /// A connection over a client that was made elsewhere. Nobody tells us its events, so requests that are denied
    /// are reported as timeouts.
    pub fn from_client(client: Client) -> Self {
        let state = watch::channel(client.connection_state() == State::Connected).1;
        Self(Arc::new(Inner { client, state, events: broadcast::channel(256).0 }))
    }

    /// The client of now.
    pub fn client(&self) -> Client {
        self.0.client.clone()
    }

    /// JetStream, with the prefix or domain of the settings.
    pub fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.client())
    }

    /// Connected now.
    pub fn is_connected(&self) -> bool {
        *self.0.state.borrow()
    }

    /// Completes when connected.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn connected(&self) {
        // The sender lives as long as the client does.
        let _ = self.0.state.clone().wait_for(|connected| *connected).await;
    }

    /// What happens to this connection from now on.
    pub fn events(&self) -> broadcast::Receiver<NatsEvent> {
        self.0.events.subscribe()
    }

    /// Ends the connection.
    ///
    /// # Errors
    /// `TimedOut` if that took longer than `deadline`.
    pub async fn drain(&self, deadline: Duration) -> Result<(), RequestError> {
        match tokio::time::timeout(deadline, self.0.client.drain()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(RequestError::new(RequestErrorKind::TimedOut, "drain", "")),
        }
    }

    pub(crate) fn api_prefix(&self) -> &str {
        "$JS.API"
    }
}
