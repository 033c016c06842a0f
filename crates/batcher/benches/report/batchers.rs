//! Ours and the peer's, with the same buffer and the same batches.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use batch_aint_one::{BatchingPolicy, Limits, Processor};
use sluicegate_batcher::{Batch, BatchContext, Batcher, Operation, Verdicts, Watcher, handler_fn};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// 40 bytes, as an operation of some service may have.
pub(crate) type Payload = [u64; 5];

pub(crate) const BUFFER: usize = 10_000;
pub(crate) const BATCH: usize = 100;

pub(crate) struct Ours {
    pub(crate) watcher: Watcher<Payload, u64, String>,
    handled: Arc<Handled>,
}

/// Counts what the handler got, and tells when everything has come.
#[derive(Default)]
struct Handled {
    count: AtomicUsize,
    wanted: AtomicUsize,
    all: Notify,
}

impl Ours {
    /// In a runtime.
    pub(crate) fn start() -> Self {
        let (batcher, _engine) = Batcher::builder().buffer(BUFFER).start(CancellationToken::new()).unwrap();
        let handled = Arc::new(Handled::default());
        let counter = Arc::clone(&handled);
        let handler = handler_fn(move |batch: &mut Batch<Payload>, _cx: &BatchContext| {
            let handled = Arc::clone(&counter);
            Box::pin(async move {
                let results: Vec<_> = batch.iter().map(|payload| black_box(payload)[0]).collect();
                let count = handled.count.fetch_add(results.len(), Ordering::AcqRel) + results.len();
                if count == handled.wanted.load(Ordering::Acquire) {
                    handled.all.notify_one();
                }
                Verdicts::from(Ok(results))
            })
        });
        let watcher = batcher.watcher(handler).max_batch_size(BATCH).build().unwrap();
        Self { watcher, handled }
    }

    /// As [`floors::enqueue`](crate::floors::enqueue).
    pub(crate) async fn enqueue(&self, producers: usize, operations: usize) {
        let operations = operations / producers * producers;
        self.handled.count.store(0, Ordering::Release);
        self.handled.wanted.store(operations, Ordering::Release);
        let mut tasks = JoinSet::new();
        for _ in 0..producers {
            let watcher = self.watcher.clone();
            tasks.spawn(async move {
                for _ in 0..operations / producers {
                    watcher.enqueue(Operation::new(Payload::default())).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        self.handled.all.notified().await;
    }

    /// As [`floors::call`](crate::floors::call).
    pub(crate) async fn call(&self, callers: usize, operations: usize) {
        self.handled.wanted.store(0, Ordering::Release);
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let watcher = self.watcher.clone();
            tasks.spawn(async move {
                for _ in 0..operations / callers {
                    watcher.call(Operation::new(Payload::default())).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
    }
}

/// `batch-aint-one`, which batches calls that wait for a result.
#[derive(Clone)]
pub(crate) struct Peer(batch_aint_one::Batcher<PeerProcessor>);

#[derive(Clone, Debug)]
struct PeerProcessor;

impl Processor for PeerProcessor {
    type Key = ();
    type Input = Payload;
    type Output = u64;
    type Error = String;
    type Resources = ();

    async fn acquire_resources(&self, _key: ()) -> Result<(), String> {
        Ok(())
    }

    async fn process(
        &self,
        _key: (),
        inputs: impl Iterator<Item = Payload> + Send,
        _resources: (),
    ) -> Result<Vec<u64>, String> {
        Ok(inputs.map(|payload| black_box(payload)[0]).collect())
    }
}

impl Peer {
    /// In a runtime.
    pub(crate) fn start() -> Self {
        let limits = Limits::builder()
            .max_batch_size(BATCH)
            .max_key_concurrency(2)
            .max_key_queued_items(BUFFER)
            .build();
        let batcher = batch_aint_one::Batcher::builder()
            .name("peer")
            .processor(PeerProcessor)
            .limits(limits)
            .batching_policy(BatchingPolicy::Immediate)
            .build();
        Self(batcher)
    }

    pub(crate) async fn call(&self, callers: usize, operations: usize) {
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let batcher = self.0.clone();
            tasks.spawn(async move {
                for _ in 0..operations / callers {
                    batcher.add((), Payload::default()).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
    }
}
