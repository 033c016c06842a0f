use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::MemoryBroker;
use super::channel::Key;
use super::consumer::MemberId;
use crate::Channel;
use crate::message::Delivery;
use crate::subscribe::Settle;

/// One subscription's seat at a position. Dropping it gives the seat up.
pub(crate) struct Member {
    broker: MemoryBroker,
    channel: Channel,
    key: Key,
    id: MemberId,
    /// Fires when something in flight is due to come again.
    timer: Option<Pin<Box<Sleep>>>,
    forget: bool,
}

/// Where word about one delivery goes.
pub(crate) struct Ticket {
    broker: MemoryBroker,
    channel: Channel,
    key: Key,
    sequence: u64,
    delivery: u32,
}

impl Member {
    pub(super) fn new(broker: MemoryBroker, channel: Channel, key: Key, id: MemberId) -> Self {
        Self { broker, channel, key, id, timer: None, forget: false }
    }

    pub(crate) fn consumer(&self) -> String {
        self.key.text()
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(Delivery, Ticket)> {
        loop {
            let next_due = match self.take(cx) {
                Ok(taken) => {
                    self.broker.changed();
                    return Poll::Ready(taken);
                }
                Err(next_due) => next_due,
            };
            let Some(due) = next_due else { return Poll::Pending };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // The clock may tick between the look and the timer: look again.
            self.timer = None;
        }
    }

    /// A delivery, or when to look again if nobody wakes us before.
    fn take(&self, cx: &mut Context<'_>) -> Result<(Delivery, Ticket), Option<Instant>> {
        let now = Instant::now();
        let mut state = self.broker.lock();
        let turn = state.number();
        let frozen = state.frozen;
        let channel = state.channels.get_mut(&self.channel).ok_or(None)?;
        let (first, last) = (channel.first(), channel.last());
        let consumer = channel.consumers.get_mut(&self.key).ok_or(None)?;
        let taken = if frozen { None } else { consumer.take(self.id, first, last, now) };
        let Some((sequence, before)) = taken else {
            consumer.wait(self.id, cx.waker(), turn);
            return Err(if frozen { None } else { consumer.next_due() });
        };
        // Whatever is between `first` and `last` is stored.
        let stored = channel.get(sequence).ok_or(None)?;
        let delivery = Delivery {
            sequence,
            timestamp: stored.timestamp,
            data: stored.payload.clone(),
            headers: stored.headers.clone(),
            reply: stored.reply.clone(),
            redelivery_count: before,
        };
        let (broker, channel, key) = (self.broker.clone(), self.channel.clone(), self.key.clone());
        Ok((delivery, Ticket { broker, channel, key, sequence, delivery: before + 1 }))
    }

    pub(crate) fn leave(mut self, forget: bool) {
        self.forget = forget;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.broker.lock();
        if let Some(channel) = state.channels.get_mut(&self.channel) {
            if let Some(consumer) = channel.consumers.get_mut(&self.key) {
                consumer.leave(self.id);
                if self.forget || (consumer.members() == 0 && !self.key.is_durable()) {
                    channel.consumers.remove(&self.key);
                }
            }
            channel.trim(self.broker.limits().retention);
        }
        drop(state);
        self.broker.changed();
    }
}

impl Ticket {
    pub(crate) fn settle(&self, how: Settle<'_>) {
        let now = Instant::now();
        let mut state = self.broker.lock();
        // A position that is gone has nothing to settle.
        if let Some(consumer) = state.consumer(&self.channel, &self.key) {
            consumer.expire(now);
            match how {
                Settle::Ack | Settle::Confirmed | Settle::Term(_) => _ = consumer.ack(self.sequence),
                Settle::Nak(delay) => consumer.nak(self.sequence, self.delivery, delay, now),
            }
        }
        if let Some(channel) = state.channels.get_mut(&self.channel) {
            channel.trim(self.broker.limits().retention);
        }
        drop(state);
        self.broker.changed();
    }

    pub(crate) fn in_progress(&self, ack_wait: Duration) {
        let now = Instant::now();
        if let Some(consumer) = self.broker.lock().consumer(&self.channel, &self.key) {
            consumer.expire(now);
            consumer.in_progress(self.sequence, self.delivery, ack_wait, now);
        }
    }
}
