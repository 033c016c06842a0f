use std::error::Error;
use std::fmt;
use std::sync::Arc;

use sluicegate_core::{LeaseError, LeaseErrorKind};

use crate::Operation;

/// An option that cannot be: which one, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    field: &'static str,
    problem: &'static str,
}

impl ConfigError {
    pub(crate) fn new(field: &'static str, problem: &'static str) -> Self {
        Self { field, problem }
    }

    /// The configuration key, in kebab-case.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// What is wrong with it, and what would do.
    pub fn problem(&self) -> &'static str {
        self.problem
    }
}

/// `Invalid`, in the same words, with the [`ConfigError`] as its source.
impl From<ConfigError> for LeaseError {
    fn from(error: ConfigError) -> Self {
        Self::new(LeaseErrorKind::Invalid, error.to_string()).with_source(error)
    }
}

/// Why an operation was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EnqueueErrorKind {
    /// The buffer has no place: try later, or wait for a place with `enqueue`, `submit` or `call`.
    Full,
    /// The batcher drains or has stopped: it accepts nothing any more.
    ShutDown,
    /// It has been handed to a handler as often as its watcher allows.
    TooManyAttempts {
        /// How often it has been.
        attempts: u32,
        /// How often it may be.
        max: u32,
    },
    /// Its deadline has passed already.
    DeadlinePassed,
    /// The operation costs more than the capacity can ever give in a second: split it.
    TooExpensive {
        /// What it costs, in units.
        cost: u32,
        /// The most that the capacity can ever be, in units per second.
        max: u64,
    },
}

impl fmt::Display for EnqueueErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the buffer is full: try later or wait for a place"),
            Self::ShutDown => f.write_str("the batcher is shutting down: nothing is accepted any more"),
            Self::TooManyAttempts { attempts, max } => {
                write!(f, "it has had {attempts} of {max} attempts: give it up")
            }
            Self::DeadlinePassed => f.write_str("its deadline has passed: it would never start"),
            Self::TooExpensive { cost, max } => {
                write!(
                    f,
                    "cost {cost} is above the largest possible capacity of {max}/s: split the operation"
                )
            }
        }
    }
}

/// A refused operation, with the reason. Nothing has happened to it: [`into_operation`](Self::into_operation) gives
/// it back.
pub struct EnqueueError<T> {
    kind: EnqueueErrorKind,
    operation: Operation<T>,
}

impl<T> EnqueueError<T> {
    pub(crate) fn new(kind: EnqueueErrorKind, operation: Operation<T>) -> Self {
        Self { kind, operation }
    }

    /// Why it was refused.
    pub fn kind(&self) -> EnqueueErrorKind {
        self.kind
    }

    /// The operation, as it was handed in.
    pub fn into_operation(self) -> Operation<T> {
        self.operation
    }
}

impl<T> fmt::Debug for EnqueueError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnqueueError").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for EnqueueError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation refused: {}", self.kind)
    }
}

impl<T> Error for EnqueueError<T> {}

/// How an accepted operation ended, when it did not end well.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpError<E> {
    /// The handler said so. An error of the whole batch is shared by all of its operations.
    Failed(Arc<E>),
    /// The handler said so, and the last attempt was that.
    Exhausted {
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt ended with.
        last: Arc<E>,
    },
    /// The handler took longer than `max_operation_time`; whether the operation took effect is unknown.
    TimedOut,
    /// The deadline passed before it was started: it took no effect, or none in its last attempt.
    DeadlinePassed,
    /// The handler panicked, with this message; whether the operation took effect is unknown.
    Panicked(Arc<str>),
    /// The handler returned fewer or more verdicts than there were operations; this one has none that can be
    /// trusted, and whether it took effect is unknown.
    NoVerdict,
    /// The batcher stopped first. An operation that was already with the handler may have taken effect.
    ShutDown,
}

impl<E> Clone for OpError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::Exhausted { attempts, last } => {
                Self::Exhausted { attempts: *attempts, last: Arc::clone(last) }
            }
            Self::TimedOut => Self::TimedOut,
            Self::DeadlinePassed => Self::DeadlinePassed,
            Self::Panicked(message) => Self::Panicked(Arc::clone(message)),
            Self::NoVerdict => Self::NoVerdict,
            Self::ShutDown => Self::ShutDown,
        }
    }
}

impl<E> fmt::Display for OpError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(_) => f.write_str("the handler failed the operation"),
            Self::Exhausted { attempts, .. } => {
                write!(f, "the handler failed the operation {attempts} times")
            }
            Self::TimedOut => {
                f.write_str("the handler took too long: whether the operation took effect is unknown")
            }
            Self::DeadlinePassed => f.write_str("the deadline passed before the operation was started"),
            Self::Panicked(message) => write!(f, "the handler panicked: {message}"),
            Self::NoVerdict => f.write_str("the handler gave the wrong number of verdicts"),
            Self::ShutDown => f.write_str("the batcher shut down before the operation ended"),
        }
    }
}

impl<E: Error + 'static> Error for OpError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) | Self::Exhausted { last: error, .. } => Some(&**error),
            _ => None,
        }
    }
}

/// What [`Watcher::call`](crate::Watcher::call) can answer instead of a result.
pub enum CallError<T, E> {
    /// The operation was not accepted; it is inside.
    Refused(EnqueueError<T>),
    /// It was accepted and did not end well.
    Ended(OpError<E>),
}

impl<T, E> From<EnqueueError<T>> for CallError<T, E> {
    fn from(error: EnqueueError<T>) -> Self {
        Self::Refused(error)
    }
}

impl<T, E> From<OpError<E>> for CallError<T, E> {
    fn from(error: OpError<E>) -> Self {
        Self::Ended(error)
    }
}

impl<T, E: fmt::Debug> fmt::Debug for CallError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => f.debug_tuple("Refused").field(error).finish(),
            Self::Ended(error) => f.debug_tuple("Ended").field(error).finish(),
        }
    }
}

impl<T, E> fmt::Display for CallError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Ended(error) => error.fmt(f),
        }
    }
}

impl<T, E: Error + 'static> Error for CallError<T, E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::Ended(error) => error.source(),
        }
    }
}
