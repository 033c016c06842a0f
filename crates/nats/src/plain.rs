use std::time::Duration;

use async_nats::PublishErrorKind as Theirs;
use bytes::Bytes;
use sluicegate_core::later;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::connection::{Connection, Slot};
use crate::error::{RequestError, RequestErrorKind};
use crate::link::Ticket;
use crate::permission::Denied;
use crate::publish::epoch;
use crate::request::{OnLoss, not_permitted, send};

/// How often others get their turn, so that a denial that stood before the answer on the wire is heard before it.
const TURNS: usize = 8;

impl Connection {
    /// Publishes messages that no stream has to acknowledge, in order, and waits until the server has taken them:
    /// a request that nobody answers is sent behind them, and comes back when everything before it was processed.
    /// Whether anybody has received them is not known.
    ///
    /// # Errors
    /// `NotConnected`, `Invalid`: certainly not done. `TooLarge`: those before it may have been sent.
    /// `NotPermitted`: the server refused them. `TimedOut`, `Closed`: which of them the server has taken is unknown.
    ///
    /// # Cancel safety
    /// Dropping it forgets the answer; the messages may have been sent, or may be yet.
    pub async fn publish_plain(
        &self,
        subject: &str,
        payloads: impl IntoIterator<Item = Bytes, IntoIter: Send>,
        timeout: Duration,
    ) -> Result<(), RequestError> {
        let deadline = later(Instant::now(), timeout);
        let slot = self.ready(subject, deadline).await?;
        let before = epoch(&slot);
        // A user who may not receive answers publishes all the same.
        let mut ticket = slot.link.as_ref().and_then(|link| link.enter(subject).ok());
        let payloads = payloads.into_iter();
        let sent = tokio::select! {
            biased;
            refused = refused(&mut ticket, subject) => Err(refused),
            sent = hand_over(&slot, subject, payloads, deadline) => sent,
            () = sleep_until(deadline) => {
                Err(RequestError::new(RequestErrorKind::TimedOut, subject, "the server has not taken it in time"))
            }
        };
        sent?;
        for _ in 0..TURNS {
            tokio::select! {
                biased;
                refused = refused(&mut ticket, subject) => return Err(refused),
                () = yield_now() => {}
            }
        }
        if epoch(&slot) != before {
            let text = "the connection was lost meanwhile";
            return Err(RequestError::new(RequestErrorKind::Closed, subject, text));
        }
        Ok(())
    }
}

/// Completes when the server refuses the messages, not only the way of answers.
async fn refused(ticket: &mut Option<Ticket>, subject: &str) -> RequestError {
    if let Some(waiting) = ticket {
        let denied: Denied = waiting.denied().await;
        *ticket = None;
        if denied.subject == subject {
            return not_permitted(subject, &denied);
        }
    }
    std::future::pending().await
}

async fn hand_over(
    slot: &Slot,
    subject: &str,
    payloads: impl Iterator<Item = Bytes> + Send,
    deadline: Instant,
) -> Result<(), RequestError> {
    let failed = |kind, text: &str| RequestError::new(kind, subject, text);
    for payload in payloads {
        slot.client.publish(subject.to_owned(), payload).await.map_err(|error| {
            match error.kind() {
                Theirs::MaxPayloadExceeded => {
                    failed(RequestErrorKind::TooLarge, "more than the server's max_payload")
                }
                Theirs::InvalidSubject => failed(RequestErrorKind::Invalid, "no subject to publish to"),
                Theirs::Send => failed(RequestErrorKind::Closed, "the client ended"),
            }
            .with_source(error)
        })?;
    }
    let nowhere = slot.client.new_inbox();
    let error = match send(slot, &nowhere, None, Bytes::new(), deadline, OnLoss::GiveUp).await {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    match error.kind() {
        RequestErrorKind::NoResponders => Ok(()),
        // That was an answer, too.
        RequestErrorKind::NotPermitted if error.subject() == nowhere => Ok(()),
        // There will be none: as much as can be known is that it was sent.
        RequestErrorKind::NotPermitted => slot
            .client
            .flush()
            .await
            .map_err(|error| failed(RequestErrorKind::Closed, "the client ended").with_source(error)),
        kind => Err(failed(kind, "the server has not said that it took it").with_source(error)),
    }
}
