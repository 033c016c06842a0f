use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sluicegate_core::FencingToken;
use tokio::time::Instant;

use crate::ScalerError;

/// Names one instance; never used twice by a [`Launched`](crate::Launched).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    /// The instance of that name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a launcher is told of the instance it has to start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceSpec {
    /// What it is to be called.
    pub id: InstanceId,
    /// The leader's token under which it is started; `None` without a leader pool.
    pub fence: Option<FencingToken>,
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// It came to its end.
    Finished,
    /// It came to its end and says what was wrong.
    Failed(String),
    /// It panicked.
    Panicked(String),
    /// It was killed.
    Killed,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("finished"),
            Self::Failed(problem) => write!(f, "failed: {problem}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Killed => f.write_str("killed"),
        }
    }
}

impl From<()> for Exit {
    fn from((): ()) -> Self {
        Self::Finished
    }
}

impl<E: fmt::Display> From<Result<(), E>> for Exit {
    fn from(result: Result<(), E>) -> Self {
        match result {
            Ok(()) => Self::Finished,
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// Starts one instance at a time; [`Launched`](crate::Launched) makes a provisioner of it.
///
/// A launcher that panics, or an instance one of whose methods does, counts as a crash: the instance is dropped, and
/// replaced.
#[async_trait]
pub trait Launcher: fmt::Debug + Send + Sync + 'static {
    /// Starts an instance; need not wait until it is ready.
    ///
    /// # Errors
    /// `Provision`: it is tried again after the crash backoff.
    ///
    /// # Cancel safety
    /// Is not dropped before it completes, but with the runtime.
    async fn start(&self, spec: &InstanceSpec) -> Result<Box<dyn Instance>, ScalerError>;
}

#[async_trait]
impl<L: Launcher + ?Sized> Launcher for Arc<L> {
    async fn start(&self, spec: &InstanceSpec) -> Result<Box<dyn Instance>, ScalerError> {
        (**self).start(spec).await
    }
}

/// One running instance.
#[async_trait]
pub trait Instance: fmt::Debug + Send + Sync + 'static {
    /// What it is called: the id of the spec, or one that the launcher gave it.
    fn id(&self) -> &InstanceId;

    /// Completes when it works.
    ///
    /// # Cancel safety
    /// Must be safe to drop and call again.
    async fn ready(&self);

    /// Tells it to finish what it has by the deadline and to take nothing new; does not wait for it.
    ///
    /// # Cancel safety
    /// Must be safe to call again.
    async fn drain(&self, deadline: Instant);

    /// Ends it now; does not wait for it.
    ///
    /// # Cancel safety
    /// Must be safe to call again.
    async fn kill(&self);

    /// Completes when it has ended, and tells how.
    ///
    /// # Cancel safety
    /// Must be safe to drop and call again.
    async fn ended(&self) -> Exit;
}
