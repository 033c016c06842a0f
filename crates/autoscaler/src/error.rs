use std::borrow::Cow;
use std::error::Error;
use std::fmt;

type Source = Box<dyn Error + Send + Sync + 'static>;

/// What a caller does next about a [`ScalerError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScalerErrorKind {
    /// A setting is wrong; the message names it and the problem.
    Configuration,
    /// The consumer may vanish, and its messages with it, while nobody works: make it durable.
    NotDurable,
    /// The consumer or its stream does not exist. The scale is held; the source is asked again.
    NotFound,
    /// The server refuses; the message names the subject.
    NotPermitted,
    /// No usable answer now: try again.
    Unavailable,
    /// Somebody else changed what was to be changed: read, and decide anew.
    Conflict,
    /// Another replica holds the slot.
    NotLeader,
    /// An instance could not be started or stopped.
    Provision,
}

impl fmt::Display for ScalerErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configuration => "refused configuration",
            Self::NotDurable => "not durable",
            Self::NotFound => "not found",
            Self::NotPermitted => "not permitted",
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::NotLeader => "not the leader",
            Self::Provision => "provisioning failed",
        })
    }
}

/// The error of this crate: of load sources, of provisioners and launchers, and of building a scaler.
#[derive(Debug)]
pub struct ScalerError {
    kind: ScalerErrorKind,
    context: Cow<'static, str>,
    source: Option<Source>,
}

impl ScalerError {
    /// An error of that kind; `context` is a lower-case fragment that names the thing and the remedy.
    pub fn new(kind: ScalerErrorKind, context: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// A wrong setting: which one, and what is wrong with it.
    pub fn configuration(field: &str, problem: impl fmt::Display) -> Self {
        Self::new(ScalerErrorKind::Configuration, format!("`{field}`: {problem}"))
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What to do next.
    pub fn kind(&self) -> ScalerErrorKind {
        self.kind
    }

    /// The same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, ScalerErrorKind::Unavailable | ScalerErrorKind::Provision)
    }
}

impl fmt::Display for ScalerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.context)
    }
}

impl Error for ScalerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn Error + 'static))
    }
}
