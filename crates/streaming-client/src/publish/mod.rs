//! Publishing: the message, the window, the outcome.

mod outgoing;
mod receipt;
mod window;

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use self::outgoing::Outgoing;
pub use self::outgoing::OutgoingMessage;
pub(crate) use self::receipt::PublishResult;
pub use self::receipt::{PubAck, PubReceipt};
pub(crate) use self::window::{Room, Window};
use crate::event::Events;
use crate::{Outcome, StreamEvent};

/// How publishes have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishCounts {
    /// The server has them.
    pub stored: u64,
    /// The server has them not.
    pub not_done: u64,
    /// Nobody knows.
    pub unknown: u64,
}

/// Counts outcomes and tells of the bad ones, whether or not somebody waits for them.
#[derive(Debug)]
pub(crate) struct Outcomes {
    stored: AtomicU64,
    not_done: AtomicU64,
    unknown: AtomicU64,
    events: Events,
}

impl Outcomes {
    pub(crate) fn new(events: Events) -> Self {
        Self { stored: AtomicU64::new(0), not_done: AtomicU64::new(0), unknown: AtomicU64::new(0), events }
    }

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    pub(crate) fn note(&self, result: &PublishResult) {
        match result {
            Ok(_) => _ = self.stored.fetch_add(1, Ordering::Relaxed),
            Err(error) if error.outcome() == Outcome::NotDone => {
                self.refused(StreamEvent::PublishNotDone { guid: error.guid().clone(), kind: error.kind() });
            }
            Err(error) => {
                self.unknown.fetch_add(1, Ordering::Relaxed);
                self.events.emit(StreamEvent::PublishUnknown { guid: error.guid().clone() });
            }
        }
    }

    /// Counts a publish that was not done, and tells of it.
    pub(crate) fn refused(&self, event: StreamEvent) {
        self.not_done.fetch_add(1, Ordering::Relaxed);
        self.events.emit(event);
    }

    pub(crate) fn counts(&self) -> PublishCounts {
        PublishCounts {
            stored: self.stored.load(Ordering::Relaxed),
            not_done: self.not_done.load(Ordering::Relaxed),
            unknown: self.unknown.load(Ordering::Relaxed),
        }
    }
}

impl PublishCounts {
    /// What has been added since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            stored: self.stored.saturating_sub(before.stored),
            not_done: self.not_done.saturating_sub(before.not_done),
            unknown: self.unknown.saturating_sub(before.unknown),
        }
    }
}
