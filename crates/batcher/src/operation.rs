/// One payload with its cost. It is moved into the batcher, so it can be queued once at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<T> {
    pub(crate) payload: T,
    pub(crate) cost: u32,
}

impl<T> Operation<T> {
    /// An operation of cost 1.
    pub fn new(payload: T) -> Self {
        Self { payload, cost: 1 }
    }

    /// What the datastore is expected to charge for it, in units of its budget. Default 1. An operation of cost 0
    /// takes no budget, but keeps its place in the queue.
    #[must_use]
    pub fn cost(mut self, units: u32) -> Self {
        self.cost = units;
        self
    }

    /// What it costs, in units.
    pub fn units(&self) -> u32 {
        self.cost
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
