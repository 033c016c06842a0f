//! In which order operations are tried again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_batcher::{Batch, BatchContext, Batcher, Operation, Retry, Verdict, Verdicts, handler_fn};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lab::{assert_books, op};

type Log = Arc<Mutex<Vec<(Instant, Vec<u32>)>>>;

#[tokio::test(start_paused = true)]
async fn what_fails_together_is_tried_again_together() {
    let (batcher, _engine) = Batcher::builder().start(CancellationToken::new()).unwrap();
    let log: Log = Arc::default();
    let seen = Arc::clone(&log);
    let users = batcher
        .watcher::<u32, (), &str>(handler_fn(move |batch: &mut Batch<u32>, _cx: &BatchContext| {
            let mut seen = seen.lock().unwrap();
            seen.push((Instant::now(), batch.iter().copied().collect()));
            let failed = batch.attempts(0) < 3;
            Box::pin(async move { if failed { Verdicts::failed("down") } else { Verdicts::done() } })
        }))
        .flush(sluicegate_batcher::Flush::Linger)
        .retry(Retry::exponential().when(|_, _| true))
        .build()
        .unwrap();
    for payload in 0..50 {
        users.enqueue(op(payload)).await.unwrap();
    }
    let report = batcher.drain(Duration::from_secs(60)).await;
    assert_eq!((report.complete, report.outcomes.done), (true, 50));
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 3, "one batch, three times: {log:?}");
    assert!(log.iter().all(|(_, payloads)| payloads.iter().copied().eq(0..50)), "{log:?}");
    assert_eq!(batcher.stats().retried, 100);
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn in_order_nothing_overtakes_what_has_failed() {
    let (batcher, _engine) = Batcher::builder().start(CancellationToken::new()).unwrap();
    let done: Arc<Mutex<Vec<u32>>> = Arc::default();
    let tries: Arc<Mutex<HashMap<u32, u32>>> = Arc::default();
    let begun = Instant::now();
    let users = batcher
        .watcher::<u32, (), &str>(handler_fn({
            let (done, tries) = (Arc::clone(&done), Arc::clone(&tries));
            move |batch: &mut Batch<u32>, _cx: &BatchContext| {
                let (mut done, mut tries) = (done.lock().unwrap(), tries.lock().unwrap());
                let mut stuck = false;
                let mut verdicts = Vec::new();
                for at in 0..batch.len() {
                    let payload = *batch.get(at).unwrap();
                    if stuck {
                        verdicts.push(Verdict::Skipped);
                        continue;
                    }
                    let tried = tries.entry(payload).or_default();
                    *tried += 1;
                    assert_eq!(batch.attempts(at), *tried, "what was skipped is no attempt");
                    stuck = payload % 7 == 3 && *tried < 3;
                    verdicts.push(if stuck {
                        Verdict::Failed("not yet")
                    } else {
                        done.push(payload);
                        Verdict::Done(())
                    });
                }
                Box::pin(async move { Verdicts::from(verdicts) })
            }
        }))
        .max_batch_size(10)
        .max_concurrent_batches(1)
        .max_attempts(3)
        .retry(Retry::exponential().in_order(true).jitter(0.0).when(|_, _| true))
        .build()
        .unwrap();
    for payload in 0..100 {
        users.enqueue(Operation::new(payload)).await.unwrap();
    }
    let report = batcher.drain(Duration::from_secs(600)).await;
    assert_eq!((report.complete, report.outcomes.done), (true, 100), "{report:?}");
    assert!(done.lock().unwrap().iter().copied().eq(0..100), "{:?}", done.lock().unwrap());
    // 14 of them waited 100 ms and then 200 ms, one after the other.
    assert!(begun.elapsed() >= Duration::from_millis(14 * 300), "{:?}", begun.elapsed());
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn in_order_the_last_attempt_lets_the_others_go_on() {
    let (batcher, _engine) = Batcher::builder().start(CancellationToken::new()).unwrap();
    let letters: Arc<Mutex<Vec<u32>>> = Arc::default();
    let users = batcher
        .watcher::<u32, (), &str>(handler_fn(|batch: &mut Batch<u32>, _cx: &BatchContext| {
            let stuck = batch.iter().position(|payload| *payload == 1);
            let verdicts = (0..batch.len()).map(|at| match stuck {
                Some(bad) if at == bad => Verdict::Failed("never"),
                Some(bad) if at > bad => Verdict::Skipped,
                _ => Verdict::Done(()),
            });
            let verdicts: Vec<_> = verdicts.collect();
            Box::pin(async move { Verdicts::from(verdicts) })
        }))
        .max_concurrent_batches(1)
        .max_attempts(4)
        .retry(Retry::exponential().in_order(true).when(|_, _| true))
        .dead_letter({
            let letters = Arc::clone(&letters);
            move |letter: sluicegate_batcher::DeadLetter<u32, &str>| {
                assert_eq!(letter.attempts(), 4);
                letters.lock().unwrap().extend(letter.into_payload());
            }
        })
        .build()
        .unwrap();
    for payload in 0..5 {
        users.enqueue(Operation::new(payload)).await.unwrap();
    }
    let report = batcher.drain(Duration::from_secs(60)).await;
    assert_eq!((report.complete, report.outcomes.done, report.outcomes.failed), (true, 4, 1));
    assert_eq!(*letters.lock().unwrap(), [1]);
    assert_books(&batcher);
}
