use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_nats::async_nats::Message;
use sluicegate_nats::{ApiError, ApiErrorKind, PubAck, RequestError, RequestErrorKind, code};

use crate::error;

/// What became of one try of a publish.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The stream has it, from this try or, as a duplicate, from an earlier one (and may have lost it since).
    Stored { sequence: u64, duplicate: bool },
    /// All slots are taken. Not stored, and the id is not remembered.
    Full,
    /// The same id is being replicated, or the batch did not arrive as a whole: ask again.
    InProcess,
    /// The batch was stored by an earlier try (and may be gone since).
    Landed,
    /// The subject's last sequence is another than was expected; where the server tells, which.
    Conflict { last: Option<u64> },
    /// Nobody listens: no such stream, or no leader for now. Not stored.
    NobodyListens(ApiError),
    /// There was no connection. Not sent.
    NotConnected(ApiError),
    /// No answer, or none that can be read: unknown.
    Silence(ApiError),
    /// The answer cannot be heard, because this user may not subscribe to its own inbox: unknown, and nothing that is
    /// asked over this connection will ever be answered.
    Unheard(LeaseError),
    /// Not stored, and trying again as it is leads nowhere.
    Refused(LeaseError),
}

/// Reads the answer to a publish to that subject of that stream.
pub(crate) fn read_answer(stream: &str, subject: &str, answer: Result<Message, RequestError>) -> Answer {
    match answer.map_err(ApiError::from).and_then(|message| PubAck::parse(&message)) {
        Ok(ack) if ack.stream == stream => {
            Answer::Stored { sequence: ack.sequence, duplicate: ack.duplicate }
        }
        Ok(ack) => Answer::Refused(foreign(stream, subject, &ack.stream)),
        Err(error) => failed(stream, subject, error),
    }
}

fn failed(stream: &str, subject: &str, error: ApiError) -> Answer {
    match error.kind() {
        ApiErrorKind::Server { err_code, .. } => server_error(stream, subject, err_code, error),
        ApiErrorKind::Request(RequestErrorKind::NoResponders) => Answer::NobodyListens(error),
        ApiErrorKind::Request(RequestErrorKind::NotConnected) => Answer::NotConnected(error),
        _ if error.is_unknown() => Answer::Silence(error),
        // Not the publish is denied.
        ApiErrorKind::Request(RequestErrorKind::NotPermitted) if error.subject() != subject => {
            Answer::Unheard(error::write(stream, error))
        }
        _ => Answer::Refused(error::write(stream, error)),
    }
}

fn server_error(stream: &str, subject: &str, err_code: u64, error: ApiError) -> Answer {
    let refused = |kind, context: String| Answer::Refused(LeaseError::new(kind, context));
    match err_code {
        _ if code::is_full(err_code, error.description()) => Answer::Full,
        code::DUPLICATE_IN_PROCESS | code::BATCH_INCOMPLETE | code::TOO_MANY_BATCHES => Answer::InProcess,
        code::BATCH_DUPLICATE => Answer::Landed,
        code::BATCH_DISABLED => refused(
            LeaseErrorKind::Unsupported,
            format!("stream {stream} takes no requests of several slots (allow_atomic is off)"),
        ),
        code::BATCH_TOO_LARGE => refused(
            LeaseErrorKind::Invalid,
            format!("more slots at once than the server of stream {stream} takes: {}", error.description()),
        ),
        _ if code::is_cas_conflict(err_code) => Answer::Conflict { last: last_sequence(error.description()) },
        code::STORE_FAILED => refused(
            LeaseErrorKind::Misconfigured,
            format!(
                "stream {stream} cannot store: {}; it must be bounded by its number of messages alone",
                error.description()
            ),
        ),
        code::STREAM_NOT_MATCH => {
            refused(LeaseErrorKind::Conflict, format!("another stream than {stream} listens on `{subject}`"))
        }
        code::MESSAGE_TOO_LARGE => refused(
            LeaseErrorKind::Invalid,
            format!("holder is longer than stream {stream} takes: shorten it"),
        ),
        _ => Answer::Refused(error::write(stream, error)),
    }
}

fn foreign(stream: &str, subject: &str, other: &str) -> LeaseError {
    LeaseError::new(
        LeaseErrorKind::Conflict,
        format!("stream {other} answered on `{subject}` instead of {stream}"),
    )
}

/// The number in `wrong last sequence: 7`.
fn last_sequence(description: &str) -> Option<u64> {
    description.rsplit_once(": ").and_then(|(_, number)| number.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use sluicegate_nats::async_nats::StatusCode;

    use super::*;

    fn message(payload: &str, status: Option<StatusCode>) -> Message {
        Message {
            subject: "_INBOX.x".into(),
            reply: None,
            payload: payload.to_owned().into(),
            headers: None,
            status,
            description: None,
            length: payload.len(),
        }
    }

    fn read(payload: &str) -> Answer {
        read_answer("GOVERNOR_T", "$GOVERNOR.campaign.T", Ok(message(payload, None)))
    }

    fn error(code: u16, err_code: u64, description: &str) -> String {
        format!(
            r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"{description}"}},"stream":"GOVERNOR_T","seq":0}}"#
        )
    }

    #[test]
    fn a_grant_reads_the_same_in_the_spacing_of_every_version() {
        for payload in [
            r#"{"stream":"GOVERNOR_T","seq":1}"#,
            r#"{"stream":"GOVERNOR_T", "seq":1}"#,
            r#" { "seq" : 1 , "further" : {} , "stream" : "GOVERNOR_T" } "#,
        ] {
            let answer = read(payload);
            assert!(
                matches!(answer, Answer::Stored { sequence: 1, duplicate: false }),
                "{payload}: {answer:?}"
            );
        }
        let repeated = read(r#"{"stream":"GOVERNOR_T","seq":2,"duplicate": true}"#);
        assert!(matches!(repeated, Answer::Stored { sequence: 2, duplicate: true }), "{repeated:?}");
        let huge = read(r#"{"stream":"GOVERNOR_T","seq":18446744073709551615}"#);
        assert!(matches!(huge, Answer::Stored { sequence: u64::MAX, .. }), "{huge:?}");
    }

    #[test]
    fn only_the_number_of_messages_is_full() {
        assert!(matches!(read(&error(503, 10077, "maximum messages exceeded")), Answer::Full));
        for text in ["maximum bytes exceeded", "no space left on device"] {
            let Answer::Refused(refused) = read(&error(503, 10077, text)) else { panic!("{text}") };
            assert_eq!(refused.kind(), LeaseErrorKind::Misconfigured, "{refused}");
            assert!(refused.to_string().contains(text), "{refused}");
        }
    }

    #[test]
    fn each_refusal_is_of_the_documented_kind() {
        for (code, err_code, text, kind) in [
            (400, 10060, "expected stream does not match", LeaseErrorKind::Conflict),
            (400, 10054, "message size exceeds maximum allowed", LeaseErrorKind::Invalid),
            (400, 10165, "invalid per-message TTL", LeaseErrorKind::Invalid),
            (400, 10166, "per-message TTL is disabled", LeaseErrorKind::Unsupported),
            (503, 10008, "JetStream system temporarily unavailable", LeaseErrorKind::Transient),
            (503, 10047, "insufficient storage resources available", LeaseErrorKind::Transient),
            (503, 10039, "JetStream not enabled for account", LeaseErrorKind::Misconfigured),
            (400, 10174, "atomic publish is disabled", LeaseErrorKind::Unsupported),
            (400, 10199, "atomic publish batch is too large: 1000", LeaseErrorKind::Invalid),
        ] {
            let Answer::Refused(refused) = read(&error(code, err_code, text)) else { panic!("{err_code}") };
            assert_eq!(refused.kind(), kind, "{err_code}: {refused}");
        }
        assert!(matches!(read(&error(409, 10158, "duplicate message id is in process")), Answer::InProcess));
    }

    #[test]
    fn a_batch_is_stored_known_or_to_be_sent_again() {
        let stored = read(r#"{"stream":"GOVERNOR_T","seq":1001,"batch":"a","count":2}"#);
        assert!(matches!(stored, Answer::Stored { sequence: 1001, duplicate: false }), "{stored:?}");
        let again = read(&error(400, 10201, "atomic publish batch contains duplicate message id"));
        assert!(matches!(again, Answer::Landed), "{again:?}");
        for (code, err_code, text) in [
            (400, 10176, "atomic publish batch is incomplete"),
            (429, 10210, "atomic publish too many inflight"),
        ] {
            let answer = read(&error(code, err_code, text));
            assert!(matches!(answer, Answer::InProcess), "{err_code}: {answer:?}");
        }
    }

    #[test]
    fn a_lost_compare_and_set_tells_the_sequence_where_the_server_does() {
        let conflict = read(&error(400, 10071, "wrong last sequence: 17"));
        assert!(matches!(conflict, Answer::Conflict { last: Some(17) }), "{conflict:?}");
        let gone = read(&error(400, 10071, "wrong last sequence: 0"));
        assert!(matches!(gone, Answer::Conflict { last: Some(0) }), "{gone:?}");
        let silent = read(&error(400, 10164, "wrong last sequence"));
        assert!(matches!(silent, Answer::Conflict { last: None }), "{silent:?}");
    }

    #[test]
    fn an_ack_of_another_stream_is_no_grant() {
        let Answer::Refused(refused) = read(r#"{"stream":"ORDERS","seq":7}"#) else { panic!("accepted") };
        assert_eq!(refused.kind(), LeaseErrorKind::Conflict);
        assert!(refused.to_string().contains("ORDERS"), "{refused}");
    }

    #[test]
    fn nobody_listening_is_not_full_and_garbage_is_unknown() {
        let nobody = read_answer("S", "s", Ok(message("", Some(StatusCode::NO_RESPONDERS))));
        assert!(matches!(nobody, Answer::NobodyListens(_)), "{nobody:?}");
        for garbage in ["", "{", "null", "[]", "{}", r#"{"stream":"GOVERNOR_T"}"#, "\u{feff}{}", "+OK"] {
            let answer = read(garbage);
            assert!(matches!(answer, Answer::Silence(_)), "{garbage}: {answer:?}");
        }
    }
}
