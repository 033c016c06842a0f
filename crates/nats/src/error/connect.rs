use std::error::Error;
use std::fmt;

use super::Source;

/// Why there is no connection, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// No server answered in time: wrong address, network, or server down.
    Unreachable,
    /// The server refused the credentials.
    AuthRefused,
    /// The TLS handshake failed, or a certificate file could not be used.
    Tls,
    /// The settings are wrong; the message names the setting.
    Configuration,
    /// A credential could not be read (file, environment, helper program).
    Credentials,
    /// A setting that this library knows and cannot honour.
    UnsupportedSetting,
    /// The selected context does not exist.
    ContextNotFound,
}

impl fmt::Display for ConnectErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "unreachable",
            Self::AuthRefused => "credentials refused",
            Self::Tls => "TLS failed",
            Self::Configuration => "wrong setting",
            Self::Credentials => "unreadable credentials",
            Self::UnsupportedSetting => "unsupported setting",
            Self::ContextNotFound => "context not found",
        })
    }
}

/// Failure to find out how to connect, or to connect. Never shows a secret.
#[derive(Debug)]
pub struct ConnectError {
    kind: ConnectErrorKind,
    context: String,
    source: Option<Source>,
}

impl ConnectError {
    pub(crate) fn new(kind: ConnectErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    pub(crate) fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What to do next.
    pub fn kind(&self) -> ConnectErrorKind {
        self.kind
    }

    /// It may work later without anybody changing a setting.
    pub fn is_transient(&self) -> bool {
        self.kind == ConnectErrorKind::Unreachable
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.context)
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
