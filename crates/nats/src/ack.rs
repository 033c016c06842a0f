use async_nats::{Message, StatusCode};
use serde::Deserialize;

use crate::error::{ApiError, RequestError, RequestErrorKind, ServerErrorBody};

/// An answer longer than this is no acknowledgement.
const MAX_ACK: usize = 64 * 1024;

/// The stream has the message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PubAck {
    /// The stream that stored it.
    pub stream: String,
    /// Its sequence there, never 0.
    pub sequence: u64,
    /// The stream had a message with this id already; `sequence` is that one's.
    pub duplicate: bool,
    /// The JetStream domain of the stream, if it has one.
    pub domain: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    error: Option<ServerErrorBody>,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    domain: Option<String>,
}

impl PubAck {
    /// Reads the answer to a publish. Meant for bytes from anywhere: it never panics, and whatever does not name a
    /// stream and a sequence is no acknowledgement.
    ///
    /// # Errors
    /// [`Server`](crate::ApiErrorKind::Server) if the answer is an error of the server,
    /// `Request(NoResponders)` if it is a 503 without a body, `Malformed` otherwise.
    pub fn parse(message: &Message) -> Result<Self, ApiError> {
        let subject = message.subject.as_str();
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(RequestError::new(RequestErrorKind::NoResponders, subject, "").into());
        }
        if let Some(status) = message.status {
            let text = message.description.as_deref().unwrap_or_default();
            return Err(ApiError::malformed(subject, format!("status {} {text}", status.as_u16())));
        }
        Self::from_json(subject, &message.payload)
    }

    pub(crate) fn from_json(subject: &str, payload: &[u8]) -> Result<Self, ApiError> {
        if payload.len() > MAX_ACK {
            return Err(ApiError::malformed(subject, format!("{} bytes of acknowledgement", payload.len())));
        }
        let answer: Answer = serde_json::from_slice(payload)
            .map_err(|error| ApiError::malformed(subject, "no acknowledgement").with_source(error))?;
        if let Some(body) = answer.error {
            return Err(ApiError::server(subject, body));
        }
        if answer.stream.is_empty() || answer.seq == 0 {
            return Err(ApiError::malformed(subject, "acknowledgement without stream or sequence"));
        }
        Ok(Self {
            stream: answer.stream,
            sequence: answer.seq,
            duplicate: answer.duplicate,
            domain: answer.domain.filter(|domain| !domain.is_empty()),
        })
    }
}
