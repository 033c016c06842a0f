use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Publish;
use crate::error::ApiError;
use crate::{Connection, PubAck, code};

#[derive(Deserialize)]
struct Got {
    message: Stored,
}

#[derive(Deserialize)]
struct Stored {
    seq: u64,
    #[serde(default)]
    hdrs: String,
}

impl Connection {
    /// Looks where a message with an expectation must be, if it was stored: the server judges the expectation before
    /// it looks at the id, so a repetition of a stored message conflicts with itself.
    ///
    /// `None`: it is not there (never stored, or stored and gone since), or nothing says where it would be.
    ///
    /// # Errors
    /// Nobody has looked: not permitted, or not answered.
    pub(super) async fn read_back(&self, publish: &Publish, id: &str) -> Result<Option<PubAck>, ApiError> {
        // Its place follows from what it expected.
        let place = match (publish.last_sequence, publish.last_subject_sequence) {
            (Some(last), _) => json!({ "seq": last.saturating_add(1) }),
            (None, Some(last)) => json!({ "seq": last.saturating_add(1), "next_by_subj": publish.subject }),
            (None, None) => return Ok(None),
        };
        let stream = match &publish.stream {
            Some(stream) => stream.clone(),
            None => match self.streams_of(publish).await?.into_iter().next() {
                Some(stream) => stream,
                None => return Ok(None),
            },
        };
        let got: Result<Got, ApiError> =
            self.api(&format!("STREAM.MSG.GET.{stream}"), &place, publish.timeout).await;
        let message = match got {
            Ok(got) => got.message,
            Err(error) if error.err_code() == Some(code::NO_MESSAGE_FOUND) => return Ok(None),
            Err(error) => return Err(error),
        };
        let ours = message_id(&message.hdrs).is_some_and(|stored| stored == id);
        Ok(ours.then_some(PubAck { stream, sequence: message.seq, duplicate: true, domain: None }))
    }

    /// The streams that listen on the subject.
    pub(super) async fn streams_of(&self, publish: &Publish) -> Result<Vec<String>, ApiError> {
        #[derive(Deserialize)]
        struct Names {
            #[serde(default)]
            streams: Option<Vec<String>>,
        }
        let by_subject: Value = json!({ "subject": publish.subject });
        let names: Names = self.api("STREAM.NAMES", &by_subject, publish.timeout).await?;
        Ok(names.streams.unwrap_or_default())
    }
}

/// The message id in a header block as the API gives it.
fn message_id(base64: &str) -> Option<String> {
    let block = String::from_utf8(STANDARD.decode(base64).ok()?).ok()?;
    block.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("Nats-Msg-Id").then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_the_id_in_a_header_block() {
        let block = |text: &str| message_id(&STANDARD.encode(text));
        assert_eq!(block("NATS/1.0\r\nX: y\r\nNats-Msg-Id: a:b\r\n\r\n").as_deref(), Some("a:b"));
        assert_eq!(block("NATS/1.0\r\nNats-Msg-Id:one\r\n\r\n").as_deref(), Some("one"));
        assert_eq!(block("NATS/1.0\r\n\r\n"), None);
        assert_eq!(message_id("no base64!"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = message_id(&text);
            let _ = message_id(&STANDARD.encode(&text));
        }
    }
}
