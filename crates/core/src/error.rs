use std::borrow::Cow;
use std::error::Error;
use std::fmt;

type Source = Box<dyn Error + Send + Sync + 'static>;

/// What a caller does next about a [`LeaseError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaseErrorKind {
    /// Nothing happened and it may work later: try again with a backoff.
    Transient,
    /// The write may have happened and the pool could not find out in time. The pool goes on resolving it;
    /// the caller must not conclude "full", "free" or "released".
    Unknown,
    /// The lease is no longer ours. Stop the work it protected.
    Lost,
    /// The pool does not exist.
    NotFound,
    /// Something else of that name, or with another configuration, exists.
    Conflict,
    /// An argument is wrong; the message names it.
    Invalid,
    /// The pool is configured so that it cannot do its job.
    Misconfigured,
    /// The server refuses; the message names the subject or right that is missing.
    NotPermitted,
    /// This pool cannot do that (renew, weights above one, …).
    Unsupported,
    /// The pool's handle was closed, or the wait was cancelled.
    Closed,
}

impl fmt::Display for LeaseErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transient => "transient failure",
            Self::Unknown => "outcome unknown",
            Self::Lost => "lease lost",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid argument",
            Self::Misconfigured => "misconfigured",
            Self::NotPermitted => "not permitted",
            Self::Unsupported => "unsupported",
            Self::Closed => "closed",
        })
    }
}

/// Failure of a pool operation. An error never means "full": that is `Ok(None)`.
#[derive(Debug)]
pub struct LeaseError {
    kind: LeaseErrorKind,
    context: Cow<'static, str>,
    source: Option<Source>,
}

impl LeaseError {
    /// An error of that kind; `context` is a lower-case fragment that names the thing and the remedy.
    pub fn new(kind: LeaseErrorKind, context: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What to do next.
    pub fn kind(&self) -> LeaseErrorKind {
        self.kind
    }

    /// Nothing happened; the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        self.kind == LeaseErrorKind::Transient
    }

    /// The write may have happened.
    pub fn is_unknown(&self) -> bool {
        self.kind == LeaseErrorKind::Unknown
    }

    /// The lease is gone.
    pub fn is_lost(&self) -> bool {
        self.kind == LeaseErrorKind::Lost
    }
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.context)
    }
}

impl Error for LeaseError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn Error + 'static))
    }
}
