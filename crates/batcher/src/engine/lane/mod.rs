mod ageing;
mod form;
mod typed;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::typed::TypedLane;
use crate::limit::Meter;
use crate::{BatchId, Findings, FlushReason};

/// One watcher's queue as the engine sees it; called once a batch, never once an operation.
pub(crate) trait Lane: Send {
    /// Fetches what has come in, and ends what has waited too long.
    fn pull(&mut self, now: Instant);
    /// Nothing waits, for its turn or for another attempt.
    fn is_empty(&self) -> bool;
    /// It waits for no batch to end.
    fn is_at_rest(&self) -> bool;
    /// It is drained by itself, and everything has ended.
    fn is_over(&self) -> bool;
    /// The engine lets go of it.
    fn farewell(&self);
    /// Sum of the costs of what needs capacity, as of the last pull.
    fn outstanding(&self) -> u64;
    /// Its part beside others.
    fn weight(&self) -> u32;
    /// What waits now is to leave without waiting for company.
    fn flush(&mut self);
    /// Whether a batch would leave now, budget aside.
    fn pressure(&self, moment: &Moment) -> Pressure;
    /// When something ends or is due, whatever else happens.
    fn timer(&self) -> Option<Instant>;
    /// Cost of the batch that would be formed now, counted no further than `enough`; 0 if its first operation is free.
    fn next_cost(&self, enough: u64) -> u64;
    /// Forms a batch from the oldest operations that the meter admits.
    fn form(&mut self, order: Order<'_>) -> Option<Departure>;
    /// Sends the batch that was formed on its way.
    fn launch(&mut self);
    /// Says when the inbox wakes the engine. True: it would have already.
    fn arm(&self, watch: &Watch) -> bool;
    /// Holds the counters against what is there.
    fn audit(&self) -> Option<Findings>;
    /// Ends everything that waits as `ShutDown`.
    fn shut_down(&mut self, now: Instant);
}

/// What all lanes are judged by.
pub(crate) struct Moment {
    pub(crate) now: Instant,
    pub(crate) buffer_full: bool,
    pub(crate) draining: bool,
}

pub(crate) enum Pressure {
    /// Nothing to do until something comes in, or ends.
    Rests,
    /// Not before then.
    Until(Instant),
    /// Now, for this reason.
    Ready(FlushReason),
}

/// An order to form a batch.
pub(crate) struct Order<'a> {
    pub(crate) id: BatchId,
    pub(crate) reason: FlushReason,
    pub(crate) now: Instant,
    pub(crate) meter: Option<&'a mut Meter>,
}

/// A batch that is about to leave.
pub(crate) struct Departure {
    pub(crate) watcher: Arc<str>,
    pub(crate) len: usize,
    pub(crate) cost: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest_wait: Duration,
}

/// What the engine waits for besides the lane's own limits.
pub(crate) struct Watch {
    /// No batch can start before another has ended, or a pause is over.
    pub(crate) no_slot: bool,
    /// There is no budget, so that company for those who wait changes nothing.
    pub(crate) no_budget: bool,
    /// So much more cost changes the wanted rate.
    pub(crate) headroom: u64,
    /// The engine looks again then.
    pub(crate) wake: Option<Instant>,
}
