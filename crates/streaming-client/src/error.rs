use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;

use crate::Guid;

type Source = Box<dyn Error + Send + Sync + 'static>;

/// What a caller does next about a [`StreamError`] or a [`PublishError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no connection to the server just now; the client keeps trying.
    NotConnected,
    /// Connected, but not registered with the streaming server.
    NotRegistered,
    /// No answer in time.
    Timeout,
    /// The server refuses this request; repeating it does not help.
    Rejected,
    /// Something of that name exists and is different, or the client id is in use.
    Conflict,
    /// The durable has a live subscriber.
    DurableInUse,
    /// The publish window has no room; only `try_publish` and `try_start` say so.
    WindowFull,
    /// A name breaks its rules; the message tells which and why.
    InvalidName,
    /// An option is wrong; the message names it.
    Invalid,
    /// The message is larger than the server accepts.
    TooLarge,
    /// The server does not permit it; the message names the subject.
    NotPermitted,
    /// The stream, consumer or channel named in the message does not exist.
    NotFound,
    /// This message was settled before.
    AlreadySettled,
    /// The back end cannot do that.
    Unsupported,
    /// The registration is lost.
    Lost,
    /// The client or subscription was closed or drained.
    Closed,
}

impl ErrorKind {
    fn text(self) -> &'static str {
        match self {
            Self::NotConnected => "not connected",
            Self::NotRegistered => "not registered",
            Self::Timeout => "timed out",
            Self::Rejected => "rejected",
            Self::Conflict => "conflict",
            Self::DurableInUse => "durable in use",
            Self::WindowFull => "publish window full",
            Self::InvalidName => "invalid name",
            Self::Invalid => "invalid option",
            Self::TooLarge => "too large",
            Self::NotPermitted => "not permitted",
            Self::NotFound => "not found",
            Self::AlreadySettled => "already settled",
            Self::Unsupported => "unsupported",
            Self::Lost => "registration lost",
            Self::Closed => "closed",
        }
    }

    /// The same call may succeed later without anybody changing anything.
    pub(crate) fn is_transient(self) -> bool {
        matches!(self, Self::NotConnected | Self::NotRegistered | Self::Timeout | Self::WindowFull)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Failure of anything but a publish.
#[derive(Debug)]
pub struct StreamError {
    kind: ErrorKind,
    context: Cow<'static, str>,
    source: Option<Source>,
}

impl StreamError {
    /// `context` is a lower-case fragment that names the thing and the remedy.
    pub(crate) fn new(kind: ErrorKind, context: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    pub(crate) fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What to do next.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        self.kind.is_transient()
    }

    /// No answer came in time.
    pub fn is_timeout(&self) -> bool {
        self.kind == ErrorKind::Timeout
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.context)
    }
}

impl Error for StreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<Infallible> for StreamError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The server stored it and said so.
    Stored,
    /// The server did not store it and will not.
    NotDone,
    /// It may have been stored: no answer came, and asking again brought none.
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stored => "stored",
            Self::NotDone => "not done",
            Self::Unknown => "outcome unknown",
        })
    }
}

/// A publish that was not acknowledged: which one, why, and whether it may be stored all the same.
#[derive(Debug)]
pub struct PublishError {
    guid: Guid,
    outcome: Outcome,
    error: StreamError,
}

impl PublishError {
    pub(crate) fn not_done(guid: Guid, error: StreamError) -> Self {
        Self { guid, outcome: Outcome::NotDone, error }
    }

    pub(crate) fn unknown(guid: Guid, error: StreamError) -> Self {
        Self { guid, outcome: Outcome::Unknown, error }
    }

    /// What to do next.
    pub fn kind(&self) -> ErrorKind {
        self.error.kind
    }

    /// Which publish it was. Publishing again with the same guid is safe where the back end deduplicates
    /// ([`Capabilities::deduplicates`](crate::Capabilities)).
    pub fn guid(&self) -> &Guid {
        &self.guid
    }

    /// `NotDone` or `Unknown`.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whether the message may have been stored.
    pub fn is_unknown(&self) -> bool {
        self.outcome == Outcome::Unknown
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "publish {}, {}: {}", self.guid, self.outcome, self.error)
    }
}

impl Error for PublishError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
