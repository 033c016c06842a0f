use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use sluicegate_nats::{ApiErrorKind, Connection, RequestErrorKind};
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
    last_answer: Mutex<Option<Instant>>,
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
            last_answer: Mutex::new(None),
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
        let mut last_answer = self.last_answer.lock().await;
        loop {
            if let Some(last) = *last_answer {
                sleep_until(last + APART).await;
            }
            let parked = Instant::now();
            let pull = Pull { batch: 1, max_bytes: 1, expires: self.expires.as_nanos() };
            let answer =
                self.connection.api::<serde_json::Value>(&self.verb, &pull, self.expires + GRACE).await;
            *last_answer = Some(Instant::now());
            // Every answer of the server is a status without a body, which is no JSON.
            let answered = matches!(&answer, Err(error) if error.kind() == ApiErrorKind::Malformed);
            let silent = matches!(
                &answer,
                Err(error) if matches!(
                    error.kind(),
                    ApiErrorKind::Request(RequestErrorKind::NotPermitted | RequestErrorKind::TimedOut)
                )
            );
            self.works.store(!silent, Ordering::Relaxed);
            // An answer at the time of expiry says that nothing came.
            if answered && parked.elapsed() < self.expires.mul_f64(0.95) {
                return;
            }
        }
    }
}
