use std::error::Error;
use std::fmt;

use sluicegate_core::{LeaseError, LeaseErrorKind, LossCause};

use super::permit::Permit;

/// What a caller does about a [`GovernorError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GovernorErrorKind {
    /// No slot became free in the time that was given: try later.
    Timeout,
    /// Too many wait already: try later, or elsewhere.
    Overloaded,
    /// The governor was closed.
    Closed,
    /// The pool says so.
    Pool(LeaseErrorKind),
}

/// No permit, and why.
#[derive(Debug)]
pub struct GovernorError {
    kind: GovernorErrorKind,
    context: String,
    source: Option<LeaseError>,
}

impl GovernorError {
    pub(super) fn new(kind: GovernorErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    pub(super) fn because(mut self, source: LeaseError) -> Self {
        self.source = Some(source);
        self
    }

    /// What kind of failure.
    pub fn kind(&self) -> GovernorErrorKind {
        self.kind
    }

    /// Another try may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            GovernorErrorKind::Timeout
                | GovernorErrorKind::Overloaded
                | GovernorErrorKind::Pool(LeaseErrorKind::Transient)
        )
    }

    /// No slot became free in time.
    pub fn is_timeout(&self) -> bool {
        self.kind == GovernorErrorKind::Timeout
    }

    /// What the pool said, if it did.
    pub fn lease_error(&self) -> Option<&LeaseError> {
        self.source.as_ref()
    }
}

impl From<LeaseError> for GovernorError {
    fn from(error: LeaseError) -> Self {
        let kind = GovernorErrorKind::Pool(error.kind());
        Self::new(kind, error.to_string()).because(error)
    }
}

impl fmt::Display for GovernorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl Error for GovernorError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // What the pool said is the text of this error already; what is behind it is not.
        self.source.as_ref().and_then(|error| error.source())
    }
}

/// A release that was not confirmed. It has the permit.
#[derive(Debug)]
pub struct ReleaseError {
    permit: Box<Permit>,
    source: LeaseError,
}

impl ReleaseError {
    pub(super) fn new(permit: Permit, source: LeaseError) -> Self {
        Self { permit: Box::new(permit), source }
    }

    /// The permit: release it again, or drop it to let that go on in the background.
    pub fn into_permit(self) -> Permit {
        *self.permit
    }

    /// What the pool said.
    pub fn lease_error(&self) -> &LeaseError {
        &self.source
    }
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {} was not released", self.permit.lease().id())
    }
}

impl Error for ReleaseError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// Why [`run`](super::Governor::run) did not finish the work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There was no permit.
    #[error("no permit")]
    Acquire(#[from] GovernorError),
    /// The permit was lost, and the work dropped where it stood.
    #[error("stopped, because the permit was lost: {0}")]
    Lost(LossCause),
}
