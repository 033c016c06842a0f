//! A million operations under panics, failures, retries, timeouts, dropped tickets and a drain: each has one outcome.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sluicegate_batcher::{
    Batch, BatchContext, Batcher, DeadLetter, Operation, Retry, Verdict, Verdicts, handler_fn,
};
use sluicegate_testkit::figures::Figures;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Effort, runtime};

const PRODUCERS: u32 = 16;

pub(crate) fn measure(effort: Effort, figures: &mut Figures) {
    // The panics are part of it.
    std::panic::set_hook(Box::new(|_| {}));
    let start = Instant::now();
    let operations = u32::try_from(effort.part(1_000_000)).unwrap() / PRODUCERS * PRODUCERS;
    let (unaccounted, note) = runtime().block_on(storm(operations));
    let _ = std::panic::take_hook();
    figures
        .alone("drain/million", "without exactly one outcome", "operations", unaccounted as f64)
        .note(format!("of {operations}, in {:.1} s: {note}", start.elapsed().as_secs_f64()));
}

#[derive(Default)]
struct Heard {
    ended: AtomicU64,
    twice: AtomicU64,
    lost: AtomicU64,
    dead: AtomicU64,
}

async fn storm(operations: u32) -> (u64, String) {
    let (batcher, _engine) = Batcher::builder()
        .max_concurrent_batches(8)
        .max_operation_time(Duration::from_millis(50))
        .start(CancellationToken::new())
        .unwrap();
    let handler = handler_fn(|batch: &mut Batch<u32>, cx: &BatchContext| {
        let fate = cx.id().0 % 100;
        assert!(fate != 13, "thirteen");
        Box::pin(async move {
            if fate == 14 {
                pending::<()>().await;
            }
            let word = |payload: &u32| match payload % 10 {
                7 => Verdict::Failed("no"),
                8 => Verdict::Failed("again"),
                _ => Verdict::Done(*payload),
            };
            Verdicts::from(batch.iter().map(word).collect::<Vec<_>>())
        })
    });
    let heard = Arc::new(Heard::default());
    let dead = Arc::clone(&heard);
    let retry = Retry::exponential().first_delay(Duration::from_millis(5)).max_attempts(3);
    let watcher = batcher
        .watcher(handler)
        .max_batch_size(100)
        .retry(retry.when(|error: &&str, _| *error == "again"))
        .dead_letter(move |_letter: DeadLetter<u32, &'static str>| {
            dead.dead.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let mut producers = JoinSet::new();
    for producer in 0..PRODUCERS {
        let (watcher, heard) = (watcher.clone(), Arc::clone(&heard));
        producers.spawn(async move {
            let mut tickets = JoinSet::new();
            for n in 0..operations / PRODUCERS {
                let payload = n * PRODUCERS + producer;
                let operation = Operation::new(payload);
                match n % 4 {
                    0 => watcher.enqueue(operation).await.unwrap(),
                    1 => drop(watcher.submit(operation).await.unwrap()),
                    2 => watcher.submit(operation).await.unwrap().detach(),
                    _ => {
                        let (ticket, heard) = (watcher.submit(operation).await.unwrap(), Arc::clone(&heard));
                        tickets.spawn(async move {
                            let result = ticket.await;
                            heard.ended.fetch_add(1, Ordering::Relaxed);
                            if result.is_ok_and(|answer| answer != payload) {
                                heard.twice.fetch_add(1, Ordering::Relaxed);
                            }
                        });
                    }
                }
                while tickets.try_join_next().is_some() {}
            }
            tickets
        });
    }
    let mut waiting = Vec::new();
    while let Some(tickets) = producers.join_next().await {
        waiting.push(tickets.unwrap());
    }
    let report = batcher.drain(Duration::from_secs(120)).await;
    for tickets in waiting {
        tickets.join_all().await;
    }
    let stats = batcher.stats();
    let expected = u64::from(operations / 4);
    heard.lost.fetch_add(expected.abs_diff(heard.ended.load(Ordering::Relaxed)), Ordering::Relaxed);
    let unaccounted = stats.accepted.abs_diff(u64::from(operations))
        + stats.accepted.abs_diff(stats.outcomes.total())
        + heard.lost.load(Ordering::Relaxed)
        + heard.twice.load(Ordering::Relaxed);
    let outcomes = stats.outcomes;
    let note = format!(
        "{} done, {} failed, {} timed out, {} panicked, {} cancelled, {} dead letters, {} retries; drained: {}",
        outcomes.done,
        outcomes.failed,
        outcomes.timed_out,
        outcomes.panicked,
        outcomes.cancelled,
        heard.dead.load(Ordering::Relaxed),
        stats.retried,
        report.complete,
    );
    (unaccounted, note)
}
