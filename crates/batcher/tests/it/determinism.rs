//! A run in memory repeats exactly.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_batcher::{Batcher, Share, SharedCapacity};
use sluicegate_core::{Holder, LeasePool, LeasePoolAdmin, MemoryPool, Random};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::lab::{Diary, Store, op, watcher};

async fn run(seed: u64) -> Vec<String> {
    let begin = Instant::now();
    let pool = MemoryPool::new(NonZeroU32::new(7).unwrap(), Duration::from_secs(3));
    let share = Share::Weighted { weight: NonZeroU32::MIN, of: NonZeroU32::new(2).unwrap() };
    let store = Store::fast();
    let mut log = Vec::new();
    let mut writers = Vec::new();
    for name in ["one", "two", "three"] {
        let capacity = SharedCapacity::builder(Arc::new(pool.handle()), Holder::try_new(name).unwrap())
            .factor(50)
            .share(share)
            .fresh(true)
            .build()
            .await
            .unwrap();
        let diary = Diary::default();
        let (batcher, _engine) = Batcher::builder()
            .capacity(capacity)
            .observer(diary.observer())
            .start(CancellationToken::new())
            .unwrap();
        let users = watcher(&batcher, &store);
        let mut random = Random::seeded(seed ^ name.len() as u64);
        tokio::spawn(async move {
            while users.enqueue(op(random.below(1_000) as u32).cost(random.below(9) as u32)).await.is_ok() {
                sleep(Duration::from_micros(random.below(60_000))).await;
            }
        });
        writers.push((batcher, diary));
    }
    sleep(Duration::from_secs(8)).await;
    let first = pool.held().await.unwrap().first().unwrap().id;
    pool.evict(first).await.unwrap();
    sleep(Duration::from_secs(8)).await;
    for (batcher, diary) in writers {
        batcher.drain(Duration::from_secs(1)).await;
        log.push(format!("{:?}", batcher.stats()));
        log.extend(diary.lines());
    }
    log.extend(store.sent().into_iter().map(|sent| format!("{:?} {:?}", sent.at - begin, sent.payloads)));
    log
}

#[test]
fn same_seed_same_events() {
    let run = |seed| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(seed))
    };
    let first = run(7);
    assert!(first.len() > 500, "{}", first.len());
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
}
