use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request};
use bytes::Bytes;
use sluicegate_core::later;
use tokio::time::{Instant, sleep_until};

use crate::connection::{Connection, Slot};
use crate::error::{RequestError, RequestErrorKind};
use crate::link::Link;
use crate::permission::Denied;

/// What to do when the connection is lost while an answer is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnLoss {
    /// Wait on: the answer may come over the next connection.
    Wait,
    /// Give up: the caller repeats at once.
    GiveUp,
}

impl Connection {
    /// Sends a request and waits for the answer, all within `timeout`: waiting for a connection, handing over (which
    /// async-nats would do without end when it is not connected) and the answer itself.
    ///
    /// If the server denies the request, or the inbox of the answer, the error says so at once; async-nats would
    /// report a timeout.
    ///
    /// # Errors
    /// `NotConnected`, `NoResponders`, `NotPermitted`, `TooLarge`, `Invalid`: certainly not done.
    /// `TimedOut`, `Closed`: unknown; it may even be sent later, over the next connection.
    ///
    /// # Cancel safety
    /// Dropping it forgets the answer; the request may have been sent, or may be yet.
    pub async fn request(
        &self,
        subject: &str,
        headers: Option<HeaderMap>,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        let deadline = later(Instant::now(), timeout);
        let slot = self.ready(subject, deadline).await?;
        send(&slot, subject, headers, payload, deadline, OnLoss::Wait).await
    }

    /// A client that is connected.
    pub(crate) async fn ready(&self, subject: &str, deadline: Instant) -> Result<Slot, RequestError> {
        let refuse = |text| Err(RequestError::new(RequestErrorKind::NotConnected, subject, text));
        if self.is_connected() {
            return Ok(self.slot());
        }
        tokio::select! {
            biased;
            () = self.closing() => refuse("the connection was drained"),
            () = self.connected() => Ok(self.slot()),
            () = sleep_until(deadline) => refuse("no connection came in time"),
        }
    }
}

/// One request over one client, denied ones answered at once.
pub(crate) async fn send(
    slot: &Slot,
    subject: &str,
    headers: Option<HeaderMap>,
    payload: Bytes,
    deadline: Instant,
    on_loss: OnLoss,
) -> Result<Message, RequestError> {
    let exchange = exchange(&slot.client, subject, headers, payload);
    let Some(link) = &slot.link else {
        return tokio::select! {
            biased;
            answer = exchange => answer,
            () = sleep_until(deadline) => Err(timed_out(subject, "no answer; permissions may be the cause")),
        };
    };
    let mut ticket = link.enter(subject).map_err(|denied| not_permitted(subject, &denied))?;
    tokio::select! {
        biased;
        answer = exchange => answer,
        denied = ticket.denied() => Err(not_permitted(subject, &denied)),
        () = lost(link), if on_loss == OnLoss::GiveUp => {
            Err(RequestError::new(RequestErrorKind::Closed, subject, "the connection was lost"))
        }
        () = sleep_until(deadline) => Err(timed_out(subject, "no answer")),
    }
}

async fn exchange(
    client: &Client,
    subject: &str,
    headers: Option<HeaderMap>,
    payload: Bytes,
) -> Result<Message, RequestError> {
    // Our own deadline covers the hand-over too, theirs only the answer.
    let mut request = Request::new().payload(payload).timeout(None);
    if let Some(headers) = headers {
        request = request.headers(headers);
    }
    client.send_request(subject.to_owned(), request).await.map_err(|error| {
        use async_nats::RequestErrorKind as Theirs;
        let (kind, text) = match error.kind() {
            Theirs::TimedOut => (RequestErrorKind::TimedOut, ""),
            Theirs::NoResponders => (RequestErrorKind::NoResponders, ""),
            Theirs::InvalidSubject => (RequestErrorKind::Invalid, "no subject that can be published to"),
            Theirs::MaxPayloadExceeded => (RequestErrorKind::TooLarge, "more than the server's max_payload"),
            Theirs::Other => (RequestErrorKind::Closed, "the client ended"),
        };
        RequestError::new(kind, subject, text).with_source(error)
    })
}

/// Completes when the client has no connection.
async fn lost(link: &Arc<Link>) {
    // The link, and so the sender, is ours.
    let _ = link.state.subscribe().wait_for(|state| !state.connected || state.ended).await;
}

fn timed_out(subject: &str, text: &str) -> RequestError {
    RequestError::new(RequestErrorKind::TimedOut, subject, text)
}

pub(crate) fn not_permitted(subject: &str, denied: &Denied) -> RequestError {
    let text = format!("the server does not let this user {} `{}`", denied.operation, denied.subject);
    let text =
        if denied.subject == subject { text } else { format!("{text}, to which answers to `{subject}` go") };
    RequestError::new(RequestErrorKind::NotPermitted, denied.subject.clone(), text)
}
