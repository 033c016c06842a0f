use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The line in which the callers of one pool handle wait for a slot, first in, first out.
///
/// Every [`LeasePool`](crate::LeasePool) handle owns one, because the handle is the only place where all callers of
/// a process meet: a line kept anywhere above it can be passed by whoever does not stand in it.
///
/// Only the head of the line asks the pool; a newcomer asks directly only while nobody waits. So a caller that
/// releases and asks again at once does not overtake those who were there before it, and a hundred waiters cost
/// the server as much as one.
#[derive(Clone, Debug)]
pub struct WaitQueue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    head: Semaphore,
    waiting: AtomicUsize,
    /// Freed slots that an earlier head was told of and did not use.
    spare: AtomicU32,
}

impl WaitQueue {
    /// An empty line.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            head: Semaphore::new(1),
            waiting: AtomicUsize::new(0),
            spare: AtomicU32::new(0),
        }))
    }

    /// How many callers stand in line.
    pub fn len(&self) -> usize {
        self.0.waiting.load(Ordering::Acquire)
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stands in line until this caller is its head.
    ///
    /// # Cancel safety
    /// Dropping the future, or the turn, leaves the line; the next caller becomes its head.
    pub async fn turn(&self) -> Turn<'_> {
        self.0.waiting.fetch_add(1, Ordering::AcqRel);
        let place = Place(self);
        #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
        let head = self.0.head.acquire().await.expect("never closed");
        Turn { _head: head, place }
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// Being the head of a [`WaitQueue`]; dropping it lets the next one forward.
#[derive(Debug)]
pub struct Turn<'a> {
    _head: SemaphorePermit<'a>,
    place: Place<'a>,
}

impl Turn<'_> {
    /// Uses up one freed slot that an earlier head was told of, if there is one.
    pub fn take_spare(&mut self) -> bool {
        let spare = &self.place.0.0.spare;
        spare.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1)).is_ok()
    }

    /// Leaves that many freed slots to the heads that follow; what was left before is stale.
    pub fn leave_spare(&mut self, slots: u32) {
        self.place.0.0.spare.store(slots, Ordering::Release);
    }
}

#[derive(Debug)]
struct Place<'a>(&'a WaitQueue);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
