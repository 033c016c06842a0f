use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::HeaderMap;
use backon::{BackoffBuilder, ExponentialBuilder};
use sluicegate_core::later;
use tokio::time::{Instant, sleep};

use super::Publish;
use crate::PubAck;
use crate::code;
use crate::connection::{Connection, Slot};
use crate::error::{ApiError, ApiErrorKind, Outcome, PublishError, PublishErrorKind, RequestErrorKind};
use crate::request::{OnLoss, send};

impl Connection {
    /// Publishes to a stream and waits until the stream has the message, with a message id by which it is stored at
    /// most once.
    ///
    /// A try whose outcome is unknown (no answer, connection lost, "in process") is repeated with the same id until
    /// the stream says what became of it: a repetition that finds the message stored comes back as
    /// [`duplicate`](PubAck::duplicate), which is success. One that had an expectation conflicts with itself then,
    /// and is looked up where it must be (`STREAM.MSG.GET`, where permitted). "No responders" is what an election looks like and is
    /// waited out.
    ///
    /// # Errors
    /// See [`PublishErrorKind`]; [`outcome`](PublishError::outcome) says whether the message may be in the stream.
    ///
    /// # Cancel safety
    /// Dropping it forgets the answer; the message may be stored, or may be yet. With an id of your own you can
    /// publish it again to find out.
    pub async fn publish(&self, publish: Publish) -> Result<PubAck, PublishError> {
        let (id, headers) = publish.finish().map_err(|name| PublishError {
            kind: PublishErrorKind::Invalid,
            outcome: Outcome::NotDone,
            subject: publish.subject.clone(),
            msg_id: publish.msg_id.clone().unwrap_or_default(),
            description: format!("the {name} is empty or holds a line end"),
            source: None,
        })?;
        let started = Instant::now();
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(2))
            .without_max_times()
            .build();
        let mut unsure = Unsure::Nothing;
        loop {
            let try_ = self.try_once(&publish, &headers).await;
            let error = match try_.answer {
                Ok(ack) => return Ok(ack),
                Err(error) => error,
            };
            let verdict = verdict(&error);
            let unknown = match verdict {
                Verdict::Final => {
                    is_deaf(&error, &publish)
                        || unsure != Unsure::Nothing && !settles(&error, unsure.is_all_in(try_.epoch))
                }
                _ => unsure != Unsure::Nothing || verdict == Verdict::Unknown,
            };
            let mut limit = match verdict {
                Verdict::Final => Duration::ZERO,
                Verdict::Election if !unknown => publish.patience,
                Verdict::Election => publish.patience.max(publish.resolve_for),
                Verdict::Unknown | Verdict::NotSent => publish.resolve_for,
            };
            if unknown && error.err_code().is_some_and(code::is_cas_conflict) {
                match self.read_back(&publish, &id).await {
                    Ok(Some(ack)) => return Ok(ack),
                    Ok(None) => {}
                    // Nobody has looked yet, and another conflict leads back here.
                    Err(look) if self::verdict(&look) != Verdict::Final => limit = publish.resolve_for,
                    Err(_) => {}
                }
            }
            let delay = delays.next().unwrap_or(Duration::from_secs(2));
            if started.elapsed() + delay >= limit {
                let mut kind = kind(&error);
                if kind == PublishErrorKind::NoResponders {
                    kind = self.no_stream_or_no_leader(&publish).await;
                }
                let outcome = if unknown { Outcome::Unknown } else { Outcome::NotDone };
                return Err(failure(&publish, id, kind, outcome, error));
            }
            if verdict == Verdict::Unknown {
                unsure = unsure.and(try_.epoch);
            }
            tracing::debug!(subject = %publish.subject, %id, %error, ?delay, "publishing again with the same id");
            sleep(delay).await;
        }
    }

    async fn try_once(&self, publish: &Publish, headers: &HeaderMap) -> Try {
        let deadline = later(Instant::now(), publish.timeout);
        let slot = match self.ready(&publish.subject, deadline).await {
            Ok(slot) => slot,
            Err(error) => return Try { epoch: None, answer: Err(error.into()) },
        };
        let before = epoch(&slot);
        let (headers, payload) = (Some(headers.clone()), publish.payload.clone());
        let message = send(&slot, &publish.subject, headers, payload, deadline, OnLoss::GiveUp).await;
        let epoch = (epoch(&slot) == before).then_some(before);
        Try { epoch, answer: message.map_err(ApiError::from).and_then(|message| PubAck::parse(&message)) }
    }

    /// After an election's time without one to answer: is there a stream at all?
    async fn no_stream_or_no_leader(&self, publish: &Publish) -> PublishErrorKind {
        let known: Result<bool, ApiError> = match &publish.stream {
            Some(stream) => {
                let info: Result<serde_json::Value, _> =
                    self.api(&format!("STREAM.INFO.{stream}"), &(), publish.timeout).await;
                info.map(|_| true)
            }
            None => self.streams_of(publish).await.map(|streams| !streams.is_empty()),
        };
        match known {
            Ok(true) => PublishErrorKind::NoLeader,
            Ok(false) => PublishErrorKind::StreamNotFound,
            Err(error) if error.err_code().is_some_and(code::is_stream_not_found) => {
                PublishErrorKind::StreamNotFound
            }
            Err(_) => PublishErrorKind::NoResponders,
        }
    }
}

/// Which connection of which client.
pub(crate) type Epoch = (usize, u64);

struct Try {
    /// What carried it. None: nobody knows, or it was not sent.
    epoch: Option<Epoch>,
    answer: Result<PubAck, ApiError>,
}

/// What was sent earlier in one epoch is processed earlier.
pub(crate) fn epoch(slot: &Slot) -> Epoch {
    let client = slot.link.as_ref().map_or(0, |link| Arc::as_ptr(link) as usize);
    (client, slot.client.statistics().connects.load(Ordering::Relaxed))
}

/// The tries that may yet turn out to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unsure {
    Nothing,
    In(Epoch),
    /// Several connections carried them.
    Anywhere,
}

impl Unsure {
    /// With another one.
    fn and(self, epoch: Option<Epoch>) -> Self {
        match (self, epoch) {
            (Self::Nothing, Some(epoch)) => Self::In(epoch),
            (Self::In(first), Some(epoch)) if first == epoch => self,
            _ => Self::Anywhere,
        }
    }

    fn is_all_in(self, epoch: Option<Epoch>) -> bool {
        epoch.is_some_and(|epoch| self == Self::In(epoch))
    }
}

/// What one failed try means for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The answer is final.
    Final,
    /// It may have been stored, or may be yet.
    Unknown,
    /// Nobody took it, maybe for want of a leader.
    Election,
    /// There was no connection.
    NotSent,
}

fn verdict(error: &ApiError) -> Verdict {
    match error.kind() {
        ApiErrorKind::Server { err_code: code::DUPLICATE_IN_PROCESS, .. } => Verdict::Unknown,
        ApiErrorKind::Server { err_code, .. } if code::is_transient_api(err_code) => Verdict::Election,
        ApiErrorKind::Server { .. } => Verdict::Final,
        ApiErrorKind::Malformed => Verdict::Unknown,
        ApiErrorKind::Request(kind) => match kind {
            RequestErrorKind::TimedOut | RequestErrorKind::Closed => Verdict::Unknown,
            RequestErrorKind::NoResponders => Verdict::Election,
            RequestErrorKind::NotConnected => Verdict::NotSent,
            RequestErrorKind::NotPermitted | RequestErrorKind::TooLarge | RequestErrorKind::Invalid => {
                Verdict::Final
            }
        },
    }
}

/// Not the message was refused, but the way of its answer.
fn is_deaf(error: &ApiError, publish: &Publish) -> bool {
    error.kind() == ApiErrorKind::Request(RequestErrorKind::NotPermitted)
        && error.subject() != publish.subject
}

/// The refusal of a repetition says that the earlier, unresolved try was not stored: either nothing can change about
/// the reason, or the server looks at the id first and the earlier try was processed earlier (same connection).
fn settles(error: &ApiError, same_epoch: bool) -> bool {
    match error.kind() {
        ApiErrorKind::Request(RequestErrorKind::Invalid) => true,
        // Permissions and servers change.
        ApiErrorKind::Request(_) | ApiErrorKind::Malformed => false,
        ApiErrorKind::Server { err_code, .. } => match err_code {
            code::STREAM_NOT_MATCH
            | code::MESSAGE_TOO_LARGE
            | code::MESSAGE_TTL_INVALID
            | code::MESSAGE_TTL_DISABLED => true,
            _ => same_epoch && code::is_full(err_code, error.description()),
        },
    }
}

fn kind(error: &ApiError) -> PublishErrorKind {
    match error.kind() {
        ApiErrorKind::Server { code, err_code } => PublishErrorKind::Server { code, err_code },
        ApiErrorKind::Malformed => PublishErrorKind::Malformed,
        ApiErrorKind::Request(kind) => match kind {
            RequestErrorKind::NoResponders => PublishErrorKind::NoResponders,
            RequestErrorKind::NotPermitted => PublishErrorKind::NotPermitted,
            RequestErrorKind::NotConnected => PublishErrorKind::NotConnected,
            RequestErrorKind::TooLarge => PublishErrorKind::TooLarge,
            RequestErrorKind::Invalid => PublishErrorKind::Invalid,
            RequestErrorKind::TimedOut | RequestErrorKind::Closed => PublishErrorKind::TimedOut,
        },
    }
}

fn failure(
    publish: &Publish,
    msg_id: String,
    kind: PublishErrorKind,
    outcome: Outcome,
    error: ApiError,
) -> PublishError {
    let subject = match kind {
        PublishErrorKind::NotPermitted => error.subject().to_owned(),
        _ => publish.subject.clone(),
    };
    let description = error.description().to_owned();
    PublishError { kind, outcome, subject, msg_id, description, source: Some(error.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{RequestError, ServerErrorBody};

    fn server(err_code: u64) -> ApiError {
        ApiError::server("s", ServerErrorBody { code: 400, err_code, description: String::new() })
    }

    #[test]
    fn what_a_failed_try_means() {
        let request = |kind| ApiError::from(RequestError::new(kind, "s", ""));
        for (error, meaning) in [
            (server(10158), Verdict::Unknown),
            (server(10077), Verdict::Final),
            (server(10071), Verdict::Final),
            (server(10164), Verdict::Final),
            (server(10008), Verdict::Election),
            (request(RequestErrorKind::TimedOut), Verdict::Unknown),
            (request(RequestErrorKind::Closed), Verdict::Unknown),
            (request(RequestErrorKind::NoResponders), Verdict::Election),
            (request(RequestErrorKind::NotConnected), Verdict::NotSent),
            (request(RequestErrorKind::NotPermitted), Verdict::Final),
            (ApiError::malformed("s", "x"), Verdict::Unknown),
        ] {
            assert_eq!(verdict(&error), meaning, "{error}");
        }
    }

    #[test]
    fn a_conflict_of_a_repetition_settles_nothing() {
        // It may be a conflict with its own first try.
        assert!(!settles(&server(10071), true) && !settles(&server(10164), true));
        assert!(settles(&server(10060), false));
        let description = "maximum messages exceeded".to_owned();
        let full = ApiError::server("s", ServerErrorBody { code: 503, err_code: 10077, description });
        assert!(settles(&full, true), "a stored id would have been found first");
        assert!(!settles(&full, false));
    }

    #[test]
    fn a_permission_that_was_withdrawn_settles_nothing() {
        let request = |kind| ApiError::from(RequestError::new(kind, "s", ""));
        assert!(!settles(&request(RequestErrorKind::NotPermitted), true));
        assert!(!settles(&request(RequestErrorKind::TooLarge), true));
        assert!(settles(&request(RequestErrorKind::Invalid), false));
    }

    #[test]
    fn tries_that_several_connections_carried_stay_unsure() {
        let (old, new) = ((1, 1), (1, 2));
        let one = Unsure::Nothing.and(Some(old)).and(Some(old));
        assert!(one.is_all_in(Some(old)) && !one.is_all_in(Some(new)) && !one.is_all_in(None));
        let both = one.and(Some(new));
        assert!(!both.is_all_in(Some(old)) && !both.is_all_in(Some(new)), "an old copy may be under way");
        assert_eq!(one.and(None), Unsure::Anywhere);
        assert!(!Unsure::Nothing.is_all_in(Some(old)));
    }

    #[test]
    fn kinds_keep_the_codes_of_the_server() {
        assert_eq!(kind(&server(10060)), PublishErrorKind::Server { code: 400, err_code: 10060 });
    }
}
