use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::Observer;

use crate::{Channel, DrainReport, ErrorKind, Guid};

/// What happened inside a client.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StreamEvent {
    /// The client is usable.
    Registered,
    /// The connection to the server is gone; everything goes on by itself once it is back.
    NatsDown,
    /// The connection is back.
    NatsUp {
        /// How long it was away, as noticed here.
        outage: Duration,
    },
    /// A subscription is live.
    Subscribed {
        /// Its channel.
        channel: Channel,
        /// The name of its position on the server.
        consumer: String,
    },
    /// A subscription found its position on the server gone and made it anew.
    Resubscribed {
        /// Its channel.
        channel: Channel,
        /// The sequence from which it goes on, where it is known.
        from: Option<u64>,
    },
    /// A subscription gets nothing and the client works at mending it.
    Stalled {
        /// Its channel.
        channel: Channel,
        /// What is wrong, with the names in it.
        reason: String,
    },
    /// A publish was sent again, with the same guid.
    PublishRetried {
        /// Which one.
        guid: Guid,
        /// How often it has been sent by now.
        attempts: u32,
    },
    /// A publish ended without being stored.
    PublishNotDone {
        /// Which one.
        guid: Guid,
        /// Why.
        kind: ErrorKind,
    },
    /// A publish ended and nobody knows whether it was stored.
    PublishUnknown {
        /// Which one.
        guid: Guid,
    },
    /// A publish found no room in the window: it waits, or it was refused.
    WindowFull {
        /// Where it was to go.
        channel: Channel,
    },
    /// A handler returned a failure.
    HandlerFailed {
        /// The channel of the message.
        channel: Channel,
        /// Its sequence number.
        sequence: u64,
        /// After how long it comes again; `None`: it was rejected and comes no more.
        retry: Option<Duration>,
    },
    /// A handler panicked; the message comes again.
    HandlerPanicked {
        /// The channel of the message.
        channel: Channel,
        /// Its sequence number.
        sequence: u64,
    },
    /// An acknowledgement could not be sent; the message comes again.
    SettleFailed {
        /// The channel of the message.
        channel: Channel,
        /// Its sequence number.
        sequence: u64,
        /// Why.
        kind: ErrorKind,
    },
    /// A copy of a message that was already settled here was withheld.
    Suppressed {
        /// The channel of the message.
        channel: Channel,
        /// Its sequence number.
        sequence: u64,
    },
    /// The client, or one subscription, takes no new messages and finishes those in hand.
    Draining {
        /// The subscription's channel; `None`: the whole client.
        channel: Option<Channel>,
    },
    /// The end of the client, or of one subscription.
    Closed {
        /// The subscription's channel; `None`: the whole client.
        channel: Option<Channel>,
        /// What draining achieved; `None`: closed without draining.
        report: Option<DrainReport>,
    },
}

/// Where a client's events go.
#[derive(Clone)]
pub(crate) struct Events(Arc<dyn Observer<StreamEvent>>);

impl Events {
    pub(crate) fn new(observer: Arc<dyn Observer<StreamEvent>>) -> Self {
        Self(observer)
    }

    /// The one place that writes the tracing event and calls the observer.
    pub(crate) fn emit(&self, event: StreamEvent) {
        use StreamEvent as E;
        match &event {
            E::NatsDown
            | E::Stalled { .. }
            | E::PublishUnknown { .. }
            | E::PublishNotDone { .. }
            | E::HandlerPanicked { .. }
            | E::SettleFailed { .. } => {
                tracing::warn!(target: "sluicegate::stream", ?event);
            }
            E::WindowFull { .. } | E::Suppressed { .. } | E::PublishRetried { .. } => {
                tracing::debug!(target: "sluicegate::stream", ?event);
            }
            _ => tracing::info!(target: "sluicegate::stream", ?event),
        }
        self.0.observe(&event);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}
