use std::net::SocketAddr;

use super::process::Process;
use super::{ServerError, ServerErrorKind};

/// One server, whatever runs it.
#[derive(Debug)]
pub(super) enum Unit {
    /// Named by the environment.
    External(External),
    Process(Process),
}

#[derive(Debug)]
pub(super) struct External {
    pub(super) variable: &'static str,
    pub(super) url: String,
    pub(super) address: SocketAddr,
}

impl External {
    /// The server that the environment names.
    pub(super) async fn from_env(variable: &'static str) -> Result<Option<Self>, ServerError> {
        let Ok(url) = std::env::var(variable) else { return Ok(None) };
        let (_, rest) = url.split_once("://").unwrap_or(("nats", &url));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host).trim_end_matches('/');
        let host = if host.contains(':') { host.to_owned() } else { format!("{host}:4222") };
        let failed =
            |error| ServerError::io(format!("{variable} names the host {host}, which is not known"), error);
        let address = tokio::net::lookup_host(&host).await.map_err(failed)?.next();
        let none =
            || ServerError::new(ServerErrorKind::External, format!("{variable}: {host} has no address"));
        Ok(Some(Self { variable, address: address.ok_or_else(none)?, url }))
    }

    pub(super) fn refuse(&self, what: &str) -> ServerError {
        let context = format!("cannot {what} the server named by {}: unset it for this test", self.variable);
        ServerError::new(ServerErrorKind::External, context)
    }
}

impl Unit {
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::External(external) => external.address,
            Self::Process(process) => process.address(),
        }
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::External(external) => external.url.clone(),
            Self::Process(process) => format!("nats://{}", process.address()),
        }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::External(_) => None,
            Self::Process(process) => process.pid(),
        }
    }

    pub(super) async fn log(&self) -> String {
        match self {
            Self::External(_) => String::new(),
            Self::Process(process) => process.log(),
        }
    }

    pub(super) async fn kill(&self) -> Result<(), ServerError> {
        match self {
            Self::External(external) => Err(external.refuse("kill")),
            Self::Process(process) => process.kill().await,
        }
    }

    pub(super) async fn stop(&self) -> Result<(), ServerError> {
        match self {
            Self::External(external) => Err(external.refuse("stop")),
            Self::Process(process) => process.stop().await,
        }
    }

    pub(super) async fn restart(&self) -> Result<(), ServerError> {
        match self {
            Self::External(external) => Err(external.refuse("restart")),
            Self::Process(process) => process.restart().await,
        }
    }

    pub(super) fn pause(&self) -> Result<(), ServerError> {
        match self {
            Self::External(external) => Err(external.refuse("pause")),
            Self::Process(process) => process.pause(),
        }
    }

    pub(super) fn resume(&self) -> Result<(), ServerError> {
        match self {
            Self::External(external) => Err(external.refuse("resume")),
            Self::Process(process) => process.resume(),
        }
    }
}
