use std::borrow::Cow;
use std::error::Error;
use std::fmt;

type Source = Box<dyn Error + Send + Sync + 'static>;

/// What went wrong with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerErrorKind {
    /// There is no server program, and no way to get one worked. The message names all ways.
    Unavailable,
    /// The server did not start or did not become ready. The message carries the end of its log.
    Start,
    /// The server is not in the state the call needs (a pause of a dead server, …).
    State,
    /// The server is not ours: it was named by the environment, so it cannot be killed or configured.
    External,
    /// The operating system or the container engine refused.
    Io,
}

/// Failure to get, start or disturb a server.
#[derive(Debug)]
pub struct ServerError {
    kind: ServerErrorKind,
    context: Cow<'static, str>,
    source: Option<Source>,
}

impl ServerError {
    pub(super) fn new(kind: ServerErrorKind, context: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    pub(super) fn io(context: impl Into<Cow<'static, str>>, source: impl Into<Source>) -> Self {
        Self { kind: ServerErrorKind::Io, context: context.into(), source: Some(source.into()) }
    }

    /// What went wrong.
    pub fn kind(&self) -> ServerErrorKind {
        self.kind
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)?;
        // Tests print errors with `unwrap`, which shows no sources.
        match &self.source {
            Some(source) if f.alternate() => write!(f, ": {source}"),
            _ => Ok(()),
        }
    }
}

impl Error for ServerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn Error + 'static))
    }
}
