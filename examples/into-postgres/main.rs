//! Payments through a batcher into PostgreSQL: many rows a statement, an outcome for each row, within a rate, and every
//! payment exactly once whatever happens to the server.
//!
//! ```console
//! $ cargo xtask up --postgres                                   # in another terminal; prints a DATABASE_URL
//! $ cargo run -p sluicegate-examples --bin into-postgres -- --url postgres://…
//! ```
//!
//! Restart the server while it runs, or take all its connections: what has to wait waits, and the table is right in the
//! end. What it shows:
//!
//! - **Outcomes for each row.** A payment that is there already, or that the table refuses, fails alone; the others of
//!   its statement are written (`store.rs`).
//! - **Too much to do** (53300, too many connections; 40001 and 40P01, serialization and deadlocks) is answered as
//!   `Throttled`: nothing took effect, the attempt does not count, and nothing is sent for a moment. The rate does not
//!   adapt here: connections and locks that run out say nothing about units per second.
//! - **Unknown outcomes.** When the connection is lost, nobody knows whether the statement was committed. Each payment
//!   carries the number of its operation into the table, so it can be tried again: what is found under its own number
//!   was written by the lost attempt, what is found under another one is a duplicate.
//! - **The rate, measured where it counts**: in the table, by the database's clock.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example prints")]

mod error;
mod report;
mod session;
mod store;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use sluicegate_batcher::{Batcher, DeadLetter, Fixed, Operation, Retry};
use tokio_util::sync::CancellationToken;

use crate::error::StoreError;
use crate::report::Report;
use crate::store::{Payment, Store};

/// A larger slice makes larger statements: at 2,000 units a second some 50 payments.
pub(crate) const SLICE: Duration = Duration::from_millis(50);
/// One payment in so many comes twice.
const DOUBLED: i64 = 500;

/// Payments through a batcher into PostgreSQL
#[derive(Debug, Parser)]
struct Flags {
    /// The database
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    url: String,
    /// How many payments
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(i64).range(1..))]
    payments: i64,
    /// What may be spent, in units per second; a payment costs 1, 2 or 3
    #[arg(long, value_name = "UNITS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(3..))]
    rate: u64,
    /// How many connections, and statements at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=50))]
    connections: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    let store = Arc::new(Store::open(&flags.url).await.map_err(|error| {
        format!("cannot open the database: {error}\n`cargo xtask up --postgres` starts one to play with")
    })?);
    let report = Arc::new(Report::default());

    let batcher = Batcher::builder().capacity(Fixed::per_second(flags.rate)).slice(SLICE).adaptive(false);
    let seen = Arc::clone(&report);
    let batcher = batcher.observer(move |event: &_| seen.note(event));
    let (batcher, engine) = batcher.start(CancellationToken::new())?;

    // A statement may be sent again whatever became of it: see `store.rs`.
    let retry = Retry::exponential().first_delay(Duration::from_millis(50));
    let retry = retry.longest_delay(Duration::from_secs(1)).max_attempts(60).retry_unknown(true);
    let buried = Arc::clone(&report);
    let payments = batcher
        .watcher(Arc::clone(&store))
        .name("payments")
        .max_batch_size(500)
        .max_concurrent_batches(flags.connections as usize)
        .max_operation_time(Duration::from_secs(10))
        .retry(retry.when(|error: &StoreError, _attempts| error.may_pass()))
        .dead_letter(move |letter: DeadLetter<Payment, StoreError>| buried.bury(&letter))
        .build()?;

    // Somebody who waits for one payment …
    let mut operations = 0..;
    let mut next = |id: i64| Payment::new(operations.next().unwrap_or_default(), store.first_id + id);
    let first = next(0);
    println!("the first payment is {:?}", payments.call(Operation::new(first).cost(first.units())).await?);
    // … and those of whom only what goes wrong is of interest. Some come twice, as messages do.
    for id in 1..flags.payments {
        for _ in 0..if id % DOUBLED == 0 { 2 } else { 1 } {
            let payment = next(id);
            payments.enqueue(Operation::new(payment).cost(payment.units())).await?;
        }
    }
    let mut refused = next(flags.payments);
    refused.cents = -1;
    payments.enqueue(Operation::new(refused).cost(refused.units())).await?;

    let drained = batcher.drain(Duration::from_secs(120)).await;
    engine.await?;
    if !drained.complete {
        return Err(format!("not everything was done: {drained:?}").into());
    }
    let doubled = u64::try_from((flags.payments - 1) / DOUBLED)?;
    report.check(&store, &flags, doubled).await
}
