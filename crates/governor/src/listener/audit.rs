//! What the server tells about the calls of its API.

use std::borrow::Cow;

use serde::Deserialize;

/// What a successful call did to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Audit {
    /// A message was deleted.
    Deleted { sequence: u64 },
    /// So many messages were removed, of the subjects that begin so.
    Purged { messages: u64, prefix: String },
    /// It was made, changed or removed.
    Changed,
    /// Nothing that matters here.
    Other,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) audit: Audit,
    /// By one of us, who sends a note.
    pub(super) by_us: bool,
}

/// Recognizes the calls that are about one stream.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    stream: String,
    /// How the subjects of such calls end in JSON.
    ending: Vec<u8>,
}

#[derive(Deserialize)]
struct Advisory<'a> {
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(default)]
    client: Client<'a>,
    #[serde(borrow, default)]
    request: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    response: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct Client<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Request {
    seq: u64,
    filter: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Response {
    success: bool,
    purged: u64,
    error: Option<serde::de::IgnoredAny>,
}

impl Filter {
    pub(super) fn new(stream: &str) -> Self {
        // As Go writes it.
        let quoted = serde_json::to_string(stream).unwrap_or_default();
        let quoted = quoted.replace('&', r"\u0026").replace('<', r"\u003c").replace('>', r"\u003e");
        let ending = quoted.replacen('"', ".", 1).into_bytes();
        Self { stream: stream.to_owned(), ending }
    }

    /// The call, if it is about our stream. There is one of these for every call of the account, so most are told
    /// apart without being parsed.
    pub(super) fn read(&self, payload: &[u8]) -> Option<Call> {
        if !payload.windows(self.ending.len()).any(|part| part == self.ending) {
            return None;
        }
        let advisory: Advisory<'_> = serde_json::from_slice(payload).ok()?;
        let verb = advisory.subject.strip_suffix(self.stream.as_str())?.strip_suffix('.')?;
        let request: Request = parse(advisory.request.as_deref());
        let response: Response = parse(advisory.response.as_deref());
        let audit = match () {
            () if response.error.is_some() => Audit::Other,
            () if verb.ends_with(".STREAM.MSG.DELETE") && response.success => {
                Audit::Deleted { sequence: request.seq }
            }
            () if verb.ends_with(".STREAM.PURGE") && response.success => {
                let prefix = request.filter.split(['*', '>']).next().unwrap_or_default().to_owned();
                Audit::Purged { messages: response.purged, prefix }
            }
            () if [".STREAM.UPDATE", ".STREAM.DELETE", ".STREAM.CREATE"]
                .iter()
                .any(|changing| verb.ends_with(changing)) =>
            {
                Audit::Changed
            }
            () => Audit::Other,
        };
        let by_us = advisory.client.name.is_some_and(|name| name.starts_with("sluicegate"));
        Some(Call { audit, by_us })
    }
}

fn parse<'a, T: Deserialize<'a> + Default>(json: Option<&'a str>) -> T {
    json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn advisory(subject: &str, request: &str, response: &str, name: &str) -> Vec<u8> {
        let advisory = json!({
            "type": "io.nats.jetstream.advisory.v1.api_audit", "id": "x", "timestamp": "2026-11-22T00:49:02Z",
            "server": "N", "client": {"start": "2026-11-22T00:49:02Z", "id": 5, "acc": "$G", "name": name},
            "subject": subject, "request": request, "response": response,
        });
        advisory.to_string().into_bytes()
    }

    fn read(subject: &str, request: &str, response: &str) -> Option<Audit> {
        Some(Filter::new("GOVERNOR_A").read(&advisory(subject, request, response, "probe"))?.audit)
    }

    const DONE: &str = r#"{"type":"io.nats.jetstream.api.v1.stream_msg_delete_response","success":true}"#;

    #[test]
    fn successful_calls_about_our_stream_are_understood() {
        let seq = r#"{"seq":1,"no_erase":true}"#;
        let deleted = read("$JS.API.STREAM.MSG.DELETE.GOVERNOR_A", seq, DONE);
        assert_eq!(deleted, Some(Audit::Deleted { sequence: 1 }));
        let domain = read("$JS.hub.API.STREAM.MSG.DELETE.GOVERNOR_A", seq, DONE);
        assert_eq!(domain, Some(Audit::Deleted { sequence: 1 }));
        let purged = read("$JS.API.STREAM.PURGE.GOVERNOR_A", "", r#"{"success":true,"purged":4}"#);
        assert_eq!(purged, Some(Audit::Purged { messages: 4, prefix: String::new() }));
        let filter = r#"{"filter":"$GOVERNOR2.A.x.>"}"#;
        let purged = read("$JS.API.STREAM.PURGE.GOVERNOR_A", filter, r#"{"success":true,"purged":2}"#);
        assert_eq!(purged, Some(Audit::Purged { messages: 2, prefix: "$GOVERNOR2.A.x.".to_owned() }));
        assert_eq!(read("$JS.API.STREAM.UPDATE.GOVERNOR_A", "{}", "{}"), Some(Audit::Changed));
        assert_eq!(read("$JS.API.STREAM.INFO.GOVERNOR_A", "", "{}"), Some(Audit::Other));
    }

    #[test]
    fn calls_that_failed_or_are_about_others_change_nothing() {
        let failed = r#"{"type":"x","error":{"code":500,"err_code":10057,"description":"no message found"}}"#;
        let subject = "$JS.API.STREAM.MSG.DELETE.GOVERNOR_A";
        assert_eq!(read(subject, r#"{"seq":1}"#, failed), Some(Audit::Other));
        assert_eq!(read("$JS.API.STREAM.UPDATE.GOVERNOR_A", "{}", failed), Some(Audit::Other));
        assert_eq!(read("$JS.API.STREAM.MSG.DELETE.GOVERNOR_AB", r#"{"seq":1}"#, DONE), None);
        assert_eq!(read("$JS.API.STREAM.MSG.DELETE.XGOVERNOR_A", r#"{"seq":1}"#, DONE), None);
        // The name stands in the request only.
        assert_eq!(read("$JS.API.STREAM.CREATE.B", r#"{"a":"b.GOVERNOR_A"}"#, DONE), None);
    }

    #[test]
    fn our_own_kind_is_known_by_its_name() {
        let by = |name| {
            let bytes = advisory("$JS.API.STREAM.MSG.DELETE.GOVERNOR_A", r#"{"seq":1}"#, DONE, name);
            Filter::new("GOVERNOR_A").read(&bytes).unwrap().by_us
        };
        assert!(by("sluicegate/0.1.0 pid 7"));
        assert!(!by("choria"));
    }

    #[test]
    fn names_that_go_escapes_are_found() {
        let stream = "GOVERNOR_a&b\"ö";
        let escaped =
            r#"{"client":{},"subject":"$JS.API.STREAM.UPDATE.GOVERNOR_a\u0026b\"ö","response":"{}"}"#;
        let call = Filter::new(stream).read(escaped.as_bytes()).unwrap();
        assert_eq!(call, Call { audit: Audit::Changed, by_us: false });
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            bytes.extend_from_slice(b".GOVERNOR_A\"");
            let _ = Filter::new("GOVERNOR_A").read(&bytes);
        }
    }
}
