use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{Incarnation, LeaseId, LossCause, Observer};
use tokio::time::Instant;

/// What happens in a pool's handle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GovernorEvent {
    /// A caller of a [`Governor`](crate::Governor) has to wait.
    Waiting {
        /// Behind so many.
        ahead: usize,
    },
    /// A caller of a [`Governor`](crate::Governor) got a permit.
    Granted {
        /// For which lease.
        id: LeaseId,
        /// After that time.
        waited: Duration,
        /// How many permits had the lease before.
        reuse: u32,
    },
    /// A permit's lease went to the next who waits.
    HandedOn {
        /// Which.
        id: LeaseId,
    },
    /// A permit's lease is left to its time to live, on purpose.
    Kept {
        /// Which.
        id: LeaseId,
    },
    /// A permit's lease could not be given back before its end, or not at all.
    NotReleased {
        /// Which.
        id: LeaseId,
        /// What the pool said last.
        error: String,
    },
    /// A lease was granted.
    Acquired {
        /// Which.
        id: LeaseId,
        /// How many requests it took; more than one: some outcome was unknown for a while.
        tries: u32,
    },
    /// An attempt was refused because all slots are taken.
    Full,
    /// A release was answered.
    Released {
        /// Which.
        id: LeaseId,
        /// It was still held.
        freed: bool,
    },
    /// The time for two renewals has passed without one that was confirmed.
    RenewalsMissed {
        /// Of which lease.
        id: LeaseId,
        /// When it ends, unless a renewal is confirmed by then.
        deadline: Instant,
    },
    /// Somebody who awaits it was told that a lease ended early.
    Lost {
        /// Which.
        id: LeaseId,
        /// Why.
        cause: LossCause,
    },
    /// An attempt that nobody waits for any more may have taken a slot.
    Leaked {
        /// It was found out, and the slot, if there was one, was given back. Otherwise it ends with its time to
        /// live.
        resolved: bool,
    },
    /// The limit was changed by this process.
    Resized {
        /// The new number of slots.
        limit: u32,
    },
    /// The stream was deleted and made anew: every lease of the old one is lost.
    EpochChanged {
        /// The new incarnation, where it is known.
        incarnation: Option<Incarnation>,
    },
    /// A source of hints began to work, or ceased to. Nothing fails without one: waiters ask more often, and losses
    /// are found out by looking, at the deadline at the latest.
    HintSource {
        /// Which.
        source: HintSource,
        /// How it is now.
        state: HintState,
    },
    /// Writes are not answered although the stream is there: its store seems to fail.
    Degraded {
        /// What was seen.
        what: String,
    },
    /// The server refuses something that this handle could do with. It goes on without.
    PermissionDenied {
        /// What was refused, naming the subject.
        what: String,
    },
}

/// Where hints of freed slots and lost leases come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HintSource {
    /// Notes of releases that others send (`_GOV.rel.<NAME>`).
    Notes,
    /// Notes of our own releases. Dead: this user may not publish them, and the server's answer to the deletion
    /// serves as the note.
    OwnNotes,
    /// What the server tells of every call of its API (`$JS.EVENT.ADVISORY.API`).
    Audits,
    /// What the server tells of changes of the stream.
    StreamAdvisories,
    /// Notes of evictions by sluicegate (`_GOV.rev.<NAME>`).
    Revocations,
}

/// Whether a source of hints works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HintState {
    /// Nothing was heard of it yet.
    Unknown,
    /// It was seen to work.
    Working,
    /// It is denied, or nothing arrives.
    Dead,
}

/// Writes events to tracing and to the observer.
#[derive(Clone, Debug)]
pub(crate) struct Emitter {
    stream: Arc<str>,
    observer: Arc<dyn Observer<GovernorEvent>>,
}

impl Emitter {
    pub(crate) fn new(stream: Arc<str>, observer: Arc<dyn Observer<GovernorEvent>>) -> Self {
        Self { stream, observer }
    }

    pub(crate) fn emit(&self, event: &GovernorEvent) {
        let stream = &*self.stream;
        match event {
            GovernorEvent::Waiting { ahead } => tracing::debug!(stream, ahead, "waiting"),
            GovernorEvent::Granted { id, waited, reuse } => {
                tracing::debug!(stream, %id, waited_seconds = waited.as_secs_f64(), reuse, "permit granted");
            }
            GovernorEvent::HandedOn { id } => tracing::debug!(stream, %id, "lease handed on"),
            GovernorEvent::Kept { id } => tracing::debug!(stream, %id, "lease kept"),
            GovernorEvent::NotReleased { id, error } => {
                tracing::warn!(stream, %id, error, "lease not released: it ends with its time to live");
            }
            GovernorEvent::Acquired { id, tries } => tracing::debug!(stream, %id, tries, "lease acquired"),
            GovernorEvent::Full => tracing::trace!(stream, "full"),
            GovernorEvent::Released { id, freed } => tracing::debug!(stream, %id, freed, "lease released"),
            GovernorEvent::RenewalsMissed { id, .. } => tracing::warn!(stream, %id, "renewals missed"),
            GovernorEvent::Lost { id, cause } => tracing::warn!(stream, %id, %cause, "lease lost"),
            GovernorEvent::Leaked { resolved: true } => tracing::debug!(stream, "abandoned attempt resolved"),
            GovernorEvent::Leaked { resolved: false } => {
                tracing::warn!(
                    stream,
                    "abandoned attempt not resolved: a slot may be taken until it expires"
                );
            }
            GovernorEvent::Resized { limit } => tracing::info!(stream, limit, "resized"),
            GovernorEvent::EpochChanged { incarnation } => {
                let incarnation = incarnation.as_ref().map(tracing::field::display);
                tracing::warn!(stream, incarnation, "the stream was made anew: its leases are lost");
            }
            GovernorEvent::HintSource { source, state: HintState::Dead } => {
                tracing::warn!(stream, ?source, "hints do not arrive");
            }
            GovernorEvent::HintSource { source, state } => {
                tracing::debug!(stream, ?source, ?state, "source of hints");
            }
            GovernorEvent::Degraded { what } => tracing::error!(stream, what, "writes are not answered"),
            GovernorEvent::PermissionDenied { what } => tracing::warn!(stream, what, "permission denied"),
        }
        self.observer.observe(event);
    }
}
