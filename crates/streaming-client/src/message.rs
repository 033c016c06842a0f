use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sluicegate_nats::async_nats::HeaderMap;

use crate::subscribe::{Settle, Settlement, SubscriptionCore};
use crate::{Channel, StreamError};

/// One delivery of a message.
///
/// Each delivery is settled once: acknowledged, handed back or rejected. One that is dropped unsettled comes again
/// after the ack wait.
pub struct Message {
    channel: Channel,
    delivery: Delivery,
    settlement: Arc<Settlement>,
}

/// What a back end hands over.
pub(crate) struct Delivery {
    pub(crate) sequence: u64,
    pub(crate) timestamp: SystemTime,
    pub(crate) data: Bytes,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) reply: Option<String>,
    pub(crate) redelivery_count: u32,
}

impl Message {
    pub(crate) fn new(
        core: &Arc<SubscriptionCore>,
        delivery: Delivery,
        route: crate::backend::Route,
    ) -> Self {
        let settlement = Settlement::new(Arc::clone(core), route, delivery.sequence);
        Self { channel: core.channel().clone(), delivery, settlement }
    }

    pub(crate) fn settlement(&self) -> &Arc<Settlement> {
        &self.settlement
    }

    /// Where it was published.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Its number in the channel.
    pub fn sequence(&self) -> u64 {
        self.delivery.sequence
    }

    /// When it was stored, by the server's clock.
    pub fn timestamp(&self) -> SystemTime {
        self.delivery.timestamp
    }

    /// The payload. Cheap to clone.
    pub fn data(&self) -> &Bytes {
        &self.delivery.data
    }

    /// Its headers, where it has any.
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.delivery.headers.as_ref()
    }

    /// The reply subject that its publisher gave.
    pub fn reply(&self) -> Option<&str> {
        self.delivery.reply.as_deref()
    }

    /// It was handed over before.
    pub fn redelivered(&self) -> bool {
        self.delivery.redelivery_count > 0
    }

    /// How often it was handed over before this time. Servers forget it when they restart.
    pub fn redelivery_count(&self) -> u32 {
        self.delivery.redelivery_count
    }

    /// Done: it does not come again, unless this acknowledgement is lost on the way.
    ///
    /// # Errors
    /// `AlreadySettled`; `NotConnected` if there was no connection for the whole ack wait.
    ///
    /// # Cancel safety
    /// Safe: an acknowledgement that was not sent may be repeated.
    pub async fn ack(&self) -> Result<(), StreamError> {
        self.settlement.settle(Settle::Ack).await
    }

    /// Done, and the server has said so. Costs a round trip.
    ///
    /// # Errors
    /// As [`ack`](Self::ack), and `Timeout` if the server did not answer: then it may or may not come again.
    ///
    /// # Cancel safety
    /// Safe: it may be repeated.
    pub async fn ack_confirmed(&self) -> Result<(), StreamError> {
        self.settlement.settle(Settle::Confirmed).await
    }

    /// Not done: it comes again, after that time.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn nak(&self, after: Duration) -> Result<(), StreamError> {
        self.settlement.settle(Settle::Nak(after)).await
    }

    /// Still at it: the ack wait begins again. Handlers run by
    /// [`for_each`](crate::Subscription::for_each) need not say so.
    ///
    /// # Errors
    /// `AlreadySettled`, `NotConnected`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn in_progress(&self) -> Result<(), StreamError> {
        self.settlement.in_progress().await
    }

    /// Cannot be done: it does not come again.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn term(&self, reason: &str) -> Result<(), StreamError> {
        self.settlement.settle(Settle::Term(reason)).await
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("channel", &self.channel)
            .field("sequence", &self.sequence())
            .field("bytes", &self.data().len())
            .field("redelivery_count", &self.redelivery_count())
            .finish_non_exhaustive()
    }
}
