use std::error::Error;
use std::fmt;

use serde::Deserialize;

use super::{RequestError, RequestErrorKind, Source};
use crate::code;

/// What became of an API call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApiErrorKind {
    /// The server answered with an error.
    Server {
        /// Like an HTTP status.
        code: u16,
        /// The exact reason, see [`code`].
        err_code: u64,
    },
    /// There was no answer.
    Request(RequestErrorKind),
    /// There was an answer that cannot be read. Whether it was done is unknown.
    Malformed,
}

/// Failure of a JetStream API call, or of the answer to a publish.
#[derive(Debug)]
pub struct ApiError {
    kind: ApiErrorKind,
    subject: String,
    description: String,
    source: Option<Source>,
}

/// The `error` object of every JetStream answer. Missing numbers are 0.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServerErrorBody {
    pub(crate) code: u16,
    pub(crate) err_code: u64,
    pub(crate) description: String,
}

impl ApiError {
    pub(crate) fn server(subject: impl Into<String>, body: ServerErrorBody) -> Self {
        Self {
            kind: ApiErrorKind::Server { code: body.code, err_code: body.err_code },
            subject: subject.into(),
            description: body.description,
            source: None,
        }
    }

    pub(crate) fn malformed(subject: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            kind: ApiErrorKind::Malformed,
            subject: subject.into(),
            description: description.into(),
            source: None,
        }
    }

    pub(crate) fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What became of it.
    pub fn kind(&self) -> ApiErrorKind {
        self.kind
    }

    /// The server's exact reason, if it answered.
    pub fn err_code(&self) -> Option<u64> {
        match self.kind {
            ApiErrorKind::Server { err_code, .. } => Some(err_code),
            _ => None,
        }
    }

    /// The server's text, or ours when there was no answer that could be read.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The subject of the request.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// It may have happened, or may happen yet.
    pub fn is_unknown(&self) -> bool {
        matches!(
            self.kind,
            ApiErrorKind::Malformed
                | ApiErrorKind::Request(RequestErrorKind::TimedOut | RequestErrorKind::Closed)
        )
    }

    /// It certainly did not happen, and may work later.
    pub fn is_transient(&self) -> bool {
        match self.kind {
            ApiErrorKind::Server { err_code, .. } => code::is_transient_api(err_code),
            ApiErrorKind::Request(kind) => {
                matches!(kind, RequestErrorKind::NoResponders | RequestErrorKind::NotConnected)
            }
            ApiErrorKind::Malformed => false,
        }
    }

    /// No answer in time.
    pub fn is_timeout(&self) -> bool {
        self.kind == ApiErrorKind::Request(RequestErrorKind::TimedOut)
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        Self {
            kind: ApiErrorKind::Request(error.kind()),
            subject: error.subject().to_owned(),
            description: error.to_string(),
            source: Some(error.into()),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ApiErrorKind::Server { code, err_code } => {
                write!(f, "`{}` answered {code}/{err_code}: {}", self.subject, self.description)
            }
            ApiErrorKind::Request(_) => f.write_str(&self.description),
            ApiErrorKind::Malformed => {
                write!(f, "`{}` answered something unreadable: {}", self.subject, self.description)
            }
        }
    }
}

impl Error for ApiError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
