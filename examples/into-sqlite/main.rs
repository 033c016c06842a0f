//! Rows through a batcher into SQLite: one writer, many rows a transaction, an outcome for each row.
//!
//! ```console
//! $ cargo run -p sluicegate-examples --bin into-sqlite -- --file rows.db
//! ```
//!
//! SQLite lets one in at a time and commits a transaction as slowly as a disk syncs: one row a transaction is the
//! slowest way to write. So one batch runs at a time, and while it does the next one grows. If somebody else holds the
//! database, SQLite says busy: the batch is answered as `Throttled`, stays at the head of the queue, and comes again in a
//! moment.

#![allow(clippy::print_stdout, reason = "an example prints")]

mod store;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use sluicegate_batcher::{Batcher, BatcherEvent, DeadLetter, OpError, Operation};
use tokio_util::sync::CancellationToken;

use crate::store::{Row, Store, StoreError};

/// One row in so many comes twice.
const DOUBLED: i64 = 100;

/// Rows through a batcher into SQLite
#[derive(Debug, Parser)]
struct Flags {
    /// The database; is made if it is not there
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// How many rows
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(i64).range(1..))]
    rows: i64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    let store = Arc::new(Store::open(&flags.file)?);
    let before = store.count()?;
    // How long somebody else holds the database says nothing about a rate: it is waited for, and that is all.
    let batcher = Batcher::builder().buffer(1_000).adaptive(false).observer(|event: &BatcherEvent| {
        if let BatcherEvent::Throttled { operations, pause, .. } = event {
            println!("busy: {operations} rows wait for {pause:?}");
        }
    });
    let (batcher, engine) = batcher.start(CancellationToken::new())?;
    let duplicates = Arc::new(AtomicU64::new(0));
    let lost = Arc::new(AtomicU64::new(0));
    let buried = (Arc::clone(&duplicates), Arc::clone(&lost));
    let rows = batcher
        .watcher(Arc::clone(&store))
        .name("rows")
        .max_batch_size(500)
        .max_concurrent_batches(1)
        .dead_letter(move |letter: DeadLetter<Row, StoreError>| {
            let failed = if let OpError::Failed(error) = letter.cause() { Some(&**error) } else { None };
            let duplicate = matches!(failed, Some(StoreError::Duplicate(_)));
            let counter = if duplicate { &buried.0 } else { &buried.1 };
            counter.fetch_add(1, Ordering::Relaxed);
        })
        .build()?;

    for id in before..before + flags.rows {
        for _ in 0..if id % DOUBLED == 0 { 2 } else { 1 } {
            rows.enqueue(Operation::new(Row { id, text: format!("row {id}") })).await?;
        }
    }
    let drained = batcher.drain(Duration::from_secs(60)).await;
    engine.await?;
    let (written, duplicates) = (store.count()? - before, duplicates.load(Ordering::Relaxed));
    println!(
        "{written} rows in {} transactions, {duplicates} duplicates refused, drained: {}",
        batcher.stats().batches_started,
        drained.complete
    );
    let lost = lost.load(Ordering::Relaxed);
    if written == flags.rows && lost == 0 { Ok(()) } else { Err(format!("{lost} rows are lost").into()) }
}
