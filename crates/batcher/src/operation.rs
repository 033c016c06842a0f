use tokio::time::Instant;
use tracing::Span;

/// One payload with its cost. It is moved into the batcher, so it can be queued once at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<T> {
    pub(crate) payload: T,
    pub(crate) terms: Terms,
}

/// Everything about an operation but its payload. What few operations have stands in a box, so that the others are
/// small to move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) rare: Option<Box<Rare>>,
    pub(crate) cost: u32,
    pub(crate) bytes: u32,
    /// How often it has been dispatched.
    pub(crate) attempts: u32,
    pub(crate) alone: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Rare {
    pub(crate) deadline: Option<Instant>,
    /// The caller's span, if batches are to be linked with it.
    pub(crate) span: Option<Span>,
}

/// A span is where an operation comes from, not what it is.
impl PartialEq for Rare {
    fn eq(&self, other: &Self) -> bool {
        self.deadline == other.deadline
    }
}

impl Eq for Rare {}

impl Terms {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.rare.as_ref()?.deadline
    }

    pub(crate) fn span(&self) -> Option<&Span> {
        self.rare.as_ref()?.span.as_ref()
    }

    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

impl<T> Operation<T> {
    /// An operation of cost 1 and no bytes, that may share a batch and has all the time in the world.
    pub fn new(payload: T) -> Self {
        Self { payload, terms: Terms { cost: 1, ..Terms::default() } }
    }

    /// What the datastore is expected to charge for it, in units of its budget. Default 1. An operation of cost 0
    /// takes no budget, but keeps its place in the queue.
    #[must_use]
    pub fn cost(mut self, units: u32) -> Self {
        self.terms.cost = units;
        self
    }

    /// How large it is, for `max_batch_bytes` and `buffer_bytes`. Default 0.
    #[must_use]
    pub fn bytes(mut self, bytes: u32) -> Self {
        self.terms.bytes = bytes;
        self
    }

    /// If it has not been started by then it ends as `DeadlinePassed`, at no cost to the budget. Default: never.
    #[must_use]
    pub fn deadline(mut self, at: Instant) -> Self {
        self.terms.rare().deadline = Some(at);
        self
    }

    /// It shares a batch with no other operation. Those behind it may leave before it, those in front do.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.terms.alone = true;
        self
    }

    /// What it costs, in units.
    pub fn units(&self) -> u32 {
        self.terms.cost
    }

    /// How often it has been handed to a handler. One that a batcher gave back keeps its count, and is refused by a
    /// watcher that allows no more.
    pub fn attempts(&self) -> u32 {
        self.terms.attempts
    }

    /// The payload.
    pub fn payload(&self) -> &T {
        &self.payload
    }

    /// The payload, taken out.
    pub fn into_payload(self) -> T {
        self.payload
    }
}
