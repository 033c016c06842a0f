//! What happened, and whether the table is as it should be.

use std::error::Error;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sluicegate_batcher::{BatcherEvent, Bucket, DeadLetter, OpError};

use crate::error::StoreError;
use crate::store::{Payment, Store};
use crate::{Flags, SLICE};

const MOST_UNITS: u64 = 3;

/// The largest sum of units within a second, by the database's clock.
const WORST_SECOND: &str = "
    SELECT COALESCE(MAX(units), 0)::bigint FROM (
        SELECT SUM(units) OVER (ORDER BY written_at RANGE BETWEEN CURRENT ROW AND '1 second' FOLLOWING) AS units
        FROM payments WHERE run = $1
    ) AS seconds";

#[derive(Debug, Default)]
pub(crate) struct Report(Mutex<Seen>);

#[derive(Clone, Debug, Default)]
struct Seen {
    batches: u64,
    throttled: u64,
    retried: u64,
    slowest: Duration,
    duplicates: u64,
    refused: u64,
    /// Other dead letters: there should be none.
    lost: Vec<String>,
}

impl Report {
    pub(crate) fn note(&self, event: &BatcherEvent) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            BatcherEvent::BatchEnded { elapsed, throttled, retried, .. } => {
                seen.batches += 1;
                seen.throttled += *throttled as u64;
                seen.retried += *retried as u64;
                seen.slowest = seen.slowest.max(*elapsed);
            }
            BatcherEvent::HandlerTimedOut { .. } => eprintln!("a statement takes too long"),
            BatcherEvent::Throttled { operations, pause, .. } => {
                eprintln!("{operations} payments throttled, nothing is sent for {pause:?}");
            }
            _ => {}
        }
    }

    pub(crate) fn bury(&self, letter: &DeadLetter<Payment, StoreError>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match letter.cause() {
            OpError::Failed(error) => match **error {
                StoreError::Duplicate(_) => seen.duplicates += 1,
                StoreError::Refused(..) => seen.refused += 1,
                _ => seen.lost.push(error.to_string()),
            },
            cause => seen.lost.push(format!("{cause:?} after {} attempts", letter.attempts())),
        }
    }

    /// Prints one line for each thing that was promised.
    pub(crate) async fn check(
        &self,
        store: &Store,
        flags: &Flags,
        doubled: u64,
    ) -> Result<(), Box<dyn Error>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let run = store.run;
        let (rows, worst) = store
            .with_client(async |client| {
                let rows = client.query_one("SELECT count(*) FROM payments WHERE run = $1", &[&run]).await?;
                let worst = client.query_one(WORST_SECOND, &[&run]).await?;
                Ok((rows.get::<_, i64>(0), worst.get::<_, i64>(0)))
            })
            .await?;
        // R·(w + l + j) + max(b, c): what is written within w was let go within w and the longest way.
        let window = Duration::from_secs(1) + seen.slowest + Bucket::SLACK;
        let burst = (flags.rate as f64 * SLICE.as_secs_f64()).max(MOST_UNITS as f64);
        let allowed = (flags.rate as f64 * window.as_secs_f64() + burst) as i64;

        println!(
            "{} statements, {} payments throttled, {} tried again, {} of them found as written, slowest statement {:.1} ms",
            seen.batches,
            seen.throttled,
            seen.retried,
            store.found.load(Ordering::Relaxed),
            seen.slowest.as_secs_f64() * 1e3
        );
        let duplicates = (i64::try_from(seen.duplicates)?, i64::try_from(doubled)?);
        let checks = [
            ("payments in the table", rows, flags.payments, rows == flags.payments),
            ("duplicates refused", duplicates.0, duplicates.1, duplicates.0 == duplicates.1),
            ("payments refused by the table", i64::try_from(seen.refused)?, 1, seen.refused == 1),
            ("lost", i64::try_from(seen.lost.len())?, 0, seen.lost.is_empty()),
            ("units in the largest second", worst, allowed, worst <= allowed),
        ];
        for (what, seen, expected, ok) in checks {
            println!("{what}: {seen} of {expected}{}", if ok { "" } else { "   WRONG" });
        }
        seen.lost.iter().take(5).for_each(|lost| println!("lost: {lost}"));
        if checks.iter().all(|(.., ok)| *ok) {
            Ok(())
        } else {
            Err("the table is not as it should be".into())
        }
    }
}
