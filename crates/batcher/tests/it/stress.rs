//! Several threads, on the real clock: nothing is lost, nobody sleeps through a wake-up.

use std::time::Duration;

use sluicegate_batcher::{Batcher, Flush};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::lab::{Store, assert_books, op};

const PRODUCERS: u32 = 16;
const EACH: u32 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_producers_on_many_threads() {
    for (buffer, slots, size, flush) in [
        (7, 1, 3, Flush::Adaptive),
        (1_000, 4, 100, Flush::Adaptive),
        (50, 2, 10, Flush::Linger),
        (10_000, 64, 1, Flush::Immediate),
    ] {
        let store = Store::fast();
        let (batcher, engine) = Batcher::builder()
            .buffer(buffer)
            .max_concurrent_batches(slots)
            .start(CancellationToken::new())
            .unwrap();
        let users = batcher.watcher(store.handler()).max_batch_size(size).flush(flush).build().unwrap();
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let users = users.clone();
                tokio::spawn(async move {
                    for payload in 0..EACH {
                        match (payload + producer) % 50 {
                            0 => assert_eq!(users.call(op(payload)).await.unwrap(), payload),
                            1 => drop(users.submit(op(payload)).await.unwrap()),
                            2 => users.submit(op(payload)).await.unwrap().detach(),
                            _ => users.enqueue(op(payload)).await.unwrap(),
                        }
                    }
                })
            })
            .collect();
        for producer in producers {
            timeout(Duration::from_secs(60), producer).await.expect("stuck").unwrap();
        }
        let report =
            timeout(Duration::from_secs(60), batcher.drain(Duration::from_secs(30))).await.expect("stuck");
        assert!(report.complete, "{report:?}");
        engine.await.unwrap();
        let stats = batcher.stats();
        assert_eq!(stats.accepted, u64::from(PRODUCERS * EACH));
        assert_eq!(stats.outcomes.done + stats.outcomes.cancelled, stats.accepted, "{stats:?}");
        let sent: usize = store.payloads().iter().map(Vec::len).sum();
        assert_eq!(sent as u64, stats.outcomes.done);
        assert_books(&batcher);
    }
}

/// Nobody but the engine could wake them: one wake-up lost, and all of them wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_few_callers_that_wait_for_each_result() {
    let (batcher, _engine) = Batcher::builder().start(CancellationToken::new()).unwrap();
    let store = Store::fast();
    let users = batcher.watcher(store.handler()).build().unwrap();
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let users = users.clone();
            tokio::spawn(async move {
                for payload in 0..5_000 {
                    assert_eq!(users.call(op(payload)).await.unwrap(), payload);
                }
            })
        })
        .collect();
    for caller in callers {
        timeout(Duration::from_secs(60), caller).await.expect("stuck").unwrap();
    }
    assert_books(&batcher);
}
