use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use sluicegate_core::{FencingToken, Lease, LeaseError, LeaseErrorKind, later};
use sluicegate_nats::async_nats::{HeaderMap, header};
use tokio::time::{Instant, sleep};

use super::{NATS_TTL, ttl_header};
use crate::backoff;
use crate::batch::{all_entries, entry};
use crate::board::Live;
use crate::event::GovernorEvent;
use crate::pool::Pool;
use crate::wire::{Answer, GetMessage, LEASE_HEADER, read_answer};

/// How many slots of one lease are renewed at the same time.
const AT_ONCE: usize = 64;

/// Shortest wait for an answer: a server on another continent.
const SHORTEST_TRY: Duration = Duration::from_millis(500);

/// Writes the lease's messages anew, each on the condition that the last one is still there: the server refuses it
/// once the lease has expired, been released or evicted, and nobody but us writes to these subjects.
pub(super) async fn renew(pool: &Pool, lease: &Lease) -> Result<Lease, LeaseError> {
    let Some(live) = pool.board.renewing(lease.id()) else {
        return Err(lost(lease));
    };
    let ttl = pool.board.ttl();
    let give_up = live.deadline.min(later(Instant::now(), pool.options.resolve_for));
    let round = Round { pool, lease, live: &live, ttl, give_up };
    let outcome = match round.run().await {
        Ok(Written { sequence, sent }) => {
            let renewed = lease.renewed(FencingToken(sequence), sent, ttl);
            pool.board.renewed(&renewed, sent);
            return Ok(renewed);
        }
        Err(failure) => failure,
    };
    match outcome {
        Failure::Failed(error) => Err(error),
        Failure::Lost => {
            if !live.entries.is_empty() {
                // A part of a lease is none; what remains of it expires if this fails.
                let _ = pool.stream.delete_matching(&all_entries(&live.subject)).await;
            }
            let cause = pool.why_gone(lease.id()).await;
            pool.board.lose(lease.id(), cause);
            Err(lost(lease))
        }
    }
}

/// A message that was stored, and when the request for it left.
#[derive(Clone, Copy)]
struct Written {
    sequence: u64,
    sent: Instant,
}

enum Failure {
    Lost,
    Failed(LeaseError),
}

struct Round<'a> {
    pool: &'a Pool,
    lease: &'a Lease,
    live: &'a Live,
    ttl: Duration,
    give_up: Instant,
}

impl Round<'_> {
    /// The largest sequence, and the earliest time.
    async fn run(&self) -> Result<Written, Failure> {
        let Live { entries, subject, token, .. } = self.live;
        if entries.is_empty() {
            return self.write(subject, token.0).await;
        }
        let each = (1..).zip(entries.iter().copied());
        let each = each.map(|(number, expected)| self.write_entry(number, expected));
        let outcomes: Vec<_> = stream::iter(each).buffer_unordered(AT_ONCE).collect().await;
        if outcomes.iter().any(|outcome| matches!(outcome, Err(Failure::Lost))) {
            return Err(Failure::Lost);
        }
        outcomes.into_iter().try_fold(Written { sequence: 0, sent: Instant::now() }, |all, one| {
            let one = one?;
            Ok(Written { sequence: all.sequence.max(one.sequence), sent: all.sent.min(one.sent) })
        })
    }

    async fn write_entry(&self, number: u32, expected: u64) -> Result<Written, Failure> {
        let written = self.write(&entry(&self.live.subject, number), expected).await;
        if let Ok(Written { sequence, .. }) = written {
            // Kept, whatever becomes of the others: the next round starts from it.
            self.pool.board.entry_renewed(self.lease.id(), number as usize - 1, sequence);
        }
        written
    }

    /// Writes one message until the server has said what became of it.
    async fn write(&self, subject: &str, expected: u64) -> Result<Written, Failure> {
        let (pool, stream) = (self.pool, &self.pool.stream);
        let mut expected = expected;
        let mut delays = backoff::resolving();
        // The first send of a try that may have been stored without our knowing.
        let mut unanswered: Option<Instant> = None;
        loop {
            let sent = Instant::now();
            let error = match self.send(subject, expected).await {
                Answer::Stored { sequence, .. } => return Ok(Written { sequence, sent }),
                Answer::Conflict { last } => {
                    let last = match last {
                        Some(last) => last,
                        None => read_back(pool, subject).await?,
                    };
                    if last <= expected {
                        return Err(Failure::Lost);
                    }
                    // An earlier try that we never heard of, perhaps of an earlier call: it was stored at a time that
                    // nobody knows, so it is renewed once more.
                    expected = last;
                    unanswered = None;
                    continue;
                }
                Answer::NobodyListens(error) if unanswered.is_none() => {
                    match stream.why_silent(error).await {
                        Ok(info) => {
                            pool.learn(&info);
                            LeaseError::new(LeaseErrorKind::Transient, "nobody listens for now")
                        }
                        Err(error) if error.kind() == LeaseErrorKind::NotFound => return Err(Failure::Lost),
                        Err(error) => return Err(Failure::Failed(error)),
                    }
                }
                Answer::NotConnected(error) | Answer::NobodyListens(error) => {
                    crate::error::write(stream.name(), error)
                }
                Answer::Silence(error) => {
                    unanswered.get_or_insert(sent);
                    crate::error::write(stream.name(), error)
                }
                Answer::Full | Answer::InProcess | Answer::Landed => {
                    let id = self.lease.id();
                    let context = format!("lease {id} cannot be renewed now: the stream is over its limit");
                    return Err(Failure::Failed(LeaseError::new(LeaseErrorKind::Transient, context)));
                }
                Answer::Refused(error) | Answer::Unheard(error) => return Err(Failure::Failed(error)),
            };
            if pool.board.misses_renewals(self.lease.id(), self.ttl * 2 / 3) {
                let (id, deadline) = (self.lease.id(), self.live.deadline);
                pool.emit(&GovernorEvent::RenewalsMissed { id, deadline });
            }
            if unanswered.is_none() {
                return Err(Failure::Failed(error));
            }
            let pause = delays.next().unwrap_or(backoff::LONGEST);
            if Instant::now() + pause >= self.give_up {
                let context = format!("whether lease {} was renewed is unknown", self.lease.id());
                let unknown = LeaseError::new(LeaseErrorKind::Unknown, context).with_source(error);
                return Err(Failure::Failed(unknown));
            }
            sleep(pause).await;
        }
    }

    async fn send(&self, subject: &str, expected: u64) -> Answer {
        let stream = &self.pool.stream;
        // No message id, as servers look at the condition before they look at ids; and no name of the stream, as no
        // other has that sequence on that subject.
        let mut headers = HeaderMap::new();
        headers.insert(NATS_TTL, ttl_header(self.ttl));
        headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        headers.insert(LEASE_HEADER, self.lease.id().to_string());
        let holder = Bytes::copy_from_slice(self.lease.holder().as_bytes());
        // There has to be time for another try: an answer that a lost connection carried never comes.
        let timeout = stream.timeout().min((self.ttl / 6).max(SHORTEST_TRY));
        let answer = stream.connection().request(subject, Some(headers), holder, timeout).await;
        read_answer(stream.name(), subject, answer)
    }
}

/// The sequence of the newest message, which some servers do not tell with the conflict; 0 if there is none.
async fn read_back(pool: &Pool, subject: &str) -> Result<u64, Failure> {
    let last = pool.stream.get(GetMessage::Last { last_by_subj: subject }).await.map_err(Failure::Failed)?;
    Ok(last.map_or(0, |message| message.seq))
}

fn lost(lease: &Lease) -> LeaseError {
    LeaseError::new(LeaseErrorKind::Lost, format!("lease {} is no longer held", lease.id()))
}
