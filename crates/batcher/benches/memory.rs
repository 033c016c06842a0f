//! Memory and allocations, counted by the allocator: no figure here is a time.
#![allow(missing_docs, clippy::unwrap_used)]

use std::alloc::System;

use sluicegate_batcher::{Batch, BatchContext, Batcher, Operation, Verdicts, Watcher, handler_fn};
use sluicegate_testkit::figures::Figures;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

type Payload = [u64; 5];

const OPERATIONS: usize = 100_000;

fn watcher(batcher: &Batcher) -> Watcher<Payload, (), String> {
    let handler = handler_fn(|_: &mut Batch<Payload>, _: &BatchContext| Box::pin(async { Verdicts::done() }));
    batcher.watcher(handler).max_batch_size(100).build().unwrap()
}

fn main() {
    let mut figures = Figures::begin(env!("CARGO_TARGET_TMPDIR"), "batcher-memory");
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    if filter.is_some_and(|filter| !"memory/buffered result/allocations".contains(&filter)) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(&mut figures));
    figures.save().unwrap();
}

async fn measure(figures: &mut Figures) {
    let (batcher, engine) = Batcher::builder().buffer(OPERATIONS).build().unwrap();
    let users = watcher(&batcher);
    let region = Region::new(ALLOCATOR);
    for _ in 0..OPERATIONS {
        users.try_enqueue(Operation::new(Payload::default())).unwrap();
    }
    let change = region.change();
    let held = (change.bytes_allocated - change.bytes_deallocated) as f64 / OPERATIONS as f64;
    let own = size_of::<Operation<Payload>>() as f64;
    figures
        .alone("memory/buffered", "bytes beyond the operation", "", held - own)
        .note(format!("an operation with a payload of {} has {own}", size_of::<Payload>()));

    tokio::spawn(engine.run(CancellationToken::new()));
    while batcher.stats().outcomes.done < OPERATIONS as u64 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let region = Region::new(ALLOCATOR);
    for _ in 0..OPERATIONS {
        users.enqueue(Operation::new(Payload::default())).await.unwrap();
    }
    while batcher.stats().outcomes.done < 2 * OPERATIONS as u64 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let change = region.change();
    let each = (change.allocations + change.reallocations) as f64 / OPERATIONS as f64;
    figures
        .alone("memory/buffered", "allocations", "per operation", each)
        .note(format!("in {} batches", batcher.stats().batches_started));

    let mut callers = tokio::task::JoinSet::new();
    let before = batcher.stats();
    let region = Region::new(ALLOCATOR);
    for _ in 0..64 {
        let users = users.clone();
        callers.spawn(async move {
            for _ in 0..OPERATIONS / 64 {
                users.call(Operation::new(Payload::default())).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let change = region.change();
    let calls = (batcher.stats().accepted - before.accepted) as f64;
    figures
        .alone(
            "result/allocations",
            "64 callers",
            "per call",
            (change.allocations + change.reallocations) as f64 / calls,
        )
        .note(format!("in {} batches", batcher.stats().batches_started - before.batches_started));
}
