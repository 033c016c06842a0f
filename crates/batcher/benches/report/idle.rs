//! With nothing to do nothing wakes up.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sluicegate_batcher::{Batch, BatchContext, Batcher, Operation, Verdicts, handler_fn};
use sluicegate_testkit::figures::Figures;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{Effort, runtime};

pub(crate) fn measure(effort: Effort, figures: &mut Figures) {
    let time = effort.time(Duration::from_secs(8));
    for (name, operations) in [("idle/empty", 0), ("idle/parked", 10_000)] {
        let woken = runtime().block_on(wake_ups(operations, time));
        figures.alone(name, "wake-ups", "", woken as f64);
    }
}

/// How often the engine is polled while so many operations wait for the only slot.
async fn wake_ups(operations: u32, time: Duration) -> u64 {
    let builder = Batcher::builder().max_concurrent_batches(1).audit_interval(Duration::from_secs(3_600));
    let (batcher, engine) = builder.build().unwrap();
    let polls = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&polls);
    tokio::spawn(async move {
        let mut engine = pin!(engine.run(CancellationToken::new()));
        poll_fn(|cx| {
            counter.fetch_add(1, Ordering::Relaxed);
            engine.as_mut().poll(cx)
        })
        .await
    });
    let handler = handler_fn(|_: &mut Batch<u32>, _: &BatchContext| {
        Box::pin(async {
            pending::<()>().await;
            Verdicts::<(), String>::done()
        })
    });
    let watcher = batcher.watcher(handler).build().unwrap();
    for payload in 0..operations {
        watcher.enqueue(Operation::new(payload)).await.unwrap();
    }
    sleep(Duration::from_millis(500)).await;
    let before = polls.load(Ordering::Relaxed);
    sleep(time).await;
    polls.load(Ordering::Relaxed) - before
}
