use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sluicegate_nats::async_nats::HeaderMap;
use tokio::time::Instant;

use super::consumer::Consumer;
use super::{Limits, Retention};
use crate::publish::Outgoing;
use crate::{ClientId, DurableName, Guid, Queue, Start};

/// Who a position belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Plain(u64),
    Durable(ClientId, DurableName),
    Group(Queue),
    DurableGroup(DurableName, Queue),
}

impl Key {
    pub(super) fn is_durable(&self) -> bool {
        matches!(self, Self::Durable(..) | Self::DurableGroup(..))
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Durable(_, durable) => durable.as_str() == name,
            Self::Group(queue) => queue.as_str() == name,
            Self::DurableGroup(durable, queue) => durable.as_str() == name || queue.as_str() == name,
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Plain(number) => format!("plain-{number}"),
            Self::Durable(client, durable) => format!("{client}/{durable}"),
            Self::Group(queue) => queue.to_string(),
            Self::DurableGroup(durable, queue) => format!("{durable}:{queue}"),
        }
    }
}

/// A stored message.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) payload: Bytes,
    pub(super) headers: Option<HeaderMap>,
    pub(super) reply: Option<String>,
    pub(super) stored: Instant,
    pub(super) timestamp: SystemTime,
}

/// One channel: its log and its positions.
#[derive(Debug, Default)]
pub(super) struct ChannelState {
    log: VecDeque<Stored>,
    /// How many messages have gone from the front; the first one left is `gone + 1`.
    gone: u64,
    ids: BTreeMap<Guid, u64>,
    recent: VecDeque<(Instant, Guid)>,
    pub(super) consumers: BTreeMap<Key, Consumer>,
}

impl ChannelState {
    /// The lowest sequence that is stored, or would be next.
    pub(super) fn first(&self) -> u64 {
        self.gone + 1
    }

    pub(super) fn last(&self) -> u64 {
        self.gone + self.log.len() as u64
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Stored> {
        let index = sequence.checked_sub(self.first())?;
        self.log.get(usize::try_from(index).ok()?)
    }

    /// Stores a message, or finds the one of the same guid: its sequence, and whether it was a duplicate.
    pub(super) fn store(
        &mut self,
        outgoing: Outgoing,
        limits: &Limits,
        now: Instant,
        timestamp: SystemTime,
    ) -> (u64, bool) {
        self.forget_ids(now, limits.duplicate_window);
        if let Some(sequence) = self.ids.get(&outgoing.guid) {
            return (*sequence, true);
        }
        let Outgoing { payload, headers, reply, guid, .. } = outgoing;
        self.log.push_back(Stored { payload, headers, reply, stored: now, timestamp });
        let sequence = self.last();
        self.ids.insert(guid.clone(), sequence);
        self.recent.push_back((now, guid));
        if let Some(max) = limits.max_messages {
            while self.log.len() > max.get() {
                self.drop_first();
            }
        }
        self.trim(limits.retention);
        for consumer in self.consumers.values_mut() {
            consumer.wake();
        }
        (sequence, false)
    }

    /// Under interest retention: drops what every position has settled.
    pub(super) fn trim(&mut self, retention: Retention) {
        if retention == Retention::Limits {
            return;
        }
        let settled = self.consumers.values().map(Consumer::floor).min().unwrap_or(u64::MAX);
        while !self.log.is_empty() && self.first() <= settled {
            self.drop_first();
        }
    }

    /// The first sequence of a new position.
    pub(super) fn begin(&self, start: Start, now: SystemTime) -> u64 {
        let next = self.last() + 1;
        let not_older = |than: SystemTime| {
            let older = self.log.iter().take_while(|stored| stored.timestamp < than).count();
            self.first() + older as u64
        };
        match start {
            Start::New => next,
            Start::LastReceived => self.last().max(self.first()),
            Start::First => self.first(),
            Start::Sequence(sequence) => sequence.clamp(self.first(), next),
            Start::Time(time) => not_older(time),
            Start::Ago(ago) => now.checked_sub(ago).map_or(self.first(), not_older),
        }
    }

    fn drop_first(&mut self) {
        self.gone += u64::from(self.log.pop_front().is_some());
    }

    fn forget_ids(&mut self, now: Instant, window: Duration) {
        while let Some((stored, guid)) = self.recent.front()
            && now.duration_since(*stored) >= window
        {
            self.ids.remove(guid);
            self.recent.pop_front();
        }
    }
}
