//! Subscriptions that may be denied, refused or ended.

use std::future::{Future, pending};
use std::time::Duration;

use futures::StreamExt;
use sluicegate_nats::async_nats::{Message, SubscribeError, Subscriber};
use tokio::time::timeout;

use super::source::Source;
use crate::event::HintSource;

/// How long a client may take to accept a subscription.
pub(super) const HANDOVER: Duration = Duration::from_secs(2);

/// One subject that is listened to.
pub(super) struct Channel {
    pub(super) subject: String,
    pub(super) source: Source,
    pub(super) subscriber: Option<Subscriber>,
}

impl Channel {
    pub(super) fn new(subject: String, source: HintSource) -> Self {
        Self { subject, source: Source::new(source), subscriber: None }
    }

    /// Whether it should be listened to, and is not.
    pub(super) fn is_missing(&self, wanted: bool) -> bool {
        wanted && self.subscriber.is_none() && !self.source.is_dead()
    }

    pub(super) async fn end(&mut self) {
        if let Some(mut subscriber) = self.subscriber.take() {
            // Sent before whatever is sent next, which dropping it would not ensure.
            let _ = timeout(HANDOVER, subscriber.unsubscribe()).await;
        }
    }
}

/// The client does not take anything now.
pub(super) struct NotTaken;

pub(super) async fn taken(
    subscribing: impl Future<Output = Result<Subscriber, SubscribeError>>,
) -> Result<Subscriber, NotTaken> {
    match timeout(HANDOVER, subscribing).await {
        Ok(Ok(subscriber)) => Ok(subscriber),
        Ok(Err(_)) | Err(_) => Err(NotTaken),
    }
}

pub(super) async fn next(subscriber: &mut Option<Subscriber>) -> Option<Message> {
    match subscriber {
        Some(subscriber) => subscriber.next().await,
        None => pending().await,
    }
}
