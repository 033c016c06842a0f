//! A datastore that writes down what reaches it, and a few ways to look at that.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_batcher::{
    Batch, BatchContext, Batcher, BatcherEvent, Bucket, FlushReason, Handler, Operation, Verdicts, Watcher,
    handler_fn,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

pub(crate) type TestWatcher = Watcher<u32, u32, String>;

/// One batch as it reached the datastore.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) watcher: String,
    pub(crate) payloads: Vec<u32>,
    pub(crate) cost: u64,
    pub(crate) reason: FlushReason,
}

#[derive(Clone, Debug)]
pub(crate) struct Store {
    log: Arc<Mutex<Vec<Sent>>>,
    /// Each batch needs one of these to end.
    permits: Arc<Semaphore>,
}

impl Store {
    /// Ends each batch at once.
    pub(crate) fn fast() -> Self {
        Self { log: Arc::default(), permits: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) }
    }

    /// Ends no batch until it is let through.
    pub(crate) fn held_up() -> Self {
        Self { log: Arc::default(), permits: Arc::new(Semaphore::new(0)) }
    }

    pub(crate) fn let_through(&self, batches: usize) {
        self.permits.add_permits(batches);
    }

    /// Answers each operation with its own payload.
    pub(crate) fn handler(&self) -> impl Handler<u32, u32, String> + use<> {
        let store = self.clone();
        handler_fn(move |batch: &mut Batch<u32>, cx: &BatchContext| {
            let store = store.clone();
            store.log.lock().unwrap().push(Sent {
                at: Instant::now(),
                watcher: cx.watcher().to_owned(),
                payloads: batch.iter().copied().collect(),
                cost: cx.cost(),
                reason: cx.reason(),
            });
            Box::pin(async move {
                store.permits.acquire().await.unwrap().forget();
                Verdicts::from(Ok(batch.iter().copied().collect::<Vec<_>>()))
            })
        })
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn payloads(&self) -> Vec<Vec<u32>> {
        self.sent().into_iter().map(|sent| sent.payloads).collect()
    }

    pub(crate) fn total_cost(&self) -> u64 {
        self.sent().iter().map(|sent| sent.cost).sum()
    }
}

pub(crate) fn watcher(batcher: &Batcher, store: &Store) -> TestWatcher {
    batcher.watcher(store.handler()).build().unwrap()
}

pub(crate) fn op(payload: u32) -> Operation<u32> {
    Operation::new(payload)
}

/// Enqueues the same cost for ever, in a task of its own.
pub(crate) fn flood(watcher: &TestWatcher, costs: impl IntoIterator<Item = u32, IntoIter: Send + 'static>) {
    let (watcher, costs) = (watcher.clone(), costs.into_iter());
    tokio::spawn(async move {
        for cost in costs {
            if watcher.enqueue(op(0).cost(cost)).await.is_err() {
                return;
            }
        }
    });
}

/// Lets everything happen that can happen without time passing.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Waits for a condition, for so long at most.
pub(crate) async fn within(time: Duration, mut condition: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() <= time, "not within {time:?}");
        sleep(Duration::from_millis(1)).await;
    }
    start.elapsed()
}

/// Whether in every window of length w the cost is at most `rate`·w + `extra`, in nano-units; the worst excess.
pub(crate) fn worst_window(sent: &[Sent], rate: u64, extra: i128) -> i128 {
    let Some(start) = sent.first().map(|sent| sent.at) else { return -extra };
    let (mut before, mut lowest, mut worst) = (0_i128, i128::MAX, i128::MIN);
    for batch in sent {
        let earned = i128::from(rate) * batch.at.duration_since(start).as_nanos() as i128;
        lowest = lowest.min(before - earned);
        before += i128::from(batch.cost) * 1_000_000_000;
        worst = worst.max(before - earned - lowest - extra);
    }
    worst
}

/// R·j + max(b, c_max), in nano-units.
pub(crate) fn extra(rate: u64, slice: Duration, largest: u64) -> i128 {
    let burst = i128::from(rate) * slice.as_nanos() as i128;
    i128::from(rate) * Bucket::SLACK.as_nanos() as i128 + burst.max(i128::from(largest) * 1_000_000_000)
}

/// The law of conservation, for a batcher at rest.
pub(crate) fn assert_books(batcher: &Batcher) {
    let stats = batcher.stats();
    assert_eq!(stats.accepted, stats.outcomes.total() + stats.buffered + stats.running, "{stats:?}");
    if stats.buffered + stats.running == 0 {
        assert_eq!(stats.target, 0, "{stats:?}");
    }
}

/// An observer that keeps everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<BatcherEvent>>>);

impl Diary {
    pub(crate) fn observer(&self) -> impl Fn(&BatcherEvent) + Send + Sync + use<> {
        let diary = self.0.clone();
        move |event: &BatcherEvent| diary.lock().unwrap().push(event.clone())
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|event| format!("{event:?}")).collect()
    }

    pub(crate) fn count(&self, matches: impl Fn(&BatcherEvent) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| matches(event)).count()
    }
}
