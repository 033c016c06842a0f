use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use sluicegate_nats::{ApiError, ApiErrorKind, Connection, RequestErrorKind};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// A parked probe is renewed after so long; so late a lost one is noticed.
const EXPIRES: Duration = Duration::from_secs(10);

/// The server's own delay in telling that a probe expired.
const GRACE: Duration = Duration::from_secs(2);

/// Probes are answered no faster than this: an answer that no message stands behind must not become a busy loop.
const APART: Duration = Duration::from_secs(1);

/// A pull that is answered but never served: no message fits into one byte.
///
/// The server answers `409 Message Size Exceeds MaxBytes` as soon as it could deliver something, and delivers
/// nothing: no counter moves, however often it is asked.
#[derive(Debug)]
pub(super) struct Probe {
    connection: Connection,
    verb: String,
    expires: Duration,
    works: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_answer: Option<Instant>,
    /// The server refuses to be asked: it is not asked again.
    denied: bool,
}

enum Answer {
    /// The server said something.
    Status,
    /// It said nothing at all: the probe was lost, or a refusal is not told.
    Silence,
    /// There is no right to ask.
    Denied,
    /// It could not be asked now.
    Failed,
}

#[derive(Serialize)]
struct Pull {
    batch: u32,
    max_bytes: u32,
    /// In nanoseconds.
    expires: u128,
}

impl Probe {
    pub(super) fn new(
        connection: Connection,
        stream: &str,
        consumer: &str,
        max_expires: Option<Duration>,
    ) -> Self {
        Self {
            connection,
            verb: format!("CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            expires: max_expires.map_or(EXPIRES, |max| max.min(EXPIRES)),
            works: AtomicBool::new(true),
            state: Mutex::default(),
        }
    }

    /// Whether the last probe was answered at all.
    pub(super) fn works(&self) -> bool {
        self.works.load(Ordering::Relaxed)
    }

    /// Completes when the server could deliver something.
    ///
    /// # Cancel safety
    /// A dropped probe stays parked until it expires, and takes nothing.
    pub(super) async fn answered(&self) {
        let mut state = self.state.lock().await;
        loop {
            if state.denied {
                return pending().await;
            }
            if let Some(last) = state.last_answer {
                sleep_until(last + APART).await;
            }
            let parked = Instant::now();
            let answer = self.park().await;
            state.last_answer = Some(Instant::now());
            self.works.store(matches!(answer, Answer::Status | Answer::Failed), Ordering::Relaxed);
            match answer {
                // An answer at the time of expiry says that nothing came.
                Answer::Status if parked.elapsed() < self.expires.mul_f64(0.95) => return,
                Answer::Status | Answer::Failed | Answer::Silence => {}
                Answer::Denied => {
                    state.denied = true;
                    tracing::warn!(verb = self.verb, "no right to probe: an idle consumer is polled instead");
                }
            }
        }
    }

    async fn park(&self) -> Answer {
        let pull = Pull { batch: 1, max_bytes: 1, expires: self.expires.as_nanos() };
        let answer = self.connection.api::<serde_json::Value>(&self.verb, &pull, self.expires + GRACE).await;
        match answer.as_ref().map_err(ApiError::kind) {
            // Every answer of the server is a status without a body, which is no JSON.
            Ok(_) | Err(ApiErrorKind::Malformed) => Answer::Status,
            Err(ApiErrorKind::Request(RequestErrorKind::NotPermitted)) => Answer::Denied,
            Err(ApiErrorKind::Request(RequestErrorKind::TimedOut)) => Answer::Silence,
            Err(_) => Answer::Failed,
        }
    }
}
