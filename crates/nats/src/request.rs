use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request};
use bytes::Bytes;
use tokio::time::timeout_at;

use crate::Connection;
use crate::error::{RequestError, RequestErrorKind};

impl Connection {
    /// Sends a request and waits for the answer, all within `timeout`.
    ///
    /// # Errors
    /// `NotConnected`, `NoResponders`, `NotPermitted`, `TooLarge`, `Invalid`: certainly not done.
    /// `TimedOut`, `Closed`: unknown.
    ///
    /// # Cancel safety
    /// Dropping it forgets the answer; the request may have been sent.
    pub async fn request(
        &self,
        subject: &str,
        headers: Option<HeaderMap>,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        let deadline = tokio::time::Instant::now() + timeout;
        if timeout_at(deadline, self.connected()).await.is_err() {
            return Err(RequestError::new(
                RequestErrorKind::NotConnected,
                subject,
                format!("no connection within {timeout:?}"),
            ));
        }
        let client = self.client();
        match timeout_at(deadline, send(&client, subject, headers, payload)).await {
            Ok(answer) => answer,
            Err(_) => Err(RequestError::new(
                RequestErrorKind::TimedOut,
                subject,
                format!("no answer within {timeout:?}"),
            )),
        }
    }
}

async fn send(
    client: &Client,
    subject: &str,
    headers: Option<HeaderMap>,
    payload: Bytes,
) -> Result<Message, RequestError> {
    let mut request = Request::new().payload(payload).timeout(None);
    if let Some(headers) = headers {
        request = request.headers(headers);
    }
    client.send_request(subject.to_owned(), request).await.map_err(|error| {
        use async_nats::RequestErrorKind as Theirs;
        let (kind, context) = match error.kind() {
            Theirs::TimedOut => (RequestErrorKind::TimedOut, ""),
            Theirs::NoResponders => (RequestErrorKind::NoResponders, ""),
            Theirs::InvalidSubject => (RequestErrorKind::Invalid, "no valid subject"),
            Theirs::MaxPayloadExceeded => (RequestErrorKind::TooLarge, "more than the server's max_payload"),
            Theirs::Other => (RequestErrorKind::Closed, "the client ended"),
        };
        RequestError::new(kind, subject, context).with_source(error)
    })
}
