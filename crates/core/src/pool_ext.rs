use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::wait::Next;
use crate::{Lease, LeaseError, LeaseErrorKind, LeasePool, LossCause, Random, Request, later};

/// How to wait for a slot.
#[derive(Clone, Debug)]
pub struct Wait {
    max: Option<Duration>,
    poll: Duration,
    poll_when_hinted: Duration,
    longest_poll: Option<Duration>,
    patience: Duration,
    cancel: Option<CancellationToken>,
}

impl Wait {
    /// Without end, asking again at the latest every 250 ms (± 25 %), or every 2 s where hints are known to arrive,
    /// and bearing with a pool that cannot be reached for 15 s.
    pub fn new() -> Self {
        Self {
            max: None,
            poll: Duration::from_millis(250),
            poll_when_hinted: Duration::from_secs(2),
            longest_poll: None,
            patience: Duration::from_secs(15),
            cancel: None,
        }
    }

    /// Gives up after that time. Default: never.
    #[must_use]
    pub fn at_most(mut self, max: Duration) -> Self {
        self.max = Some(max);
        self
    }

    /// Longest time between two attempts of the line, when no hint arrives. Default 250 ms.
    #[must_use]
    pub fn poll_interval(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// The same while the pool knows that hints arrive, if that is longer. Default 2 s.
    #[must_use]
    pub fn poll_when_hinted(mut self, poll: Duration) -> Self {
        self.poll_when_hinted = poll;
        self
    }

    /// Lets the poll interval double, from the first wait on, up to `longest`. Default: it stays as it is.
    #[must_use]
    pub fn poll_backoff(mut self, longest: Duration) -> Self {
        self.longest_poll = Some(longest);
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
    /// Safe: a dropped wait leaves the line and leaves no slot behind. One that is kept without being polled holds up
    /// those who stand behind it.
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
                        Err(_) => {
                            let over = last.when_time_is_over();
                            if matches!(over, Ok(None)) {
                                self.waited_in_vain(request);
                            }
                            over
                        }
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
    let mut has_asked = line.is_open();
    if has_asked {
        if let Some(lease) = attempt(pool, request, wait, last, Instant::now()).await? {
            return Ok(lease);
        }
        line.refused();
    } else {
        // Others wait, so the pool is full.
        last.set(Answer::Full);
    }
    let place = line.enter();
    let mut pace = Pace::new(wait, request);
    loop {
        match place.next().await {
            Next::Ask => {
                has_asked = true;
                match attempt(pool, request, wait, last, place.entered()).await? {
                    Some(lease) => {
                        place.granted();
                        return Ok(lease);
                    }
                    None => place.refused(),
                }
            }
            Next::Listen => {
                let look_at = line.look_at(pace.next(line.is_hinted()));
                // One that was only held back asks as soon as it may.
                let held_back = line.held_back_for();
                let only_held_back = !has_asked && !held_back.is_zero();
                let may_ask = only_held_back.then(|| later(Instant::now(), held_back));
                let look_at = may_ask.map_or(look_at, |may_ask| look_at.min(may_ask));
                tokio::select! {
                    biased;
                    () = place.credited() => {}
                    freed = timeout_at(look_at, pool.freed()) => match freed {
                        Ok(slots) => line.tell(slots.get()),
                        Err(_) => line.guess(),
                    },
                }
            }
        }
    }
}

/// How long to listen before somebody asks without a hint.
struct Pace {
    poll: Duration,
    when_hinted: Duration,
    longest: Duration,
    random: Random,
}

impl Pace {
    fn new(wait: &Wait, request: &Request) -> Self {
        Self {
            poll: wait.poll,
            when_hinted: wait.poll_when_hinted,
            longest: wait.longest_poll.unwrap_or(wait.poll),
            random: Random::of(request.holder()),
        }
    }

    fn next(&mut self, hinted: bool) -> Duration {
        let poll = self.poll;
        self.poll = poll.saturating_mul(2).min(self.longest).max(poll);
        let poll = if hinted { poll.max(self.when_hinted) } else { poll };
        self.random.jitter(poll, 0.25)
    }
}

/// One attempt, with transient errors retried for as long as the caller bears with them, who has waited since `since`.
async fn attempt<P: LeasePool + ?Sized>(
    pool: &P,
    request: &Request,
    wait: &Wait,
    last: &Last,
    since: Instant,
) -> Result<Option<Lease>, LeaseError> {
    let mut delays = backoff(Duration::from_millis(50)).build();
    loop {
        let answer = pool.try_acquire(request).await;
        if !matches!(&answer, Err(error) if error.is_transient()) {
            pool.line().answered();
        }
        match answer {
            Err(error) if error.is_transient() => {
                // Those who waited through the outage together do not bear with it one after the other.
                let failing = pool.line().failed().max(since);
                if Instant::now() >= later(failing, wait.patience) {
                    return Err(error);
                }
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
