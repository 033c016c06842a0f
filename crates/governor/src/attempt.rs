use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluicegate_core::{LeaseError, LeaseErrorKind, later};
use sluicegate_nats::Connection;
use sluicegate_nats::async_nats::{HeaderMap, Statistics, header};
use tokio::time::{Instant, sleep};

use crate::pool::Pool;
use crate::wire::{Answer, GetMessage, read_answer};
use crate::{backoff, batch, reaper};

/// How much earlier than the server says its memory of ids is taken to end, at most.
const FORGETFUL: Duration = Duration::from_secs(5);

/// One campaign: a message, or a batch of several, that is sent until the server has said what became of it, always
/// under the same id, so that it is stored at most once.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) id: Arc<str>,
    pub(crate) subject: Arc<str>,
    /// Nobody else publishes to that subject.
    pub(crate) own_subject: bool,
    pub(crate) headers: HeaderMap,
    pub(crate) holder: Bytes,
    pub(crate) ttl: Duration,
    /// How many slots, each a message on a subject below `subject` if there are several.
    pub(crate) weight: NonZeroU32,
    /// For how long the server knows the id.
    window: Duration,
    /// In which life of the stream.
    pub(crate) life: u64,
    /// Before the first byte of the first try was handed over.
    pub(crate) first_send: Instant,
    /// The connection that carried the first try.
    pub(crate) link: Link,
}

impl Attempt {
    /// An attempt with a fresh id, which begins now.
    pub(crate) fn new(
        pool: &Pool,
        subject: Arc<str>,
        own_subject: bool,
        holder: Bytes,
        ttl: Duration,
    ) -> Self {
        let id: Arc<str> = nuid::next().as_str().into();
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_ID, &*id);
        headers.insert(header::NATS_EXPECTED_STREAM, &**pool.stream.name());
        Self {
            id,
            subject,
            own_subject,
            headers,
            holder,
            ttl,
            weight: NonZeroU32::MIN,
            window: pool.board.window(),
            life: pool.board.life(),
            first_send: Instant::now(),
            link: Link::of(pool.stream.connection()),
        }
    }

    /// The same for several slots at once.
    pub(crate) fn weighing(mut self, weight: NonZeroU32) -> Self {
        self.weight = weight;
        self
    }

    /// All subjects of its messages, if they are several.
    pub(crate) fn entries(&self) -> Option<String> {
        (self.weight > NonZeroU32::MIN).then(|| batch::all_entries(&self.subject))
    }

    /// One try.
    pub(crate) async fn send(&self, pool: &Pool) -> Answer {
        let stream = &pool.stream;
        if self.weight > NonZeroU32::MIN {
            return batch::send(self, stream).await;
        }
        let answer = stream.connection().request(
            &self.subject,
            Some(self.headers.clone()),
            self.holder.clone(),
            stream.timeout(),
        );
        read_answer(stream.name(), &self.subject, answer.await)
    }

    /// From then on a further try could be stored as a new message beside the old one, because the server has
    /// forgotten the id and the old one lives on. `None`: the old one is gone by then.
    pub(crate) fn forgotten_at(&self) -> Option<Instant> {
        let certain = self.window.saturating_sub(FORGETFUL.min(self.window / 4));
        // Streams whose messages expire by their age forget an id no sooner than its message.
        let lasting = if self.own_subject { certain } else { self.window };
        (self.ttl > lasting).then(|| self.first_send + certain)
    }

    /// The stream has been made anew since: what was stored is gone, and a repetition would be a new message.
    pub(crate) fn is_of_old_life(&self, pool: &Pool) -> bool {
        self.life != pool.board.life()
    }

    /// Whether a slot that was asked for at that time cannot be used any more.
    fn is_over(&self, sent: Instant) -> bool {
        sent.elapsed() >= self.ttl.mul_f64(0.999)
    }
}

/// Which TCP connection of which client.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    statistics: Arc<Statistics>,
    connects: u64,
}

impl Link {
    pub(crate) fn of(connection: &Connection) -> Self {
        let statistics = connection.client().statistics();
        let connects = statistics.connects.load(std::sync::atomic::Ordering::Acquire);
        Self { statistics, connects }
    }

    /// What was sent before arrives before what is sent now.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.statistics, &other.statistics) && self.connects == other.connects
    }
}

/// A slot that an attempt got.
#[derive(Debug)]
pub(crate) struct Granted {
    /// Of its first message.
    pub(crate) sequence: u64,
    /// From when its time to live counts.
    pub(crate) first_send: Instant,
    pub(crate) attempt: Attempt,
    pub(crate) tries: u32,
}

/// An attempt whose outcome is not known. Dropping it hands it to the reaper.
pub(crate) struct Pending<'a> {
    pool: &'a Arc<Pool>,
    attempt: Option<Attempt>,
}

impl<'a> Pending<'a> {
    pub(crate) fn new(pool: &'a Arc<Pool>, attempt: Attempt) -> Self {
        Self { pool, attempt: Some(attempt) }
    }

    /// Its outcome is known.
    pub(crate) fn settle(&mut self) -> Option<Attempt> {
        self.attempt.take()
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            reaper::resolve_later(self.pool, attempt, Duration::ZERO);
        }
    }
}

/// Campaigns until the server has said what became of it, or `resolve_for` is over. `make` makes the attempt, and
/// another one should the first prove stale.
pub(crate) async fn campaign(
    pool: &Arc<Pool>,
    make: impl Fn() -> Attempt,
) -> Result<Option<Granted>, LeaseError> {
    let give_up = later(Instant::now(), pool.options.resolve_for);
    // Whoever cannot hear the answer must not ask: the slot would be nobody's until it expires.
    pool.stream.prove_hearing(&pool.subject()).await?;
    let mut tries = 0;
    loop {
        let attempt = make();
        let mut pending = Pending::new(pool, attempt.clone());
        match settle(pool, &attempt, &mut pending, give_up, &mut tries).await? {
            Settled::Granted { sequence, first_send } => {
                pending.settle();
                return Ok(Some(Granted { sequence, first_send, attempt, tries }));
            }
            Settled::Full => return Ok(None),
            // The reaper removes what is left of it, under its old id.
            Settled::Stale => {}
            Settled::Moved => drop(pending.settle()),
        }
        if Instant::now() >= give_up {
            let context = format!("stream {} answers later than its leases last", pool.stream.name());
            return Err(LeaseError::new(LeaseErrorKind::Transient, context));
        }
    }
}

enum Settled {
    Granted {
        sequence: u64,
        first_send: Instant,
    },
    Full,
    /// It was granted too long ago to be used.
    Stale,
    /// The stream listens on another subject by now.
    Moved,
}

async fn settle(
    pool: &Arc<Pool>,
    attempt: &Attempt,
    pending: &mut Pending<'_>,
    give_up: Instant,
    tries: &mut u32,
) -> Result<Settled, LeaseError> {
    let mut delays = backoff::resolving();
    let mut unanswered = false;
    loop {
        let sent = if unanswered { Instant::now() } else { attempt.first_send };
        *tries += 1;
        let answer = attempt.send(pool).await;
        match &answer {
            Answer::Full => pool.refusals.refused(pool, &attempt.id),
            Answer::Stored { .. } | Answer::Landed => {}
            Answer::Refused(_) => {
                pool.refusals.trouble(pool);
                pool.refusals.refused(pool, &attempt.id);
            }
            _ => pool.refusals.trouble(pool),
        }
        let error = match answer {
            // This very try was stored, so its time to live counts from here.
            Answer::Stored { duplicate: false, .. } if attempt.is_over(sent) => return Ok(Settled::Stale),
            Answer::Stored { sequence, duplicate: false } => {
                return Ok(Settled::Granted { sequence, first_send: sent });
            }
            Answer::Stored { sequence, duplicate: true } => match judge(pool, attempt, sequence).await {
                Ok(true) => return Ok(Settled::Granted { sequence, first_send: attempt.first_send }),
                Ok(false) => return Ok(Settled::Stale),
                Err(error) => error,
            },
            Answer::Landed => match batch::read_back(attempt, &pool.stream).await {
                Ok(_) if attempt.is_over(attempt.first_send) => return Ok(Settled::Stale),
                Ok(Some(sequence)) => {
                    return Ok(Settled::Granted { sequence, first_send: attempt.first_send });
                }
                Ok(None) => return Ok(Settled::Stale),
                Err(error) if error.is_transient() => error,
                // It is ours, and of no use: the reaper removes it.
                Err(error) => return Err(error),
            },
            Answer::Full => {
                let first = pending.settle();
                if let Some(attempt) = first
                    && unanswered
                    && !attempt.link.is(&Link::of(pool.stream.connection()))
                {
                    // A copy that the old connection carried may still be on its way.
                    reaper::resolve_later(pool, attempt, reaper::LATE_COPIES);
                }
                return Ok(Settled::Full);
            }
            Answer::NobodyListens(error) if !unanswered => {
                pending.settle();
                let info = pool.stream.why_silent(error).await?;
                if pool.learn(&info) {
                    return Ok(Settled::Moved);
                }
                let context = format!("nobody listens on `{}` for now", attempt.subject);
                return Err(LeaseError::new(LeaseErrorKind::Transient, context));
            }
            Answer::NotConnected(error) if !unanswered => {
                pending.settle();
                return Err(crate::error::write(pool.stream.name(), error));
            }
            Answer::Refused(error) if !unanswered => {
                pending.settle();
                return Err(error);
            }
            // The reaper looks again once there is a connection that hears.
            Answer::Unheard(error) => return Err(error),
            Answer::Conflict { .. } if !unanswered => {
                pending.settle();
                return Err(unexpected(attempt));
            }
            Answer::NobodyListens(error) | Answer::NotConnected(error) => {
                crate::error::write(pool.stream.name(), error)
            }
            Answer::Silence(error) => {
                if unanswered {
                    pool.suspect_store().await;
                }
                unanswered = true;
                crate::error::write(pool.stream.name(), error)
            }
            Answer::InProcess => {
                unanswered = true;
                LeaseError::new(LeaseErrorKind::Unknown, "the same attempt is being replicated")
            }
            Answer::Refused(error) => return Err(error),
            Answer::Conflict { .. } => return Err(unexpected(attempt)),
        };
        let pause = delays.next().unwrap_or(backoff::LONGEST);
        let latest = attempt.forgotten_at().map_or(give_up, |forgotten| forgotten.min(give_up));
        if Instant::now() + pause >= latest {
            let context = format!("whether `{}` got a slot is unknown: being resolved", attempt.id);
            return Err(LeaseError::new(LeaseErrorKind::Unknown, context).with_source(error));
        }
        sleep(pause).await;
    }
}

/// Whether the slot that an earlier try got is ours still. An acknowledgement may be older than the slot's end.
async fn judge(pool: &Pool, attempt: &Attempt, sequence: u64) -> Result<bool, LeaseError> {
    if attempt.is_over(attempt.first_send) {
        return Ok(false);
    }
    match pool.stream.get(GetMessage::Sequence { seq: sequence }).await {
        Ok(Some(message)) => Ok(message.header("Nats-Msg-Id") == Some(&*attempt.id)),
        Ok(None) => Ok(false),
        // Without the right to look the deadline has to do.
        Err(error) if error.kind() == LeaseErrorKind::NotPermitted => Ok(true),
        Err(error) => Err(error),
    }
}

fn unexpected(attempt: &Attempt) -> LeaseError {
    LeaseError::new(
        LeaseErrorKind::Misconfigured,
        format!("`{}` was answered as a conditional write, which it is not", attempt.subject),
    )
}
