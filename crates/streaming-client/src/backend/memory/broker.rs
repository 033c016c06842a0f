use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::channel::{ChannelState, Key};
use super::consumer::Consumer;
use super::{Limits, MemoryStats, Retention};
use crate::publish::{Outcomes, Outgoing, PublishResult, Room};
use crate::{Channel, ClientId, DurableName, ErrorKind, PubReceipt, PublishError, Queue, Start, StreamError};

/// A broker in this process's memory, with the rules of NATS Streaming. Cheap to clone; all clones are one broker.
///
/// For tests of handlers, for simulations, for one process that wants durable-like positions without a server. Time
/// is tokio's, so a paused clock works, and nothing depends on chance: the same calls give the same deliveries.
/// Everything is gone with the last clone.
#[derive(Clone)]
pub struct MemoryBroker(Arc<Shared>);

/// Makes a [`MemoryBroker`] that is not the plain one.
#[derive(Clone, Debug)]
pub struct MemoryBrokerBuilder {
    limits: Limits,
    epoch: SystemTime,
}

struct Shared {
    state: Mutex<State>,
    limits: Limits,
    /// The wall clock at `made`.
    epoch: SystemTime,
    made: Instant,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) channels: BTreeMap<Channel, ChannelState>,
    pub(super) clients: BTreeSet<ClientId>,
    pub(super) frozen: bool,
    /// What was published while frozen.
    held: VecDeque<Held>,
    /// Numbers for members, clients, turns: whoever asks next gets the next one.
    number: u64,
}

struct Held {
    outgoing: Outgoing,
    room: Room,
    outcomes: Arc<Outcomes>,
    tell: oneshot::Sender<PublishResult>,
}

impl State {
    pub(super) fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(super) fn consumer(&mut self, channel: &Channel, key: &Key) -> Option<&mut Consumer> {
        self.channels.get_mut(channel)?.consumers.get_mut(key)
    }

    /// The channel, made if there is none yet.
    pub(super) fn channel(
        &mut self,
        name: &Channel,
        limits: &Limits,
    ) -> Result<&mut ChannelState, StreamError> {
        if !self.channels.contains_key(name) {
            let same = |other: &&Channel| other.as_str().to_lowercase() == name.as_str().to_lowercase();
            if let Some(other) = self.channels.keys().find(same) {
                let context =
                    format!("channel {name:?}, as {other:?} exists: different cases are not allowed");
                return Err(StreamError::new(ErrorKind::Rejected, context));
            }
            if limits.max_channels.is_some_and(|max| self.channels.len() >= max.get()) {
                let context = format!("channel {name:?}: the broker has all the channels it may have");
                return Err(StreamError::new(ErrorKind::Rejected, context));
            }
        }
        Ok(self.channels.entry(name.clone()).or_default())
    }
}

impl MemoryBrokerBuilder {
    /// What is kept. Default: everything ([`Retention::Limits`]).
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.limits.retention = retention;
        self
    }

    /// How many messages a channel keeps; the oldest go first. Default: all.
    #[must_use]
    pub fn max_messages(mut self, max: NonZeroUsize) -> Self {
        self.limits.max_messages = Some(max);
        self
    }

    /// How many channels there may be. Default: any number.
    #[must_use]
    pub fn max_channels(mut self, max: NonZeroUsize) -> Self {
        self.limits.max_channels = Some(max);
        self
    }

    /// The largest payload, in bytes. Default 1 MiB.
    #[must_use]
    pub fn max_payload(mut self, max: usize) -> Self {
        self.limits.max_payload = max;
        self
    }

    /// For how long guids are remembered. Default 2 min.
    #[must_use]
    pub fn duplicate_window(mut self, window: Duration) -> Self {
        self.limits.duplicate_window = window;
        self
    }

    /// What the broker's clock shows now. Default: the Unix epoch, so that runs repeat.
    #[must_use]
    pub fn epoch(mut self, epoch: SystemTime) -> Self {
        self.epoch = epoch;
        self
    }

    /// The broker.
    pub fn build(self) -> MemoryBroker {
        MemoryBroker(Arc::new(Shared {
            state: Mutex::default(),
            limits: self.limits,
            epoch: self.epoch,
            made: Instant::now(),
            changes: watch::Sender::new(0),
        }))
    }
}

impl MemoryBroker {
    /// A broker that keeps everything.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A broker with some property changed.
    pub fn builder() -> MemoryBrokerBuilder {
        MemoryBrokerBuilder { limits: Limits::default(), epoch: SystemTime::UNIX_EPOCH }
    }

    /// What the broker's clock shows.
    pub fn now(&self) -> SystemTime {
        self.0.epoch + self.0.made.elapsed()
    }

    /// Makes the position of a durable group before anybody subscribes, as an administrator makes a durable consumer
    /// on a server. One that exists stays as it is.
    ///
    /// # Errors
    /// `Rejected` if the broker may not have the channel.
    pub fn ensure_group(
        &self,
        channel: &Channel,
        durable: &DurableName,
        queue: &Queue,
        start: Start,
    ) -> Result<(), StreamError> {
        let now = self.now();
        let mut state = self.lock();
        let channel = state.channel(channel, &self.0.limits)?;
        let first = channel.begin(start, now);
        let key = Key::DurableGroup(durable.clone(), queue.clone());
        channel.consumers.entry(key).or_insert_with(|| Consumer::new(first));
        drop(state);
        self.changed();
        Ok(())
    }

    /// How a position stands, found by the name of its durable or its queue; `None` if there is none.
    pub fn stats(&self, channel: &Channel, name: &str) -> Option<MemoryStats> {
        let now = Instant::now();
        let mut state = self.lock();
        let channel = state.channels.get_mut(channel)?;
        let (first, last) = (channel.first(), channel.last());
        let (_, consumer) = channel.consumers.iter_mut().find(|(key, _)| key.is_named(name))?;
        let (floor, next) = (consumer.floor(), consumer.next().max(first));
        let mut stats = MemoryStats {
            pending: (last + 1).saturating_sub(next),
            ack_pending: consumer.in_flight() as u64,
            redelivered_pending: consumer.coming_again() as u64,
            delivered: consumer.delivered,
            redelivered: consumer.redelivered,
            acked: consumer.acked,
            ack_floor: floor,
            last_sequence: last,
            members: consumer.members(),
            oldest: None,
        };
        let oldest = (floor + 1).max(first);
        stats.oldest = channel.get(oldest).map(|stored| now.duration_since(stored.stored));
        Some(stats)
    }

    /// A number that grows with every publish, delivery and settlement. Wait for its change, then look at
    /// [`stats`](Self::stats).
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// From now on nothing is stored and nothing delivered, until [`thaw`](Self::thaw): publishes wait, as they do
    /// for a server that hangs.
    pub fn freeze(&self) {
        self.lock().frozen = true;
    }

    /// Ends [`freeze`](Self::freeze): what was published meanwhile is stored, in order.
    pub fn thaw(&self) {
        let mut state = self.lock();
        state.frozen = false;
        let held = std::mem::take(&mut state.held);
        let results: Vec<_> = held
            .into_iter()
            .map(|held| (self.store(&mut state, held.outgoing), held.room, held.outcomes, held.tell))
            .collect();
        for channel in state.channels.values_mut() {
            channel.consumers.values_mut().for_each(Consumer::wake);
        }
        drop(state);
        for (result, room, outcomes, tell) in results {
            outcomes.note(&result);
            drop(room);
            // Nobody waits any more: the event has been told.
            let _ = tell.send(result);
        }
        self.changed();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(super) fn changed(&self) {
        self.0.changes.send_modify(|number| *number += 1);
    }

    /// The result, or whence it will come.
    pub(super) fn publish(
        &self,
        outgoing: Outgoing,
        room: Room,
        outcomes: &Arc<Outcomes>,
    ) -> Result<PublishResult, oneshot::Receiver<PublishResult>> {
        let mut state = self.lock();
        if state.frozen {
            let (tell, outcome) = oneshot::channel();
            state.held.push_back(Held { outgoing, room, outcomes: Arc::clone(outcomes), tell });
            return Err(outcome);
        }
        let result = self.store(&mut state, outgoing);
        drop(state);
        outcomes.note(&result);
        self.changed();
        Ok(result)
    }

    fn store(&self, state: &mut State, outgoing: Outgoing) -> PublishResult {
        let limits = &self.0.limits;
        let guid = outgoing.guid.clone();
        if outgoing.payload.len() > limits.max_payload {
            let context =
                format!("{} bytes, at most {} are accepted", outgoing.payload.len(), limits.max_payload);
            return Err(PublishError::not_done(guid, StreamError::new(ErrorKind::TooLarge, context)));
        }
        let (now, timestamp) = (Instant::now(), self.now());
        match state.channel(&outgoing.channel, limits) {
            Ok(channel) => {
                let (sequence, duplicate) = channel.store(outgoing, limits, now, timestamp);
                Ok(PubReceipt { guid, sequence: Some(sequence), duplicate, attempts: 1 })
            }
            Err(error) => Err(PublishError::not_done(guid, error)),
        }
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("MemoryBroker")
            .field("channels", &state.channels.len())
            .field("clients", &state.clients.len())
            .field("frozen", &state.frozen)
            .finish()
    }
}
