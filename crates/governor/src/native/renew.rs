use bytes::Bytes;
use sluicegate_core::{FencingToken, Lease, LeaseError, LeaseErrorKind, later};
use sluicegate_nats::async_nats::{HeaderMap, header};
use tokio::time::{Instant, sleep};

use super::{NATS_TTL, ttl_header};
use crate::backoff;
use crate::board::Live;
use crate::pool::Pool;
use crate::wire::{Answer, GetMessage, LEASE_HEADER, read_answer};

/// Writes the lease's message anew, on the condition that the last one is still there: the server refuses it once
/// the lease has expired, been released or evicted, and nobody but us writes to this subject.
pub(super) async fn renew(pool: &Pool, lease: &Lease) -> Result<Lease, LeaseError> {
    let Some(live) = pool.board.live(lease.id()) else {
        return Err(lost(lease));
    };
    let ttl = pool.board.ttl();
    let give_up = live.deadline.min(later(Instant::now(), pool.options.resolve_for));
    let mut expected = live.token;
    let mut delays = backoff::resolving();
    // The first send of a try that may have been stored without our knowing.
    let mut unanswered: Option<Instant> = None;
    loop {
        let sent = Instant::now();
        pool.board.doubt(lease.id());
        let error = match send(pool, lease, &live, expected, ttl).await {
            Answer::Stored { sequence, .. } => return Ok(confirm(pool, lease, sequence, sent, ttl)),
            Answer::Conflict { last } => {
                let last = match last {
                    Some(last) => last,
                    None => read_back(pool, &live).await?,
                };
                match (last, unanswered) {
                    (0, _) => return Err(gone(pool, lease).await),
                    (last, Some(first)) if last > expected.0 => {
                        return Ok(confirm(pool, lease, last, first, ttl));
                    }
                    // An earlier call's renewal that we never heard of, or another one under way.
                    (last, None) if last > expected.0 => {
                        expected = FencingToken(last);
                        continue;
                    }
                    _ => return Err(gone(pool, lease).await),
                }
            }
            Answer::NobodyListens(error) if unanswered.is_none() => match pool.stream.why_silent(error).await
            {
                Ok(info) => {
                    pool.learn(&info);
                    LeaseError::new(LeaseErrorKind::Transient, "nobody listens for now")
                }
                Err(error) if error.kind() == LeaseErrorKind::NotFound => {
                    return Err(gone(pool, lease).await);
                }
                Err(error) => return Err(error),
            },
            Answer::NotConnected(error) | Answer::NobodyListens(error) => {
                crate::error::write(pool.stream.name(), error)
            }
            Answer::Silence(error) => {
                unanswered.get_or_insert(sent);
                crate::error::write(pool.stream.name(), error)
            }
            Answer::Full | Answer::InProcess => {
                let context =
                    format!("lease {} cannot be renewed now: the stream is over its limit", lease.id());
                return Err(LeaseError::new(LeaseErrorKind::Transient, context));
            }
            Answer::Refused(error) => return Err(error),
        };
        if unanswered.is_none() {
            return Err(error);
        }
        let pause = delays.next().unwrap_or(backoff::LONGEST);
        if Instant::now() + pause >= give_up {
            let context = format!("whether lease {} was renewed is unknown", lease.id());
            return Err(LeaseError::new(LeaseErrorKind::Unknown, context).with_source(error));
        }
        sleep(pause).await;
    }
}

async fn send(
    pool: &Pool,
    lease: &Lease,
    live: &Live,
    expected: FencingToken,
    ttl: std::time::Duration,
) -> Answer {
    // No message id: servers look at the condition before they look at ids.
    let mut headers = HeaderMap::new();
    headers.insert(NATS_TTL, ttl_header(ttl));
    headers.insert(header::NATS_EXPECTED_STREAM, &**pool.stream.name());
    headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
    headers.insert(LEASE_HEADER, lease.id().to_string());
    let holder = Bytes::copy_from_slice(lease.holder().as_bytes());
    let answer =
        pool.stream.connection().request(&live.subject, Some(headers), holder, pool.stream.timeout()).await;
    read_answer(pool.stream.name(), &live.subject, answer)
}

fn confirm(pool: &Pool, lease: &Lease, sequence: u64, sent: Instant, ttl: std::time::Duration) -> Lease {
    let renewed = lease.renewed(FencingToken(sequence), sent, ttl);
    pool.board.renewed(&renewed, sent);
    renewed
}

/// The sequence of the lease's newest message, which some servers do not tell with the conflict; 0 if there is none.
async fn read_back(pool: &Pool, live: &Live) -> Result<u64, LeaseError> {
    let last = pool.stream.get(GetMessage::Last { last_by_subj: &live.subject }).await?;
    Ok(last.map_or(0, |message| message.seq))
}

async fn gone(pool: &Pool, lease: &Lease) -> LeaseError {
    let cause = pool.why_gone(lease.id()).await;
    pool.board.lose(lease.id(), cause);
    lost(lease)
}

fn lost(lease: &Lease) -> LeaseError {
    LeaseError::new(LeaseErrorKind::Lost, format!("lease {} is no longer held", lease.id()))
}
