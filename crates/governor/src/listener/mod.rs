//! Hears, for one handle of a pool, of freed slots and ended leases, and of those who wait elsewhere.
//!
//! A listener belongs to a handle, because subscriptions belong to a connection. It is a task from the first time that
//! somebody waits, holds or gives back, to the end of the handle, and subscribes only while there is somebody to tell.

mod audit;
mod bell;
mod channel;
mod note;
mod source;
mod task;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::bell::Bell;
pub(crate) use self::note::Revocation;
use crate::pool::Pool;

/// How much longer than it is needed a subscription is kept: who waits once waits again.
const LINGER: Duration = Duration::from_secs(2);

/// What a handle wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Freed slots.
    Slots,
    /// Ended leases.
    Losses,
}

#[derive(Debug, Default)]
pub(crate) struct Listener {
    slots: Interest,
    losses: Interest,
    /// Somebody wants a look at the stream.
    look: AtomicBool,
    /// There is something to do for the task.
    changed: Notify,
    started: AtomicBool,
    /// The handle is gone.
    ended: CancellationToken,
    /// Since when the audits of deletions are seen to arrive.
    pushed: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Interested {
    count: usize,
    /// When somebody last was.
    last: Option<Instant>,
    /// Nobody is, and nobody is expected to be.
    over: bool,
}

/// How many want to hear of something.
#[derive(Debug, Default)]
struct Interest {
    state: Mutex<Interested>,
    /// The task listens for it.
    served: AtomicBool,
}

impl Interest {
    fn state(&self) -> MutexGuard<'_, Interested> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) -> usize {
        self.state().count
    }

    /// Somebody wants to hear of it, or did a moment ago.
    fn is_recent(&self) -> bool {
        let state = self.state();
        state.count > 0 || state.last.is_some_and(|last| last.elapsed() < LINGER)
    }

    /// The same, unless it is over.
    fn is_live(&self) -> bool {
        self.is_recent() && !self.state().over
    }

    /// Nobody waits: what is heard would be kept from those who do.
    fn is_over(&self) {
        let mut state = self.state();
        state.over = state.count == 0;
    }

    fn begin(&self) {
        let mut state = self.state();
        state.count += 1;
        state.over = false;
    }

    fn touch(&self) {
        let mut state = self.state();
        state.last = Some(Instant::now());
        state.over = false;
    }

    fn set_served(&self, served: bool) {
        self.served.store(served, Ordering::Release);
    }
}

impl Listener {
    /// From now on something is heard; until the handle is gone.
    pub(crate) fn start(&self, pool: &Arc<Pool>) {
        // Looked at first, as this is part of every release.
        if self.started.load(Ordering::Acquire) || self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let events = pool.stream.connection().events();
        // A runtime that is shutting down drops the task: then nothing is heard.
        drop(pool.runtime.spawn(task::run(Arc::clone(pool), events)));
    }

    /// Listens while the guard lives, and a little longer.
    pub(crate) fn want<'a>(&'a self, pool: &Arc<Pool>, want: Want) -> Wanted<'a> {
        let interest = match want {
            Want::Slots => &self.slots,
            Want::Losses => &self.losses,
        };
        interest.begin();
        self.start(pool);
        if !interest.served.load(Ordering::Acquire) {
            self.changed.notify_one();
        }
        Wanted(interest)
    }

    /// Somebody waits for a slot.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.slots.count() > 0
    }

    /// Lets the task look at the stream as a whole, soon and once for all who want it.
    pub(crate) fn look(&self) {
        self.look.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Since when whoever ends a lease is heard of, so that nobody has to look.
    pub(crate) fn pushed(&self) -> Option<Instant> {
        *self.pushed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_pushed(&self, since: Option<Instant>) {
        *self.pushed.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// The handle is gone.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }
}

/// Somebody wants to hear of something.
#[derive(Debug)]
pub(crate) struct Wanted<'a>(&'a Interest);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.count -= 1;
        state.last = Some(Instant::now());
    }
}
