//! JetStream error codes, by what they mean for a caller.
//!
//! Match the `err_code`, never the text: texts differ between server versions. The exceptions are the codes with
//! several meanings ([`MESSAGE_DELETE_FAILED`], [`STORE_FAILED`]); their helpers take the text too.

/// Insufficient storage resources of the account or server: disk full, account limit.
pub const STORAGE_RESOURCES_EXCEEDED: u64 = 10047;
/// Insufficient memory resources of the account or server.
pub const MEMORY_RESOURCES_EXCEEDED: u64 = 10028;
/// The server calls the request a bad one: a defect of the caller.
pub const BAD_REQUEST: u64 = 10003;
/// JetStream is temporarily unavailable.
pub const CLUSTER_NOT_AVAILABLE: u64 = 10008;
/// The server that was asked does not lead.
pub const CLUSTER_NOT_LEADER: u64 = 10009;
/// No such consumer.
pub const CONSUMER_NOT_FOUND: u64 = 10014;
/// Insufficient resources.
pub const INSUFFICIENT_RESOURCES: u64 = 10023;
/// The request was no JSON that the server understands: a defect of the caller.
pub const INVALID_JSON: u64 = 10025;
/// No message with that sequence or subject.
pub const NO_MESSAGE_FOUND: u64 = 10037;
/// JetStream is not enabled for this account.
pub const NOT_ENABLED_FOR_ACCOUNT: u64 = 10039;
/// The sequence does not exist (replicated streams, decided after replication).
pub const SEQUENCE_NOT_FOUND: u64 = 10043;
/// Invalid stream configuration.
pub const STREAM_INVALID_CONFIG: u64 = 10052;
/// The message is larger than the stream's `max_msg_size`.
pub const MESSAGE_TOO_LARGE: u64 = 10054;
/// Deleting a message failed; the text says why, see [`is_gone`].
pub const MESSAGE_DELETE_FAILED: u64 = 10057;
/// The stream name is in use with another configuration.
pub const STREAM_NAME_EXISTS: u64 = 10058;
/// No such stream.
pub const STREAM_NOT_FOUND: u64 = 10059;
/// Another stream than the expected one listens on the subject.
pub const STREAM_NOT_MATCH: u64 = 10060;
/// The subjects overlap those of another stream.
pub const STREAM_SUBJECT_OVERLAP: u64 = 10065;
/// The last sequence is not the expected one.
pub const WRONG_LAST_SEQUENCE: u64 = 10071;
/// JetStream is not enabled on this server.
pub const NOT_ENABLED: u64 = 10076;
/// The message was not stored; the text says why, see [`is_full`].
pub const STORE_FAILED: u64 = 10077;
/// The stream is sealed.
pub const STREAM_SEALED: u64 = 10109;
/// The stream is offline.
pub const STREAM_OFFLINE: u64 = 10118;
/// The stream name contains path separators.
pub const STREAM_NAME_INVALID: u64 = 10128;
/// A message with that id is being replicated right now: ask again with the same id.
pub const DUPLICATE_IN_PROCESS: u64 = 10158;
/// The last sequence is not the expected one (the server does not tell which it is).
pub const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10164;
/// The time to live of the message is invalid, for example below a second.
pub const MESSAGE_TTL_INVALID: u64 = 10165;
/// The stream does not allow a time to live of single messages.
pub const MESSAGE_TTL_DISABLED: u64 = 10166;
/// Too many API requests wait.
pub const TOO_MANY_REQUESTS: u64 = 10167;
/// The stream takes no atomic batches.
pub const BATCH_DISABLED: u64 = 10174;
/// Messages of an atomic batch are missing: nothing of it was stored.
pub const BATCH_INCOMPLETE: u64 = 10176;
/// More messages in an atomic batch than the server takes.
pub const BATCH_TOO_LARGE: u64 = 10199;
/// A message of an atomic batch has an id that the stream has seen: nothing of it was stored, this time.
pub const BATCH_DUPLICATE: u64 = 10201;
/// Too many atomic batches are open.
pub const TOO_MANY_BATCHES: u64 = 10210;
/// The server is older than the API level asked for.
pub const REQUIRED_API_LEVEL: u64 = 10185;

/// A compare-and-set lost: [`WRONG_LAST_SEQUENCE`] or [`WRONG_LAST_SEQUENCE_CONSTANT`] (async-nats knows only the
/// first; a quarter of the conflicts on a replicated stream carry the second).
pub fn is_cas_conflict(err_code: u64) -> bool {
    matches!(err_code, WRONG_LAST_SEQUENCE | WRONG_LAST_SEQUENCE_CONSTANT)
}

/// The stream does not exist.
pub fn is_stream_not_found(err_code: u64) -> bool {
    err_code == STREAM_NOT_FOUND
}

/// The stream, the consumer or the message does not exist.
pub fn is_not_found(err_code: u64) -> bool {
    matches!(err_code, STREAM_NOT_FOUND | CONSUMER_NOT_FOUND | NO_MESSAGE_FOUND)
}

/// A get or delete of a message says that the message is gone: expired, deleted, purged, or never there.
///
/// `description` is the server's text, which decides for [`MESSAGE_DELETE_FAILED`]; that code also stands for
/// trouble of the store and for streams that deny deletes.
pub fn is_gone(err_code: u64, description: &str) -> bool {
    match err_code {
        NO_MESSAGE_FOUND | SEQUENCE_NOT_FOUND => true,
        MESSAGE_DELETE_FAILED => {
            let text = description.to_ascii_lowercase();
            text.contains("no message found") || text.contains("stream store eof")
        }
        _ => false,
    }
}

/// A publish was refused because the stream has its `max_msgs` (and discards new ones); nothing was stored, and the
/// message id is not remembered.
///
/// Other texts of [`STORE_FAILED`] (`maximum bytes exceeded`, store trouble) are not "full of messages".
pub fn is_full(err_code: u64, description: &str) -> bool {
    err_code == STORE_FAILED && description.to_ascii_lowercase().contains("maximum messages exceeded")
}

/// A publish was refused because the stream has as much as it may have (and discards new messages), of whatever:
/// messages, bytes, messages of that subject. Nothing was stored, and it may work once something has gone.
pub fn is_out_of_room(err_code: u64, description: &str) -> bool {
    let text = description.to_ascii_lowercase();
    err_code == STORE_FAILED && text.contains("maximum") && text.contains("exceeded")
}

/// The API could not answer now and did nothing: ask again later, with a backoff.
pub fn is_transient_api(err_code: u64) -> bool {
    matches!(
        err_code,
        CLUSTER_NOT_AVAILABLE
            | CLUSTER_NOT_LEADER
            | INSUFFICIENT_RESOURCES
            | STREAM_OFFLINE
            | TOO_MANY_REQUESTS
    )
}

/// The account or the disk is full: it may get better, though not by itself soon.
pub fn is_out_of_resources(err_code: u64) -> bool {
    matches!(err_code, STORAGE_RESOURCES_EXCEEDED | MEMORY_RESOURCES_EXCEEDED)
}

/// There is no JetStream where we asked, neither now nor later.
pub fn is_jetstream_missing(err_code: u64) -> bool {
    matches!(err_code, NOT_ENABLED | NOT_ENABLED_FOR_ACCOUNT)
}

/// The name is taken by something with another configuration, or the subjects overlap.
pub fn is_name_conflict(err_code: u64) -> bool {
    matches!(err_code, STREAM_NAME_EXISTS | STREAM_SUBJECT_OVERLAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_codes_of_a_lost_compare_and_set_count() {
        assert!(is_cas_conflict(10071) && is_cas_conflict(10164));
        assert!(!is_cas_conflict(10077) && !is_cas_conflict(0));
    }

    #[test]
    fn gone_is_decided_by_code_and_where_it_must_be_by_text() {
        assert!(is_gone(10037, "no message found"));
        assert!(is_gone(10043, "sequence 7 not found"));
        assert!(is_gone(10057, "no message found"));
        assert!(is_gone(10057, "stream store EOF"));
        assert!(!is_gone(10057, "message delete not permitted"));
        assert!(!is_gone(10057, "no space left on device"));
        assert!(!is_gone(10109, "invalid operation on sealed stream"));
        assert!(!is_gone(10059, "stream not found"), "that is another kind of gone");
    }

    #[test]
    fn full_is_only_the_number_of_messages() {
        assert!(is_full(10077, "maximum messages exceeded"));
        assert!(!is_full(10077, "maximum bytes exceeded"));
        assert!(!is_full(10077, "store is closed"));
        assert!(!is_full(10047, "maximum messages exceeded"));
        for text in
            ["maximum messages exceeded", "maximum bytes exceeded", "maximum messages per subject exceeded"]
        {
            assert!(is_out_of_room(10077, text), "{text}");
        }
        assert!(!is_out_of_room(10077, "store is closed"));
    }

    #[test]
    fn transient_means_that_asking_again_is_right() {
        for code in [10008, 10009, 10023, 10118, 10167] {
            assert!(is_transient_api(code), "{code}");
        }
        for code in [10059, 10039, 10076, 10025, 10003, 10077, 10071] {
            assert!(!is_transient_api(code), "{code}");
        }
    }

    #[test]
    fn each_code_stands_in_one_class() {
        let classes: [fn(u64) -> bool; 6] = [
            is_cas_conflict,
            is_not_found,
            is_transient_api,
            is_out_of_resources,
            is_jetstream_missing,
            is_name_conflict,
        ];
        for code in 10000..10300 {
            assert!(classes.iter().filter(|class| class(code)).count() <= 1, "{code}");
        }
    }

    #[test]
    fn not_found_covers_streams_consumers_and_messages() {
        assert!(is_not_found(10059) && is_not_found(10014) && is_not_found(10037));
        assert!(is_stream_not_found(10059) && !is_stream_not_found(10014));
        assert!(!is_not_found(10039), "no JetStream at all is a matter of the account");
    }
}
