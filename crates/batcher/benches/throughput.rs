//! Operations through the batcher, against channels alone in the same run.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use sluicegate_batcher::{Batch, BatchContext, Batcher, Operation, Verdicts, Watcher, handler_fn};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// 40 bytes, as an operation of some service may have.
type Payload = [u64; 5];

const OPERATIONS: usize = 1 << 17;
const BUFFER: usize = 10_000;
const BATCH: usize = 100;
const CALLERS: usize = 1_024;
const ROUNDS: usize = 4;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(OPERATIONS as u64));
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500));
    group
}

/// Counts what the handler got, and tells when it is a multiple of [`OPERATIONS`].
#[derive(Default)]
struct Meter {
    count: AtomicUsize,
    full: Notify,
}

impl Meter {
    fn add(&self, operations: usize) {
        let count = self.count.fetch_add(operations, Ordering::Relaxed) + operations;
        if count == OPERATIONS {
            self.count.store(0, Ordering::Relaxed);
            self.full.notify_one();
        }
    }
}

async fn enqueue_floor() {
    let (sender, mut receiver) = mpsc::channel::<(Payload, u32)>(BUFFER);
    let consumer = tokio::spawn(async move {
        let (mut batch, mut cost) = (Vec::with_capacity(BATCH), 0_u64);
        while receiver.recv_many(&mut batch, BATCH).await > 0 {
            cost +=
                batch.drain(..).map(|(payload, cost)| u64::from(cost) + black_box(payload)[0]).sum::<u64>();
        }
        cost
    });
    let producer = tokio::spawn(async move {
        for _ in 0..OPERATIONS {
            sender.send((Payload::default(), 1)).await.unwrap();
        }
    });
    producer.await.unwrap();
    assert_eq!(consumer.await.unwrap(), OPERATIONS as u64);
}

fn counting(batcher: &Batcher, meter: &Arc<Meter>) -> Watcher<Payload, (), String> {
    let meter = Arc::clone(meter);
    let handler = handler_fn(move |batch: &mut Batch<Payload>, cx: &BatchContext| {
        let meter = Arc::clone(&meter);
        let cost = cx.cost() as usize;
        Box::pin(async move {
            black_box(batch.iter().map(|payload| payload[0]).sum::<u64>());
            meter.add(cost);
            Verdicts::done()
        })
    });
    batcher.watcher(handler).max_batch_size(BATCH).build().unwrap()
}

async fn enqueue_ours(watcher: &Watcher<Payload, (), String>, meter: &Meter) {
    let watcher = watcher.clone();
    let producer = tokio::spawn(async move {
        for _ in 0..OPERATIONS {
            watcher.enqueue(Operation::new(Payload::default())).await.unwrap();
        }
    });
    producer.await.unwrap();
    meter.full.notified().await;
}

async fn call_floor() {
    let (sender, mut receiver) = mpsc::channel::<(Payload, oneshot::Sender<u64>)>(BUFFER);
    let server = tokio::spawn(async move {
        let mut batch = Vec::with_capacity(BATCH);
        while receiver.recv_many(&mut batch, BATCH).await > 0 {
            for (payload, reply) in batch.drain(..) {
                let _ = reply.send(black_box(payload)[0]);
            }
        }
    });
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let sender = sender.clone();
        callers.spawn(async move {
            for _ in 0..OPERATIONS / CALLERS {
                let (reply, answer) = oneshot::channel();
                sender.send((Payload::default(), reply)).await.unwrap();
                answer.await.unwrap();
            }
        });
    }
    drop(sender);
    callers.join_all().await;
    server.await.unwrap();
}

async fn call_ours(watcher: &Watcher<Payload, (), String>) {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let watcher = watcher.clone();
        callers.spawn(async move {
            for _ in 0..OPERATIONS / CALLERS {
                watcher.call(Operation::new(Payload::default())).await.unwrap();
            }
        });
    }
    callers.join_all().await;
}

fn throughput(c: &mut Criterion) {
    let runtime = runtime();
    let meter = Arc::new(Meter::default());
    let watcher = runtime.block_on(async {
        let (batcher, _engine) = Batcher::builder().buffer(BUFFER).start(CancellationToken::new()).unwrap();
        counting(&batcher, &meter)
    });
    let mut enqueue = group(c, "batcher/enqueue");
    for round in 0..ROUNDS {
        enqueue.bench_function(format!("floor/{round}"), |b| b.to_async(&runtime).iter(enqueue_floor));
        enqueue.bench_function(format!("ours/{round}"), |b| {
            b.to_async(&runtime).iter(|| enqueue_ours(&watcher, &meter));
        });
    }
    enqueue.finish();
    let mut call = group(c, "batcher/call");
    for round in 0..ROUNDS {
        call.bench_function(format!("floor/{round}"), |b| b.to_async(&runtime).iter(call_floor));
        call.bench_function(format!("ours/{round}"), |b| b.to_async(&runtime).iter(|| call_ours(&watcher)));
    }
    call.finish();
}

criterion_group!(benches, throughput);
criterion_main!(benches);
