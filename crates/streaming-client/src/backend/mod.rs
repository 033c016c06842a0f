//! The back ends, a closed set dispatched by `match`: no boxed future per message.

pub(crate) mod jetstream;
pub(crate) mod memory;

use std::task::{Context, Poll};
use std::time::Duration;

use sluicegate_nats::Connection;

use self::jetstream::JetStreamConfig;
use self::memory::MemoryBroker;
use crate::message::Delivery;
use crate::publish::{Outgoing, PubAck, Room};
use crate::subscribe::{Settle, Wanted};
use crate::{Capabilities, ClientState, PublishError, StreamError, StreamEvent};

/// What a client talks to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Backend {
    /// A broker in this process.
    Memory(MemoryBroker),
    /// JetStream, over that connection.
    JetStream(JetStreamConfig, Connection),
}

impl Backend {
    /// A broker in this process.
    pub fn memory(broker: MemoryBroker) -> Self {
        Self::Memory(broker)
    }

    /// JetStream, over that connection, which the client does not close.
    pub fn jetstream(config: JetStreamConfig, connection: Connection) -> Self {
        Self::JetStream(config, connection)
    }
}

/// A client's end of its back end.
#[derive(Debug)]
pub(crate) enum Session {
    Memory(memory::Session),
    JetStream(jetstream::Session),
}

impl Session {
    pub(crate) fn capabilities(&self) -> Capabilities {
        match self {
            Self::Memory(session) => session.capabilities(),
            Self::JetStream(session) => session.capabilities(),
        }
    }

    pub(crate) fn state(&self) -> ClientState {
        match self {
            Self::Memory(_) => ClientState::Registered,
            Self::JetStream(session) => session.state(),
        }
    }

    /// What our guids begin with; unique among the clients of one server.
    pub(crate) fn guid_prefix(&self) -> &str {
        match self {
            Self::Memory(session) => session.guid_prefix(),
            Self::JetStream(session) => session.guid_prefix(),
        }
    }

    pub(crate) async fn publish(&self, outgoing: Outgoing, room: Room) -> Result<PubAck, PublishError> {
        match self {
            Self::Memory(session) => Ok(session.publish(outgoing, room)),
            Self::JetStream(session) => session.publish(outgoing, room).await,
        }
    }

    /// The name of the position, the ack wait that holds, and where its messages come from.
    pub(crate) async fn subscribe(&self, wanted: Wanted) -> Result<(String, Duration, Source), StreamError> {
        match self {
            Self::Memory(session) => {
                let ack_wait = wanted.ack_wait;
                let member = session.subscribe(&wanted)?;
                Ok((member.consumer(), ack_wait, Source::Memory(member)))
            }
            Self::JetStream(session) => {
                let puller = session.subscribe(wanted).await?;
                Ok((puller.consumer().to_owned(), puller.ack_wait(), Source::JetStream(Box::new(puller))))
            }
        }
    }

    /// Stops what runs in the background; publishes must have been resolved before.
    pub(crate) fn close(&self) {
        match self {
            Self::Memory(session) => session.close(),
            Self::JetStream(session) => session.close(),
        }
    }
}

/// Where a subscription's messages come from. Dropping it ends the delivery as a crash would.
pub(crate) enum Source {
    Memory(memory::Member),
    JetStream(Box<jetstream::Puller>),
}

impl Source {
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        notes: &mut Vec<StreamEvent>,
    ) -> Poll<(Delivery, Route)> {
        match self {
            Self::Memory(member) => member.poll_next(cx).map(|(delivery, t)| (delivery, Route::Memory(t))),
            Self::JetStream(puller) => {
                puller.poll_next(cx, notes).map(|(delivery, t)| (delivery, Route::JetStream(t)))
            }
        }
    }

    /// Ends the intake and hands back what had arrived and was not handed over; tells how much that was.
    pub(crate) async fn stop(&mut self) -> u64 {
        match self {
            // Memory hands over only what is asked for.
            Self::Memory(_) => 0,
            Self::JetStream(puller) => puller.stop().await,
        }
    }

    /// Gives up the membership; `forget`: and the position.
    pub(crate) async fn leave(self, forget: bool) {
        match self {
            Self::Memory(member) => member.leave(forget),
            Self::JetStream(puller) => puller.leave(forget).await,
        }
    }
}

/// Where word about one delivery goes.
pub(crate) enum Route {
    Memory(memory::Ticket),
    JetStream(jetstream::Ticket),
}

impl Route {
    pub(crate) async fn settle(&self, how: Settle<'_>, patience: Duration) -> Result<(), StreamError> {
        match self {
            Self::Memory(ticket) => {
                ticket.settle(how);
                Ok(())
            }
            Self::JetStream(ticket) => ticket.settle(how, patience).await,
        }
    }

    pub(crate) async fn in_progress(&self, ack_wait: Duration) -> Result<(), StreamError> {
        match self {
            Self::Memory(ticket) => {
                ticket.in_progress(ack_wait);
                Ok(())
            }
            Self::JetStream(ticket) => ticket.in_progress(ack_wait).await,
        }
    }
}
