//! What processes tell each other: releases, and evictions. Whoever may publish such notes may forge them, so nothing
//! in them is believed beyond what a hint may cost.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::GovernorName;

/// A longer text is none of ours.
const LONGEST: usize = 1024;

/// The token of a reply subject that shows that the answer to a note is meant: to no other subject is anything sent
/// that a stranger names.
const MARK: &str = "_gov";

/// The body of `_GOV.rel.<NAME>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Note {
    pub(super) seq: u64,
    /// How many slots became free.
    pub(super) n: u32,
    /// How often it was passed on by somebody who could not use it.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) hop: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(n: &u8) -> bool {
    *n == 0
}

/// The same as others may write it; or the server's answer to a deletion, which is a note too.
#[derive(Deserialize)]
struct Heard {
    seq: Option<u64>,
    n: Option<u64>,
    hop: Option<u64>,
    success: Option<bool>,
}

impl Note {
    pub(super) fn new(seq: u64, n: u32) -> Self {
        Self { seq, n, hop: 0 }
    }

    /// A note of at most so many slots; `None`: it is no note, or of none.
    pub(super) fn read(payload: &[u8], most: u32) -> Option<Self> {
        let heard: Heard = read(payload)?;
        let n = match (heard.seq, heard.success) {
            (None, Some(true)) => 1,
            (Some(_), None) => heard.n.unwrap_or(1),
            _ => 0,
        };
        let n = u32::try_from(n).unwrap_or(u32::MAX).min(most);
        let hop = u8::try_from(heard.hop.unwrap_or(0)).unwrap_or(u8::MAX);
        (n > 0).then(|| Self { seq: heard.seq.unwrap_or(0), n, hop })
    }

    pub(super) fn write(&self) -> Bytes {
        write(self)
    }
}

/// The body of `_GOV.rev.<NAME>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Revocation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seq: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) all: bool,
    /// Of which stream, as both kinds of governors may have the same name. None: of any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stream: Option<String>,
}

impl Revocation {
    /// Where those of the governors of that name are published.
    pub(crate) fn subject(name: &GovernorName) -> String {
        format!("_GOV.rev.{name}")
    }

    pub(super) fn one(stream: &str, lease: u64) -> Self {
        Self { seq: Some(lease), all: false, stream: Some(stream.to_owned()) }
    }

    pub(super) fn all(stream: &str) -> Self {
        Self { seq: None, all: true, stream: Some(stream.to_owned()) }
    }

    /// `None`: it is none, or not for that stream.
    pub(crate) fn read(payload: &[u8], stream: &str) -> Option<Self> {
        let revocation: Self = read(payload)?;
        let ours = revocation.stream.as_deref().is_none_or(|named| named == stream);
        (ours && (revocation.all || revocation.seq.is_some())).then_some(revocation)
    }

    pub(super) fn write(&self) -> Bytes {
        write(self)
    }
}

/// What whoever can use a note answers.
pub(super) fn answer(waiters: usize) -> Bytes {
    format!(r#"{{"waiters":{waiters}}}"#).into()
}

/// Where to send the answer to a note of slots that are to be given to the waiters of this handle, should nobody
/// answer.
pub(super) fn reply_subject(inbox: &str, slots: u32) -> String {
    format!("{inbox}.{MARK}.{slots}")
}

/// The subject on which all answers arrive.
pub(super) fn reply_subjects(inbox: &str) -> String {
    format!("{inbox}.{MARK}.*")
}

/// How many slots are to be given to the waiters of this handle. `None`: not a place for answers.
pub(super) fn slots_of_reply(subject: &str) -> Option<u32> {
    let (before, slots) = subject.rsplit_once('.')?;
    let (inbox, mark) = before.rsplit_once('.')?;
    if mark != MARK || inbox.is_empty() || inbox.starts_with('$') {
        return None;
    }
    slots.parse().ok()
}

fn read<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Option<T> {
    if payload.len() > LONGEST {
        return None;
    }
    serde_json::from_slice(payload).ok()
}

fn write(body: &impl Serialize) -> Bytes {
    // Numbers, flags and texts always are JSON.
    serde_json::to_vec(body).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn bodies_are_as_documented() {
        assert_eq!(text(&Note::new(7, 1).write()), r#"{"seq":7,"n":1}"#);
        assert_eq!(text(&Note { hop: 1, ..Note::new(7, 2) }.write()), r#"{"seq":7,"n":2,"hop":1}"#);
        assert_eq!(text(&answer(3)), r#"{"waiters":3}"#);
        assert_eq!(text(&Revocation::one("GOVERNOR_T", 7).write()), r#"{"seq":7,"stream":"GOVERNOR_T"}"#);
        assert_eq!(text(&Revocation::all("GOVERNOR_T").write()), r#"{"all":true,"stream":"GOVERNOR_T"}"#);
    }

    #[test]
    fn a_note_and_the_answer_to_a_deletion_are_understood() {
        for (body, expected) in [
            (r#"{"seq":7,"n":1}"#, Some((1, 0))),
            (r#"{"seq":7}"#, Some((1, 0))),
            (r#"{"hop":1,"n":3,"seq":7,"further":{}}"#, Some((3, 1))),
            (r#"{"seq":7,"n":18446744073709551615,"hop":256}"#, Some((10, 255))),
            (
                r#"{"type":"io.nats.jetstream.api.v1.stream_msg_delete_response","success":true}"#,
                Some((1, 0)),
            ),
            (r#"{"type":"x","error":{"code":500,"err_code":10057,"description":"no message found"}}"#, None),
            (r#"{"seq":7,"n":0}"#, None),
        ] {
            let note = Note::read(body.as_bytes(), 10).map(|note| (note.n, note.hop));
            assert_eq!(note, expected, "{body}");
        }
    }

    #[test]
    fn what_is_no_note_is_none() {
        let long = format!(r#"{{"seq":1,"n":1,"x":"{}"}}"#, "x".repeat(LONGEST));
        for body in ["", "{", "null", "[]", "{}", "1", r#"{"n":1}"#, r#"{"seq":-1}"#, r#"{"seq":1.5}"#, &long]
        {
            assert_eq!(Note::read(body.as_bytes(), 10), None, "{body}");
            assert_eq!(Revocation::read(body.as_bytes(), "S"), None, "{body}");
        }
        assert_eq!(Revocation::read(br#"{"all":true,"stream":"GOVERNOR2_T"}"#, "GOVERNOR_T"), None);
        assert_eq!(Revocation::read(br#"{"all":false}"#, "S"), None);
        assert!(Revocation::read(br#"{"seq":4}"#, "S").is_some(), "as another program may write it");
    }

    #[test]
    fn nothing_is_sent_to_a_subject_that_is_no_place_for_answers() {
        assert_eq!(slots_of_reply(&reply_subject("_INBOX.a.b", 3)), Some(3));
        for subject in [
            "",
            "_gov.1",
            "._gov.1",
            "$JS.API.STREAM.PURGE.S",
            "$JS.API._gov.1",
            "a._gov.x",
            "orders.new",
            "a._gov.",
        ] {
            assert_eq!(slots_of_reply(subject), None, "{subject}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), subject in "\\PC*") {
            let _ = (Note::read(&bytes, 1), Revocation::read(&bytes, "S"), slots_of_reply(&subject));
        }
    }
}
