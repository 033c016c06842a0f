use std::future::Future;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Lease, LeaseError, LeaseErrorKind, LeasePool, LossCause, Random, Request, later};

/// How to wait for a slot.
#[derive(Clone, Debug)]
pub struct Wait {
    max: Option<Duration>,
    poll: Duration,
    patience: Duration,
    cancel: Option<CancellationToken>,
}

impl Wait {
    /// Without end, asking again at the latest every 250 ms (± 25 %), bearing with a pool that cannot be reached
    /// for 15 s.
    pub fn new() -> Self {
        Self { max: None, poll: Duration::from_millis(250), patience: Duration::from_secs(15), cancel: None }
    }

    /// Gives up after that time. Default: never.
    #[must_use]
    pub fn at_most(mut self, max: Duration) -> Self {
        self.max = Some(max);
        self
    }

    /// Longest time between two attempts of the head of the line, when no hint arrives. Default 250 ms.
    #[must_use]
    pub fn poll_interval(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// How long transient errors are retried before they are reported. Default 15 s, which outlasts an election.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Gives up when this token is cancelled.
    #[must_use]
    pub fn cancelled_by(mut self, token: CancellationToken) -> Self {
        self.cancel = Some(token);
        self
    }
}

impl Default for Wait {
    fn default() -> Self {
        Self::new()
    }
}

/// Conveniences over every [`LeasePool`], trait objects included.
pub trait LeasePoolExt: LeasePool {
    /// Waits for a lease, first in, first out among the callers of this handle. `Ok(None)`: the time given by
    /// [`Wait::at_most`] is over and the pool was still full when it last answered.
    ///
    /// # Errors
    /// `Closed` when cancelled through [`Wait::cancelled_by`]; any error of
    /// [`try_acquire`](LeasePool::try_acquire) that is not transient; transient ones after [`Wait::patience`], or when
    /// the time is over and the last answer was one, or there was none.
    ///
    /// # Cancel safety
    /// Safe: a dropped wait leaves the line and leaves no slot behind.
    fn acquire(
        &self,
        request: &Request,
        wait: &Wait,
    ) -> impl Future<Output = Result<Option<Lease>, LeaseError>> + Send {
        async move {
            let last = Last::default();
            let waiting = async {
                let in_line = stand_in_line(self, request, wait, &last);
                match wait.max {
                    Some(max) => match timeout(max, in_line).await {
                        Ok(got) => got.map(Some),
                        Err(_) => last.when_time_is_over(),
                    },
                    None => in_line.await.map(Some),
                }
            };
            match &wait.cancel {
                None => waiting.await,
                Some(token) => tokio::select! {
                    biased;
                    () = token.cancelled() => Err(LeaseError::new(LeaseErrorKind::Closed, "wait cancelled")),
                    got = waiting => got,
                },
            }
        }
    }

    /// Renews the lease in `current` at a third of the time that it lasts, for as long as the future is polled, and
    /// writes each renewed lease back. Completes when the lease is lost, at its deadline at the latest, or when the
    /// pool refuses to renew for good ([`LossCause::RenewalRefused`]).
    ///
    /// The channel always holds the newest lease: take token and deadline from there, and release that one.
    ///
    /// # Cancel safety
    /// Safe: dropping it stops renewing; the lease lasts until its deadline.
    fn keep_renewed(&self, current: &watch::Sender<Lease>) -> impl Future<Output = LossCause> + Send {
        async move {
            let lease = current.borrow().clone();
            tokio::select! {
                biased;
                cause = self.lost(&lease) => cause,
                cause = renew_until_lost(self, current) => cause,
            }
        }
    }
}

impl<P: LeasePool + ?Sized> LeasePoolExt for P {}

/// What the pool said last, for a wait whose time is over: an error must not look like "full".
#[derive(Debug, Default)]
struct Last(Mutex<Answer>);

#[derive(Debug, Default)]
enum Answer {
    #[default]
    None,
    Full,
    Error(LeaseError),
}

impl Last {
    fn set(&self, answer: Answer) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    fn when_time_is_over(self) -> Result<Option<Lease>, LeaseError> {
        match self.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Answer::Full => Ok(None),
            Answer::Error(error) => Err(error),
            Answer::None => Err(LeaseError::new(LeaseErrorKind::Transient, "no answer in the time to wait")),
        }
    }
}

async fn stand_in_line<P: LeasePool + ?Sized>(
    pool: &P,
    request: &Request,
    wait: &Wait,
    last: &Last,
) -> Result<Lease, LeaseError> {
    let line = pool.line();
    if line.is_empty() {
        if let Some(lease) = attempt(pool, request, wait, last).await? {
            return Ok(lease);
        }
    } else {
        // Others wait, so the pool is full.
        last.set(Answer::Full);
    }
    let mut turn = line.turn().await;
    let mut random = Random::of(request.holder());
    loop {
        if !turn.has_spare() {
            let poll = random.jitter(wait.poll, 0.25);
            let freed = timeout(poll, pool.freed()).await.map_or(1, NonZeroU32::get);
            turn.set_spare(freed);
        }
        match attempt(pool, request, wait, last).await? {
            Some(lease) => {
                turn.use_spare();
                return Ok(lease);
            }
            None => turn.set_spare(0),
        }
    }
}

/// One attempt, with transient errors retried for as long as the caller bears with them.
async fn attempt<P: LeasePool + ?Sized>(
    pool: &P,
    request: &Request,
    wait: &Wait,
    last: &Last,
) -> Result<Option<Lease>, LeaseError> {
    let give_up = later(Instant::now(), wait.patience);
    let mut delays = backoff(Duration::from_millis(50)).build();
    loop {
        match pool.try_acquire(request).await {
            Err(error) if error.is_transient() && Instant::now() < give_up => {
                last.set(Answer::Error(error));
                sleep(delays.next().unwrap_or(wait.poll)).await;
            }
            Ok(None) => {
                last.set(Answer::Full);
                return Ok(None);
            }
            other => return other,
        }
    }
}

async fn renew_until_lost<P: LeasePool + ?Sized>(pool: &P, current: &watch::Sender<Lease>) -> LossCause {
    let mut random = Random::of(current.borrow().holder());
    loop {
        let lease = current.borrow().clone();
        sleep(random.jitter(lease.remaining() / 3, 0.1)).await;
        let mut delays = backoff(lease.remaining() / 20).build();
        let renewed = loop {
            if lease.remaining().is_zero() {
                return LossCause::Expired;
            }
            let answer = tokio::select! {
                biased;
                answer = pool.renew(&lease) => answer,
                () = sleep_until(lease.deadline()) => return LossCause::Expired,
            };
            match answer {
                Ok(renewed) => break renewed,
                Err(error) if error.is_lost() => return LossCause::Gone,
                Err(error) if !error.is_transient() && !error.is_unknown() => {
                    tracing::error!(lease = %lease.id(), %error, "the lease cannot be renewed");
                    return LossCause::RenewalRefused;
                }
                Err(error) => {
                    tracing::warn!(lease = %lease.id(), %error, "renewal failed, trying again");
                    let pause = delays.next().unwrap_or(lease.remaining() / 10);
                    sleep(pause.min(lease.remaining())).await;
                }
            }
        };
        current.send_modify(|lease| *lease = renewed);
    }
}

fn backoff(first: Duration) -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(first.max(Duration::from_millis(1)))
        .with_max_delay(Duration::from_secs(2))
        .without_max_times()
}
