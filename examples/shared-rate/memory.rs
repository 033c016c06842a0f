//! Everything in one process: three batchers, and a pool in memory.

use std::error::Error;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sluicegate_batcher::{Batcher, Operation, Share, SharedCapacity, by_value};
use sluicegate_core::{Holder, MemoryPool};
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

const LEASES: u32 = 20;
const UNITS: u64 = 50;

/// Runs the story and prints what each batcher wrote in each second.
pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let pool = MemoryPool::new(NonZeroU32::new(LEASES).ok_or("no leases")?, Duration::from_secs(3));
    let mut written = Vec::new();
    let mut batchers = Vec::new();
    for number in 1..=3 {
        let holder = Holder::try_new(format!("batcher {number}"))?;
        let capacity = SharedCapacity::builder(Arc::new(pool.handle()), holder).factor(UNITS);
        let share = Share::Weighted { weight: NonZeroU32::MIN, of: NonZeroU32::new(3).ok_or("nobody")? };
        // The pool is new: nothing has to run out first.
        let capacity = capacity.share(share).borrow(false).fresh(true).build().await?;
        let (batcher, _engine) = Batcher::builder().capacity(capacity).start(CancellationToken::new())?;
        let count = Arc::new(AtomicU64::new(0));
        written.push(Arc::clone(&count));
        let rows = batcher.watcher(by_value(move |batch: Vec<u64>, _| {
            count.fetch_add(batch.len() as u64, Ordering::Relaxed);
            async { Ok::<(), std::io::Error>(()) }
        }));
        let rows = rows.name("rows").max_batch_size(100).build()?;
        // The second one has less to do than the others.
        let rows_to_write = if number == 2 { 500 } else { 2_000 };
        tokio::spawn(async move {
            for row in 0..rows_to_write {
                if rows.enqueue(Operation::new(row)).await.is_err() {
                    break;
                }
            }
        });
        batchers.push(batcher);
        sleep(Duration::from_millis(5)).await;
    }
    println!("second  first  second  third    sum");
    let mut seconds = interval(Duration::from_secs(1));
    seconds.tick().await;
    let mut before = [0; 3];
    for second in 1..=8 {
        seconds.tick().await;
        let now = [0, 1, 2].map(|n: usize| written[n].load(Ordering::Relaxed));
        let [a, b, c] = [0, 1, 2].map(|n: usize| now[n] - before[n]);
        println!("{second:>6} {a:>6} {b:>7} {c:>6} {:>6}", a + b + c);
        before = now;
    }
    for batcher in batchers {
        let report = batcher.drain(Duration::from_secs(5)).await;
        println!("{} rows written, drained: {}", batcher.stats().outcomes.done, report.complete);
    }
    Ok(())
}
