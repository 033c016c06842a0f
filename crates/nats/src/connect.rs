use std::error::Error;
use std::io;
use std::sync::Arc;

use async_nats::{AuthError, Client, ConnectErrorKind as Theirs, ServerError, rustls};
use sluicegate_core::{Ignore, Observer};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::credentials::Keyring;
use crate::env::Env;
use crate::error::{ConnectError, ConnectErrorKind};
use crate::hub::Hub;
use crate::link::Link;
use crate::permission::is_about_credentials;
use crate::{Connection, NatsEvent, Settings};

/// Connects, and watches over the connection from then on: see [`Connection`].
///
/// # Errors
/// `Unreachable` when no server answers within the settings' timeout (for each server); `AuthRefused`, `Tls`,
/// `Configuration`, `Credentials`, `UnsupportedSetting`. There is no retry: a first connection that fails is a
/// mistake more often than an outage.
///
/// # Cancel safety
/// Dropping it leaves nothing behind.
pub async fn connect(settings: &Settings) -> Result<Connection, ConnectError> {
    connect_observed(settings, Arc::new(Ignore)).await
}

/// As [`connect`], and tells the observer of everything from the first connection on.
///
/// # Errors
/// Those of [`connect`].
///
/// # Cancel safety
/// Dropping it leaves nothing behind.
pub async fn connect_observed(
    settings: &Settings,
    observer: Arc<dyn Observer<NatsEvent>>,
) -> Result<Connection, ConnectError> {
    let hub = Hub::new(observer);
    let maker = ClientMaker::new(settings, hub.clone());
    let (client, link) = Box::pin(maker.make()).await?;
    link.take_over();
    hub.emit(NatsEvent::Connected);
    Ok(Connection::supervised(client, link, maker))
}

/// Connects as the context of that name says: three lines to a client.
///
/// # Errors
/// Those of [`connect`], and `ContextNotFound`.
///
/// # Cancel safety
/// Dropping it leaves nothing behind.
pub async fn connect_context(name: &str, env: &dyn Env) -> Result<Connection, ConnectError> {
    let settings = Settings::from_context(name, env)?;
    connect(&settings).await
}

/// Makes clients: the first one, and those that replace it.
#[derive(Debug)]
pub(crate) struct ClientMaker {
    pub(crate) settings: Settings,
    pub(crate) hub: Hub,
    pub(crate) inbox_prefix: String,
    keyring: Arc<Keyring>,
}

impl ClientMaker {
    fn new(settings: &Settings, hub: Hub) -> Self {
        // Below `_INBOX`, which permissions usually grant, and known to nobody else.
        let own = || format!("_INBOX.{}", nuid::next());
        Self {
            settings: settings.clone(),
            hub,
            inbox_prefix: settings.inbox_prefix.value.clone().unwrap_or_else(own),
            keyring: Arc::new(Keyring::new(settings.credentials.value.clone())),
        }
    }

    /// A client that is connected, with credentials read now.
    pub(crate) async fn make(&self) -> Result<(Client, Arc<Link>), ConnectError> {
        let keyring = Arc::clone(&self.keyring);
        let read = spawn_blocking(move || keyring.refresh()).await;
        let unreadable = |text: String| ConnectError::new(ConnectErrorKind::Credentials, text);
        read.map_err(|error| unreadable(error.to_string()))?
            .map_err(|error| unreadable(error.to_string()))?;

        let link = Link::new(self.hub.clone(), self.settings.supervision, self.inbox_prefix.clone());
        let servers = &self.settings.servers.value;
        let patience =
            self.settings.timeout().saturating_mul(u32::try_from(servers.len()).unwrap_or(u32::MAX));
        let connecting = self.options(&link).connect(servers.as_slice());
        let shown = || self.settings.servers().join(",");
        match timeout(patience, connecting).await {
            Ok(Ok(client)) => Ok((client, link)),
            Ok(Err(error)) => {
                let (kind, text) = classify(&error);
                Err(ConnectError::new(kind, format!("`{}`: {text}", shown())))
            }
            Err(_) => {
                let text = format!("`{}`: no answer within {patience:?}", shown());
                Err(ConnectError::new(ConnectErrorKind::Unreachable, text))
            }
        }
    }

    fn options(&self, link: &Arc<Link>) -> async_nats::ConnectOptions {
        let settings = &self.settings;
        let delays = Arc::clone(link);
        let mut options = self
            .authentication(link)
            .name(settings.name())
            .connection_timeout(settings.timeout())
            .request_timeout(Some(settings.timeout()))
            .custom_inbox_prefix(&self.inbox_prefix)
            .ping_interval(settings.supervision.ping_interval)
            .reconnect_delay_callback(move |attempt| delays.reconnect_delay(attempt))
            .require_tls(settings.requires_tls());
        if settings.tls_first.value {
            options = options.tls_first();
        }
        if let Some(roots) = &settings.tls_ca.value {
            options = options.add_root_certificates(roots.clone());
        }
        if let Some((cert, key)) = &settings.tls_cert.value {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        let ended = EndNotice(Arc::clone(link));
        options.event_callback(move |event| {
            ended.0.on_event(event);
            std::future::ready(())
        })
    }

    /// Answers each challenge with what the credential files hold at that moment.
    fn authentication(&self, link: &Arc<Link>) -> async_nats::ConnectOptions {
        if self.settings.credentials.value.sources().is_empty() {
            return async_nats::ConnectOptions::new();
        }
        let keyring = Arc::clone(&self.keyring);
        let link = Arc::clone(link);
        async_nats::ConnectOptions::with_auth_callback(move |nonce| {
            let keyring = Arc::clone(&keyring);
            let link = Arc::clone(&link);
            async move {
                let answer = spawn_blocking(move || keyring.answer_challenge(&nonce)).await;
                let answer = answer.map_err(AuthError::new).flatten();
                if let Err(error) = &answer {
                    link.note_refusal(error.to_string());
                }
                answer
            }
        })
    }
}

/// The client drops its callback when its task is over, for whatever reason: there is no event for all of them.
struct EndNotice(Arc<Link>);

impl Drop for EndNotice {
    fn drop(&mut self) {
        self.0.note_end();
    }
}

fn classify(error: &async_nats::ConnectError) -> (ConnectErrorKind, String) {
    let cause = error.source().map(|cause| cause.to_string()).unwrap_or_default();
    let text = || if cause.is_empty() { error.kind().to_string() } else { cause.clone() };
    let io_error = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    let is_tls = io_error.and_then(io::Error::get_ref).is_some_and(|inner| inner.is::<rustls::Error>());
    let server_error = error.source().and_then(|cause| cause.downcast_ref::<ServerError>());
    match error.kind() {
        Theirs::AuthorizationViolation => {
            (ConnectErrorKind::AuthRefused, "the server refuses the credentials".to_owned())
        }
        Theirs::Authentication => (ConnectErrorKind::Credentials, text()),
        Theirs::Tls => (ConnectErrorKind::Tls, text()),
        _ if is_tls => (ConnectErrorKind::Tls, text()),
        Theirs::ServerParse => (ConnectErrorKind::Configuration, text()),
        _ if server_error.is_some_and(|error| is_about_credentials(&error.to_string())) => {
            (ConnectErrorKind::AuthRefused, text())
        }
        _ => (ConnectErrorKind::Unreachable, text()),
    }
}
