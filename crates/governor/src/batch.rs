//! Several slots at once: one message a slot, in one atomic batch that the server stores as a whole or not at all.

use std::num::NonZeroU32;

use sluicegate_core::{LeaseError, later};
use sluicegate_nats::async_nats::{HeaderMap, header};
use tokio::time::{Instant, timeout_at};

use crate::attempt::Attempt;
use crate::stream::Stream;
use crate::wire::{Answer, GetMessage, read_answer};

const BATCH_ID: &str = "Nats-Batch-Id";
const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";
const BATCH_COMMIT: &str = "Nats-Batch-Commit";

/// The subject of one of several slots of a lease, counted from 1.
pub(crate) fn entry(subject: &str, number: u32) -> String {
    format!("{subject}.{number}")
}

/// Matches the subjects of all of them.
pub(crate) fn all_entries(subject: &str) -> String {
    format!("{subject}.>")
}

/// The lease's subject and the number of the slot, if a message on that subject is one of several.
pub(crate) fn split_entry(subject: &str) -> Option<(&str, NonZeroU32)> {
    let (subject, number) = subject.rsplit_once('.')?;
    Some((subject, number.parse().ok()?))
}

/// One try. Its messages have the ids of the attempt, one each, so that the server stores them at most once; the
/// batch has an id of its own, as a try that arrived in part keeps its id busy.
pub(crate) async fn send(attempt: &Attempt, stream: &Stream) -> Answer {
    let deadline = later(Instant::now(), stream.timeout());
    let batch = nuid::next();
    let last = attempt.weight.get();
    if timeout_at(deadline, stream.connection().connected()).await.is_ok() {
        let client = stream.connection().client();
        for number in 1..last {
            let subject = entry(&attempt.subject, number);
            let headers = headers(attempt, batch.as_str(), number);
            let hand_over = client.publish_with_headers(subject, headers, attempt.holder.clone());
            // Where one is missing the server refuses the batch, and says so.
            if !matches!(timeout_at(deadline, hand_over).await, Ok(Ok(()))) {
                break;
            }
        }
    }
    let subject = entry(&attempt.subject, last);
    let mut headers = headers(attempt, batch.as_str(), last);
    headers.insert(BATCH_COMMIT, "1");
    let left = deadline.saturating_duration_since(Instant::now());
    let answer = stream.connection().request(&subject, Some(headers), attempt.holder.clone(), left).await;
    match read_answer(stream.name(), &subject, answer) {
        // The answer names the last message, and a batch is stored without gaps.
        Answer::Stored { sequence, duplicate } => {
            Answer::Stored { sequence: sequence.saturating_sub(u64::from(last - 1)), duplicate }
        }
        other => other,
    }
}

fn headers(attempt: &Attempt, batch: &str, number: u32) -> HeaderMap {
    let mut headers = attempt.headers.clone();
    headers.insert(header::NATS_MESSAGE_ID, entry(&attempt.id, number));
    headers.insert(BATCH_ID, batch);
    headers.insert(BATCH_SEQUENCE, number.to_string());
    headers
}

/// The sequence of the first message of a batch that an earlier try has stored; none if it is gone.
pub(crate) async fn read_back(attempt: &Attempt, stream: &Stream) -> Result<Option<u64>, LeaseError> {
    let (first, last) = (entry(&attempt.subject, 1), entry(&attempt.subject, attempt.weight.get()));
    let Some(first) = stream.get(GetMessage::Last { last_by_subj: &first }).await? else { return Ok(None) };
    let Some(last) = stream.get(GetMessage::Last { last_by_subj: &last }).await? else { return Ok(None) };
    let whole = last.seq.checked_sub(first.seq) == Some(u64::from(attempt.weight.get() - 1));
    Ok(whole.then_some(first.seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_of_several_is_told_from_a_lease_of_one() {
        let three = NonZeroU32::new(3).unwrap();
        assert_eq!(split_entry(&entry("$GOVERNOR2.T.abc", 3)), Some(("$GOVERNOR2.T.abc", three)));
        let long = "$GOVERNOR2.T.1234567890123456789012";
        for single in ["$GOVERNOR2.T.abc", long, "$GOVERNOR2.T.abc.0", "abc", ""] {
            assert_eq!(split_entry(single), None, "{single}");
        }
    }
}
