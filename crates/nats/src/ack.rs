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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ApiErrorKind;

    fn parse(json: &str) -> Result<PubAck, ApiError> {
        PubAck::from_json("s", json.as_bytes())
    }

    fn ack(sequence: u64, duplicate: bool) -> PubAck {
        PubAck { stream: "GOVERNOR_T".to_owned(), sequence, duplicate, domain: None }
    }

    #[test]
    fn spacing_does_not_matter() {
        for (json, expected) in [
            (r#"{"stream":"GOVERNOR_T","seq":1}"#, ack(1, false)),
            (r#"{"stream":"GOVERNOR_T", "seq":1}"#, ack(1, false)),
            (r#"{"stream":"GOVERNOR_T","seq":2,"duplicate": true}"#, ack(2, true)),
            (r#"{"stream":"GOVERNOR_T","seq":18446744073709551615,"new":[1]}"#, ack(u64::MAX, false)),
        ] {
            assert_eq!(parse(json).unwrap(), expected);
        }
        let with_domain = parse(r#"{"stream":"S","domain":"hub","seq":3}"#).unwrap();
        assert_eq!(with_domain.domain.as_deref(), Some("hub"));
    }

    #[test]
    fn errors_of_the_server_keep_code_and_text() {
        let json = r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"GOVERNOR_T","seq":0}"#;
        let error = parse(json).unwrap_err();
        assert_eq!(error.kind(), ApiErrorKind::Server { code: 503, err_code: 10077 });
        assert_eq!(error.description(), "maximum messages exceeded");
        assert_eq!(error.err_code(), Some(10077));
    }

    #[test]
    fn what_names_no_stream_or_sequence_is_no_acknowledgement() {
        let deep = format!(r#"{{"stream":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        let long = format!(r#"{{"stream":"{}","seq":1}}"#, "x".repeat(MAX_ACK));
        for json in [
            "",
            "null",
            "{}",
            "[]",
            r#"{"stream":"","seq":1}"#,
            r#"{"stream":"S","seq":0}"#,
            r#"{"stream":"S","seq":-1}"#,
            r#"{"stream":"S","seq":"1"}"#,
            r#"{"stream":"S","seq":18446744073709551616}"#,
            r#"{"stream":"S","seq":1,"seq":2}"#,
            "\u{feff}{\"stream\":\"S\",\"seq\":1}",
            &deep,
            &long,
        ] {
            let error = parse(json).unwrap_err();
            assert_eq!(error.kind(), ApiErrorKind::Malformed, "{json}");
            assert!(error.is_unknown(), "it may have been stored");
        }
    }

    fn message(status: Option<u16>, payload: &[u8]) -> Message {
        Message {
            subject: "_INBOX.x".into(),
            reply: None,
            payload: payload.to_vec().into(),
            headers: None,
            status: status.and_then(|status| StatusCode::try_from(status).ok()),
            description: None,
            length: 0,
        }
    }

    #[test]
    fn a_status_is_no_acknowledgement() {
        let body = br#"{"stream":"S","seq":1}"#;
        assert!(PubAck::parse(&message(None, body)).is_ok());
        let nobody = PubAck::parse(&message(Some(503), body)).unwrap_err();
        assert_eq!(nobody.kind(), ApiErrorKind::Request(RequestErrorKind::NoResponders));
        let timeout = PubAck::parse(&message(Some(408), body)).unwrap_err();
        assert_eq!(timeout.kind(), ApiErrorKind::Malformed);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = PubAck::parse(&message(None, &bytes));
        }

        #[test]
        fn no_cut_panics_or_passes(cut in 0usize..36) {
            let json = r#"{"stream":"GOVERNOR_T","seq":12345}"#;
            prop_assert!(PubAck::from_json("s", &json.as_bytes()[..cut.min(json.len() - 1)]).is_err());
        }
    }
}
