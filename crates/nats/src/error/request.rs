use std::error::Error;
use std::fmt;

use super::Source;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestErrorKind {
    /// Nobody listens on the subject, or a stream has no leader for now. Certainly not done.
    NoResponders,
    /// No answer came in time. Whether it was done, or will be, is unknown.
    TimedOut,
    /// The server refuses to let this user publish there: certainly not done. Or to receive answers: then the
    /// [`subject`](RequestError::subject) is the inbox, and what was asked first may have been done.
    NotPermitted,
    /// There was no connection for as long as the request was given. Certainly not done.
    NotConnected,
    /// Larger than the server takes. Certainly not done.
    TooLarge,
    /// The subject is no subject. Certainly not done.
    Invalid,
    /// The connection was closed while the answer was awaited. Whether it was done is unknown.
    Closed,
}

impl fmt::Display for RequestErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoResponders => "no responders",
            Self::TimedOut => "timed out",
            Self::NotPermitted => "not permitted",
            Self::NotConnected => "not connected",
            Self::TooLarge => "too large",
            Self::Invalid => "invalid",
            Self::Closed => "connection closed",
        })
    }
}

/// Failure of a request.
#[derive(Debug)]
pub struct RequestError {
    kind: RequestErrorKind,
    subject: String,
    context: String,
    source: Option<Source>,
}

impl RequestError {
    pub(crate) fn new(
        kind: RequestErrorKind,
        subject: impl Into<String>,
        context: impl Into<String>,
    ) -> Self {
        Self { kind, subject: subject.into(), context: context.into(), source: None }
    }

    pub(crate) fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What became of it.
    pub fn kind(&self) -> RequestErrorKind {
        self.kind
    }

    /// The subject of the request; for `NotPermitted` the subject that is denied, which is the inbox when the user
    /// may not receive answers.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// It may have happened, or may happen yet.
    pub fn is_unknown(&self) -> bool {
        matches!(self.kind, RequestErrorKind::TimedOut | RequestErrorKind::Closed)
    }

    /// It certainly did not happen, and may work later.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, RequestErrorKind::NoResponders | RequestErrorKind::NotConnected)
    }

    /// No answer in time.
    pub fn is_timeout(&self) -> bool {
        self.kind == RequestErrorKind::TimedOut
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request to `{}`: {}", self.subject, self.kind)?;
        if self.context.is_empty() { Ok(()) } else { write!(f, ", {}", self.context) }
    }
}

impl Error for RequestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
