use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `STREAM.MSG.DELETE`.
#[derive(Serialize)]
pub(crate) struct DeleteMessage {
    seq: u64,
    no_erase: bool,
}

impl DeleteMessage {
    /// Never with erasure: overwriting the bytes costs six times as much, and protects nothing here.
    pub(crate) fn new(seq: u64) -> Self {
        Self { seq, no_erase: true }
    }
}

/// `STREAM.MSG.GET`.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum GetMessage<'a> {
    Sequence {
        seq: u64,
    },
    /// The first message at or after that sequence.
    Next {
        seq: u64,
        next_by_subj: &'a str,
    },
    Last {
        last_by_subj: &'a str,
    },
}

/// `STREAM.PURGE` of one subject's messages.
#[derive(Serialize)]
pub(crate) struct PurgeSubject<'a> {
    pub(crate) filter: &'a str,
}

/// `STREAM.INFO` with the number of messages by subject.
#[derive(Serialize)]
pub(crate) struct CountSubjects<'a> {
    pub(crate) subjects_filter: &'a str,
}

/// Any answer of which only success matters.
#[derive(Deserialize)]
pub(crate) struct Done {
    #[serde(default)]
    pub(crate) success: bool,
}

#[derive(Deserialize)]
pub(crate) struct Purged {
    #[serde(default)]
    pub(crate) purged: u64,
}

#[derive(Deserialize)]
pub(crate) struct Found {
    pub(crate) message: StoredMessage,
}

/// A message as it lies in a stream.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StoredMessage {
    #[serde(default)]
    pub(crate) subject: String,
    pub(crate) seq: u64,
    #[serde(default, rename = "hdrs", deserialize_with = "base64_bytes")]
    headers: Vec<u8>,
    #[serde(default, deserialize_with = "base64_bytes")]
    pub(crate) data: Vec<u8>,
    #[serde(deserialize_with = "timestamp")]
    pub(crate) time: OffsetDateTime,
}

impl StoredMessage {
    /// One that was not read from the stream but told of, and the header that matters.
    pub(crate) fn seen(
        subject: &str,
        seq: u64,
        lease: Option<&str>,
        data: &[u8],
        time: OffsetDateTime,
    ) -> Self {
        let headers = lease.map(|lease| format!("{}: {lease}\r\n", super::LEASE_HEADER));
        let headers = headers.unwrap_or_default().into_bytes();
        Self { subject: subject.to_owned(), seq, headers, data: data.to_vec(), time }
    }

    /// The first value of that header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.split(|byte| *byte == b'\n').find_map(|line| {
            let line = std::str::from_utf8(line).ok()?;
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

fn base64_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    STANDARD.decode(text).map_err(de::Error::custom)
}

pub(super) fn timestamp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    OffsetDateTime::parse(&text, &Rfc3339).map_err(de::Error::custom)
}

pub(super) fn timestamp_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<OffsetDateTime>, D::Error> {
    timestamp(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_exactly_the_documented_fields() {
        assert_eq!(serde_json::to_string(&DeleteMessage::new(1)).unwrap(), r#"{"seq":1,"no_erase":true}"#);
        for (request, expected) in [
            (GetMessage::Sequence { seq: 2 }, r#"{"seq":2}"#),
            (GetMessage::Next { seq: 1, next_by_subj: ">" }, r#"{"seq":1,"next_by_subj":">"}"#),
            (GetMessage::Last { last_by_subj: "$GOVERNOR2.T.x" }, r#"{"last_by_subj":"$GOVERNOR2.T.x"}"#),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), expected);
        }
        let purge = PurgeSubject { filter: "$GOVERNOR2.T.x.>" };
        assert_eq!(serde_json::to_string(&purge).unwrap(), r#"{"filter":"$GOVERNOR2.T.x.>"}"#);
    }

    #[test]
    fn reads_a_captured_message_with_and_without_headers() {
        let plain = r#"{"type":"io.nats.jetstream.api.v1.stream_msg_get_response","message":{"subject":"$GOVERNOR.campaign.T","seq":2,"data":"aG9zdDI=","time":"2026-11-22T00:49:02.466003454Z"}}"#;
        let found: Found = serde_json::from_str(plain).unwrap();
        assert_eq!((found.message.seq, found.message.data.as_slice()), (2, b"host2".as_slice()));
        assert_eq!(found.message.time.nanosecond(), 466_003_454);
        assert_eq!(found.message.header("Nats-Msg-Id"), None);

        let headers = STANDARD.encode("NATS/1.0\r\nnats-msg-id: one\r\nNats-Msg-Id: two\r\n\r\n");
        let spaced = format!(
            r#"{{ "message": {{ "time": "2026-11-22T00:49:02Z", "seq": 18446744073709551615, "hdrs": "{headers}", "further": [1] }} }}"#
        );
        let found: Found = serde_json::from_str(&spaced).unwrap();
        assert_eq!(found.message.seq, u64::MAX);
        assert_eq!(found.message.header("Nats-Msg-Id"), Some("one"));
        assert!(found.message.data.is_empty(), "an empty payload is left out by the server");
    }

    #[test]
    fn hostile_bytes_are_errors_or_bytes_but_never_a_panic() {
        for bad in [
            r#"{"message":{"seq":1,"data":"%%%","time":"2026-11-22T00:49:02Z"}}"#,
            r#"{"message":{"seq":-1,"time":"2026-11-22T00:49:02Z"}}"#,
            r#"{"message":{"seq":1,"time":"soon"}}"#,
            r#"{"message":{}}"#,
            "{}",
        ] {
            assert!(serde_json::from_str::<Found>(bad).is_err(), "{bad}");
        }
        let data = STANDARD.encode([0xff, 0x00, 0x1b]);
        let headers = STANDARD.encode([0xff, b'\n', b':', b'\n', 0xfe]);
        let odd = format!(
            r#"{{"message":{{"seq":1,"data":"{data}","hdrs":"{headers}","time":"2026-11-22T00:49:02Z"}}}}"#
        );
        let found: Found = serde_json::from_str(&odd).unwrap();
        assert_eq!(found.message.data, [0xff, 0x00, 0x1b]);
        assert_eq!(found.message.header("Nats-Msg-Id"), None);
    }
}
