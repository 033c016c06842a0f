//! A broker in memory, and a client's end of it.

mod broker;
mod channel;
mod consumer;
mod member;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use self::broker::{MemoryBroker, MemoryBrokerBuilder};
use self::channel::Key;
use self::consumer::{Consumer, MemberId};
pub(crate) use self::member::{Member, Ticket};
use crate::publish::{Outcomes, Outgoing, PubAck, Room};
use crate::subscribe::Wanted;
use crate::{Capabilities, ClientId, ErrorKind, StreamError};

/// What a broker keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retention {
    /// Everything, within the limits.
    #[default]
    Limits,
    /// What some position has not settled yet; a message that nobody waits for is not kept at all.
    Interest,
}

/// How a position stands, as a JetStream consumer would show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Messages not delivered yet.
    pub pending: u64,
    /// Messages delivered and not settled.
    pub ack_pending: u64,
    /// How many of those have been delivered more than once.
    pub redelivered_pending: u64,
    /// Deliveries so far.
    pub delivered: u64,
    /// How many of them were not the first of their message.
    pub redelivered: u64,
    /// Messages settled for good.
    pub acked: u64,
    /// Everything up to and including this sequence is settled.
    pub ack_floor: u64,
    /// The sequence of the channel's last message.
    pub last_sequence: u64,
    /// Live subscriptions.
    pub members: usize,
    /// How long ago the oldest unsettled message was stored.
    pub oldest: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    retention: Retention,
    max_messages: Option<NonZeroUsize>,
    max_channels: Option<NonZeroUsize>,
    max_payload: usize,
    duplicate_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            retention: Retention::Limits,
            max_messages: None,
            max_channels: None,
            max_payload: 1024 * 1024,
            duplicate_window: Duration::from_secs(120),
        }
    }
}

/// A registered client. The id is free again once it is closed or dropped.
#[derive(Debug)]
pub(crate) struct Session {
    broker: MemoryBroker,
    client: ClientId,
    guid_prefix: String,
    outcomes: Arc<Outcomes>,
    registered: AtomicBool,
}

impl Session {
    pub(crate) fn register(
        broker: MemoryBroker,
        client: ClientId,
        outcomes: Arc<Outcomes>,
    ) -> Result<Self, StreamError> {
        let mut state = broker.lock();
        if !state.clients.insert(client.clone()) {
            let context = format!("client id {client:?} is registered already: close that client first");
            return Err(StreamError::new(ErrorKind::Conflict, context));
        }
        let guid_prefix = format!("{client}.{:x}", state.number());
        drop(state);
        Ok(Self { broker, client, guid_prefix, outcomes, registered: AtomicBool::new(true) })
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities {
            deduplicates: true,
            confirms_acks: true,
            exclusive_durables: true,
            exclusive_client_ids: true,
            resumes_at_once: true,
        }
    }

    pub(crate) fn guid_prefix(&self) -> &str {
        &self.guid_prefix
    }

    pub(crate) fn publish(&self, outgoing: Outgoing, room: Room) -> PubAck {
        let guid = outgoing.guid.clone();
        match self.broker.publish(outgoing, room, &self.outcomes) {
            Ok(result) => PubAck::done(result),
            Err(outcome) => PubAck::waiting(guid, outcome),
        }
    }

    pub(crate) fn subscribe(&self, wanted: &Wanted) -> Result<Member, StreamError> {
        let now = self.broker.now();
        let mut state = self.broker.lock();
        let id = MemberId(state.number());
        let key = match (&wanted.durable, &wanted.queue) {
            (None, None) => Key::Plain(id.0),
            (Some(durable), None) => Key::Durable(self.client.clone(), durable.clone()),
            (None, Some(queue)) => Key::Group(queue.clone()),
            (Some(durable), Some(queue)) => Key::DurableGroup(durable.clone(), queue.clone()),
        };
        let channel = state.channel(&wanted.channel, self.broker.limits())?;
        let first = channel.begin(wanted.start, now);
        let consumer = channel.consumers.entry(key.clone()).or_insert_with(|| Consumer::new(first));
        if matches!(key, Key::Durable(..)) && consumer.members() > 0 {
            let context = format!("durable {} of channel {:?} has a subscriber", key.text(), wanted.channel);
            return Err(StreamError::new(ErrorKind::DurableInUse, context));
        }
        consumer.join(id, wanted.max_in_flight as usize, wanted.ack_wait);
        drop(state);
        self.broker.changed();
        Ok(Member::new(self.broker.clone(), wanted.channel.clone(), key, id))
    }

    pub(crate) fn close(&self) {
        // Once only: by the second time the id may be another client's.
        if self.registered.swap(false, Ordering::AcqRel) {
            self.broker.lock().clients.remove(&self.client);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}
