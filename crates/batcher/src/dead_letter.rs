use std::fmt;

use crate::OpError;

/// An operation that did not end well, and that no ticket waits for.
pub struct DeadLetter<T, E> {
    pub(crate) payload: Option<T>,
    pub(crate) cost: u32,
    pub(crate) attempts: u32,
    pub(crate) cause: OpError<E>,
}

impl<T, E> DeadLetter<T, E> {
    /// The payload; none if a handler has taken it, or has not come back with it.
    pub fn payload(&self) -> Option<&T> {
        self.payload.as_ref()
    }

    /// The payload, taken out.
    pub fn into_payload(self) -> Option<T> {
        self.payload
    }

    /// What it costs, in units.
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// How often it was handed to the handler.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How it ended.
    pub fn cause(&self) -> &OpError<E> {
        &self.cause
    }
}

impl<T, E: fmt::Debug> fmt::Debug for DeadLetter<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("cost", &self.cost)
            .field("attempts", &self.attempts)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

/// Where operations go that end in any other way than done or cancelled while no ticket waits for them: those that
/// were enqueued, and those whose ticket was detached, or dropped after dispatch.
///
/// Called once for each of them, from the engine or the task of a batch: it must not block, and a panic is caught and
/// counted. The usual sink sends into a channel. A closure is one.
pub trait DeadLetterSink<T, E>: Send + Sync {
    /// Takes one of them.
    fn bury(&self, letter: DeadLetter<T, E>);
}

impl<T, E, F: Fn(DeadLetter<T, E>) + Send + Sync> DeadLetterSink<T, E> for F {
    fn bury(&self, letter: DeadLetter<T, E>) {
        self(letter);
    }
}
