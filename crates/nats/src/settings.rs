use std::time::Duration;

use async_nats::ServerAddr;

use crate::error::{ConnectError, ConnectErrorKind};

/// How to connect, resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) servers: Vec<ServerAddr>,
    pub(crate) timeout: Duration,
}

impl Settings {
    /// One or several servers, separated by commas, and the default of everything else.
    ///
    /// # Errors
    /// `Configuration` if an address is none.
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        let servers = url
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| {
                part.parse::<ServerAddr>().map_err(|error| {
                    ConnectError::new(ConnectErrorKind::Configuration, "servers").with_source(error)
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { servers, timeout: Duration::from_secs(5) })
    }
}
