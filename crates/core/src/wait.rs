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
    /// Whether an earlier head was told of freed slots and did not use them all.
    pub fn has_spare(&self) -> bool {
        self.spare().load(Ordering::Acquire) > 0
    }

    /// So many slots are believed to be free; what was believed before is stale. They stay for the heads that follow,
    /// until one of them is used or refused: a head that leaves in the middle of its attempt takes none along.
    pub fn set_spare(&mut self, slots: u32) {
        self.spare().store(slots, Ordering::Release);
    }

    /// This head got one of them.
    pub fn use_spare(&mut self) {
        let left = self.spare().load(Ordering::Acquire).saturating_sub(1);
        self.set_spare(left);
    }

    fn spare(&self) -> &AtomicU32 {
        &self.place.0.0.spare
    }
}

#[derive(Debug)]
struct Place<'a>(&'a WaitQueue);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
