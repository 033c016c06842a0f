use std::error::Error;
use std::fmt;

use super::Source;

/// Whether a write happened, for writes that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did not happen and will not.
    NotDone,
    /// It may have happened, or may happen yet. Resolve it: repeat it with the same message id, or read back.
    Unknown,
}

/// Why a publish failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishErrorKind {
    /// No stream listens on the subject.
    StreamNotFound,
    /// The stream exists and had no leader for as long as patience lasted.
    NoLeader,
    /// Nobody answered for as long as patience lasted, and we may not look whether the stream exists.
    NoResponders,
    /// The server answered with an error.
    Server {
        /// Like an HTTP status.
        code: u16,
        /// The exact reason, see [`code`](crate::code).
        err_code: u64,
    },
    /// The server refuses to let this user publish there, or to receive answers.
    NotPermitted,
    /// There was no connection.
    NotConnected,
    /// No try got an answer that says what became of it.
    TimedOut,
    /// Larger than the server takes.
    TooLarge,
    /// Subject, header or option is wrong.
    Invalid,
    /// The answer cannot be read.
    Malformed,
}

impl fmt::Display for PublishErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StreamNotFound => f.write_str("no stream listens on the subject"),
            Self::NoLeader => f.write_str("the stream has no leader"),
            Self::NoResponders => f.write_str("no stream listens on the subject, or it has no leader"),
            Self::Server { code, err_code } => write!(f, "the server answered {code}/{err_code}"),
            Self::NotPermitted => f.write_str("not permitted"),
            Self::NotConnected => f.write_str("not connected"),
            Self::TimedOut => f.write_str("no answer"),
            Self::TooLarge => f.write_str("too large"),
            Self::Invalid => f.write_str("invalid"),
            Self::Malformed => f.write_str("unreadable answer"),
        }
    }
}

/// Failure of a publish. Says whether the message may be in the stream, and under which id.
#[derive(Debug)]
pub struct PublishError {
    pub(crate) kind: PublishErrorKind,
    pub(crate) outcome: Outcome,
    pub(crate) subject: String,
    pub(crate) msg_id: String,
    pub(crate) description: String,
    pub(crate) source: Option<Source>,
}

impl PublishError {
    /// Why.
    pub fn kind(&self) -> PublishErrorKind {
        self.kind
    }

    /// Whether the message may be in the stream.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The message may be in the stream, or may get there yet.
    pub fn is_unknown(&self) -> bool {
        self.outcome == Outcome::Unknown
    }

    /// The message is not in the stream, and publishing it may work later.
    pub fn is_transient(&self) -> bool {
        let by_kind = match self.kind {
            PublishErrorKind::Server { err_code, .. } => crate::code::is_transient_api(err_code),
            PublishErrorKind::NoLeader | PublishErrorKind::NoResponders | PublishErrorKind::NotConnected => {
                true
            }
            _ => false,
        };
        by_kind && self.outcome == Outcome::NotDone
    }

    /// The message id; publishing again with it stores the message at most once within the stream's duplicate
    /// window.
    pub fn msg_id(&self) -> &str {
        &self.msg_id
    }

    /// The subject; for `NotPermitted` the one that is denied.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The server's exact reason, if it answered.
    pub fn err_code(&self) -> Option<u64> {
        match self.kind {
            PublishErrorKind::Server { err_code, .. } => Some(err_code),
            _ => None,
        }
    }

    /// The server's text, or ours.
    pub fn description(&self) -> &str {
        &self.description
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "publish to `{}`: {}", self.subject, self.kind)?;
        if !self.description.is_empty() {
            write!(f, ", {}", self.description)?;
        }
        match self.outcome {
            Outcome::NotDone => Ok(()),
            Outcome::Unknown => write!(f, "; whether message id `{}` was stored is unknown", self.msg_id),
        }
    }
}

impl Error for PublishError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
