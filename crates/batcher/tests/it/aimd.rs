//! The rate follows a store whose capacity halves and doubles, in virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_batcher::{
    Aimd, Batch, BatchContext, Batcher, Fixed, Rate, Verdict, Verdicts, Watcher, handler_fn,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::lab::{assert_books, op};

/// A store that does so many units a second, and answers "later" beyond that.
#[derive(Debug)]
struct Store {
    capacity: f64,
    tokens: f64,
    last: Instant,
    done: u64,
    throttled: u64,
}

impl Store {
    fn try_do(&mut self, cost: u32) -> bool {
        let now = Instant::now();
        // Half a tenth of a second of bursts.
        let most = self.capacity / 20.0;
        self.tokens = (self.tokens + self.capacity * (now - self.last).as_secs_f64()).min(most);
        self.last = now;
        let does = self.tokens >= f64::from(cost);
        if does {
            self.tokens -= f64::from(cost);
            self.done += u64::from(cost);
        } else {
            self.throttled += 1;
        }
        does
    }
}

fn batcher(store: &Arc<Mutex<Store>>, limit: Option<u64>) -> (Batcher, Watcher<u32, (), ()>) {
    let mut builder = Batcher::builder().max_concurrent_batches(20);
    if let Some(limit) = limit {
        builder = builder.capacity(Fixed::per_second(limit));
    }
    let (batcher, _engine) = builder.start(CancellationToken::new()).unwrap();
    let store = Arc::clone(store);
    let handler = handler_fn(move |batch: &mut Batch<u32>, _: &BatchContext| {
        let store = Arc::clone(&store);
        Box::pin(async move {
            sleep(Duration::from_millis(5)).await;
            let mut store = store.lock().unwrap();
            let word = |at: usize| match store.try_do(batch.cost(at)) {
                true => Verdict::Done(()),
                false => Verdict::Throttled { retry_after: Some(Duration::from_millis(100)), error: () },
            };
            Verdicts::from((0..batch.len()).map(word).collect::<Vec<_>>())
        })
    });
    let users = batcher.watcher(handler).max_batch_size(50).build().unwrap();
    (batcher, users)
}

/// Goodput of what was possible, and the throttled part of what was tried, from 10 s after a step until 30 s after it.
async fn after_step(store: &Arc<Mutex<Store>>, capacity: f64) -> (f64, f64) {
    store.lock().unwrap().capacity = capacity;
    sleep(Duration::from_secs(10)).await;
    let before = {
        let store = store.lock().unwrap();
        (store.done, store.throttled)
    };
    sleep(Duration::from_secs(20)).await;
    let store = store.lock().unwrap();
    let (done, throttled) = ((store.done - before.0) as f64, (store.throttled - before.1) as f64);
    (done / (20.0 * capacity), throttled / (done + throttled))
}

#[tokio::test(start_paused = true)]
async fn aimd_follows_steps() {
    // With nothing but the store itself to learn from it takes somewhat longer.
    for (limit, least) in [(Some(10_000), 0.9), (None, 0.8)] {
        let store = Arc::new(Mutex::new(Store {
            capacity: 2_000.0,
            tokens: 0.0,
            last: Instant::now(),
            done: 0,
            throttled: 0,
        }));
        let (batcher, users) = batcher(&store, limit);
        tokio::spawn(async move { while users.enqueue(op(0)).await.is_ok() {} });
        for capacity in [2_000.0, 1_000.0, 2_000.0, 1_000.0, 500.0, 1_000.0] {
            let (goodput, throttled) = after_step(&store, capacity).await;
            assert!(goodput >= least, "{limit:?} {capacity}: {goodput}");
            assert!(throttled <= 0.02, "{limit:?} {capacity}: {throttled}");
        }
        batcher.drain(Duration::ZERO).await;
        assert_books(&batcher);
    }
}

#[tokio::test(start_paused = true)]
async fn aimd_never_above_grant() {
    let now = Instant::now();
    let mut aimd = Aimd::new(now);
    let limit = Some(Rate::per_second(100));
    for second in 0..200 {
        let now = now + Duration::from_secs(second);
        aimd.acknowledge(now, 100_000, 1);
        if second % 50 == 0 {
            aimd.throttled(now, Duration::ZERO, limit);
        }
        assert!(aimd.rate(now, limit).is_none_or(|rate| rate <= Rate::per_second(100)));
    }
}
