//! What becomes of an attempt that nobody waits for any more: it is resolved, and its slot, if it got one, is freed.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{LeaseError, LeaseErrorKind, later};
use tokio::time::{Instant, sleep, timeout};

use crate::attempt::{Attempt, Link};
use crate::event::GovernorEvent;
use crate::pool::Pool;
use crate::stream::Deleted;
use crate::wire::{Answer, GetMessage};
use crate::{backoff, batch};

/// When a copy of a message that an old connection carried has certainly arrived.
pub(crate) const LATE_COPIES: Duration = Duration::from_secs(5);

/// How long the resolving goes on once the last handle of the pool is gone.
const GRACE: Duration = Duration::from_secs(5);

/// How long an attempt is resolved at least, however short its slot would have lasted.
const SHORTEST: Duration = Duration::from_secs(120);

/// Resolves the attempt in a task of the pool, after `delay`.
pub(crate) fn resolve_later(pool: &Arc<Pool>, attempt: Attempt, delay: Duration) {
    let task = {
        let pool = Arc::clone(pool);
        async move {
            let resolve = async {
                sleep(delay).await;
                resolve(&pool, attempt).await
            };
            let resolved = unless_hurried(&pool, resolve).await.unwrap_or(false);
            pool.emit(&GovernorEvent::Leaked { resolved });
        }
    };
    // A runtime that is shutting down drops the task: then the slot expires.
    drop(pool.tasks.spawn_on(task, &pool.runtime));
}

/// Waits for it, but not for long once the last handle of the pool is gone.
pub(crate) async fn unless_hurried<T>(pool: &Pool, what: impl Future<Output = T>) -> Option<T> {
    let hurry = pool.hurry.clone();
    let hurried = async {
        hurry.cancelled().await;
        sleep(GRACE).await;
    };
    tokio::select! {
        biased;
        done = what => Some(done),
        () = hurried => None,
    }
}

/// Whether it is certain that no slot is left of this attempt.
async fn resolve(pool: &Arc<Pool>, mut attempt: Attempt) -> bool {
    let mut delays = backoff::resolving();
    let end = later(attempt.first_send, attempt.ttl.max(SHORTEST));
    while Instant::now() < end {
        if attempt.is_of_old_life(pool) {
            return true;
        }
        if attempt.forgotten_at().is_some_and(|forgotten| Instant::now() >= forgotten) {
            return match attempt.entries() {
                Some(entries) => remove_matching(pool, &attempt, &entries, end).await,
                None => search(pool, &attempt, end).await,
            };
        }
        let answer = {
            // Not more of these at a time than a server bears with beside its other work.
            let Ok(_slot) = pool.reaping.acquire().await else { return false };
            attempt.send(pool).await
        };
        match &answer {
            Answer::Full => pool.refusals.refused(pool, &attempt.id),
            Answer::Stored { .. } | Answer::Landed => {}
            _ => pool.refusals.trouble(pool),
        }
        match answer {
            Answer::Stored { .. } | Answer::Landed if attempt.weight > NonZeroU32::MIN => {
                return remove_matching(pool, &attempt, &batch::all_entries(&attempt.subject), end).await;
            }
            Answer::Stored { sequence, .. } => return remove(pool, &attempt.id, sequence, end).await,
            // One connection carried all tries: the first came before this one, and it was not stored.
            Answer::Full if attempt.link.is(&Link::of(pool.stream.connection())) => return true,
            Answer::Full => {
                // A copy that the old connection carried may be on its way: look once more.
                sleep(LATE_COPIES).await;
                attempt.link = Link::of(pool.stream.connection());
                continue;
            }
            Answer::NobodyListens(error) => match pool.stream.why_silent(error).await {
                Err(error) if error.kind() == LeaseErrorKind::NotFound => return true,
                Err(_) => {}
                Ok(info) => {
                    pool.learn(&info);
                }
            },
            Answer::Refused(error) if is_final(&error) => return false,
            Answer::InProcess
            | Answer::Silence(_)
            | Answer::NotConnected(_)
            | Answer::Unheard(_)
            | Answer::Refused(_)
            | Answer::Landed
            | Answer::Conflict { .. } => {}
        }
        sleep(delays.next().unwrap_or(backoff::LONGEST)).await;
    }
    false
}

pub(crate) fn is_final(error: &LeaseError) -> bool {
    !matches!(error.kind(), LeaseErrorKind::Transient | LeaseErrorKind::Unknown)
}

/// Frees a slot that was found.
pub(crate) async fn remove(pool: &Arc<Pool>, id: &str, sequence: u64, end: Instant) -> bool {
    until_removed(pool, sequence, 1, end, |again| pool.stream.delete_own(sequence, id, again)).await
}

/// Frees several at once.
async fn remove_matching(pool: &Arc<Pool>, attempt: &Attempt, filter: &str, end: Instant) -> bool {
    until_removed(pool, 0, attempt.weight.get(), end, |_| pool.stream.delete_matching(filter)).await
}

async fn until_removed<F>(
    pool: &Arc<Pool>,
    sequence: u64,
    slots: u32,
    end: Instant,
    attempt: impl Fn(bool) -> F,
) -> bool
where
    F: Future<Output = Deleted>,
{
    let mut delays = backoff::resolving();
    let mut repeated = false;
    while Instant::now() < end {
        match attempt(std::mem::replace(&mut repeated, true)).await {
            Deleted::Done => {
                pool.gave_back(sequence, slots).await;
                return true;
            }
            Deleted::Gone | Deleted::NoStream => return true,
            Deleted::Failed { error, .. } if is_final(&error) => return false,
            Deleted::Failed { .. } => sleep(delays.next().unwrap_or(backoff::LONGEST)).await,
        }
    }
    false
}

/// Finds the slot of an attempt whose id the server has forgotten, by looking at what is stored.
async fn search(pool: &Arc<Pool>, attempt: &Attempt, end: Instant) -> bool {
    let mut delays = backoff::resolving();
    while Instant::now() < end {
        match find(pool, attempt).await {
            Ok(Some(sequence)) => return remove(pool, &attempt.id, sequence, end).await,
            Ok(None) => return true,
            Err(error) if error.kind() == LeaseErrorKind::NotFound => return true,
            Err(error) if is_final(&error) => return false,
            Err(_) => sleep(delays.next().unwrap_or(backoff::LONGEST)).await,
        }
    }
    false
}

async fn find(pool: &Pool, attempt: &Attempt) -> Result<Option<u64>, LeaseError> {
    if attempt.own_subject {
        let last = pool.stream.get(GetMessage::Last { last_by_subj: &attempt.subject }).await?;
        return Ok(last.map(|message| message.seq));
    }
    let info = pool.stream.info().await?;
    let stored = pool.stream.walk(&info).await?;
    let ours = stored
        .iter()
        .map(|(message, _)| message)
        .find(|message| message.header("Nats-Msg-Id") == Some(&*attempt.id));
    Ok(ours.map(|message| message.seq))
}

/// Waits until every abandoned attempt is resolved, at most `within`.
pub(crate) async fn flush(pool: &Pool, within: Duration) -> Result<(), LeaseError> {
    pool.tasks.close();
    let flushed = timeout(within, pool.tasks.wait()).await;
    pool.tell_pending().await;
    pool.hurry.cancel();
    if flushed.is_ok() {
        return Ok(());
    }
    let context = format!(
        "{} attempts on stream {} are not resolved: their slots, if they got any, expire",
        pool.tasks.len(),
        pool.stream.name()
    );
    Err(LeaseError::new(LeaseErrorKind::Unknown, context))
}
