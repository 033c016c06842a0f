//! Shared capacity on the pool in memory: how fast it grows, what is held, given back and taken over, and what it asks
//! of the pool. All but the ramp is in virtual time, as it is a matter of the protocol and not of the machine.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_batcher::{
    Batch, BatchContext, Batcher, Operation, Share, SharedCapacity, Verdicts, handler_fn,
};
use sluicegate_core::{
    HeldLease, Holder, Lease, LeaseError, LeasePool, LossCause, MemoryPool, PoolDescription, Request,
    WaitQueue,
};
use sluicegate_testkit::figures::Figures;
use sluicegate_testkit::lease::{Fault, Faulty};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const TTL: Duration = Duration::from_secs(10);
const ROUND_TRIP: Duration = Duration::from_millis(5);

fn main() {
    let mut filters = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).peekable();
    let named = filters.peek().is_some();
    if named && !filters.any(|filter| "shared".contains(&filter) || filter.contains("shared")) {
        return;
    }
    let mut figures = Figures::begin(env!("CARGO_TARGET_TMPDIR"), "batcher-shared");
    let real = Builder::new_current_thread().enable_all().build().unwrap();
    let ramp = real.block_on(ramp(500));
    figures.alone("shared/ramp_500", "time", "s", ramp).note("each request takes 1 ms");

    let virtually = || Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    for (name, leases) in [("two", 2), ("twenty", 20), ("500", 500)] {
        let (held, requests, allowed) = virtually().block_on(steady(leases));
        let bench = format!("shared/steady/{name}");
        figures.alone(&bench, "held of wanted", "", held).note("alone, offering what is borrowed");
        figures.beside(&bench, "requests", "/s", requests, allowed).note("floor: by the formula");
    }
    let waiting = virtually().block_on(waiting());
    figures.alone("shared/messages/waiting", "requests", "per ttl", waiting).note("the pool is full");
    let idle = virtually().block_on(idle());
    figures.alone("shared/messages/idle", "requests", "per hour", idle);
    let release = virtually().block_on(release());
    figures.alone("shared/release", "after hold", "round trips", release);
    let crash = (0..20).map(|n| virtually().block_on(crash(n))).fold(f64::MIN, f64::max);
    figures.alone("shared/crash", "after ttl", "s", crash).note("worst of 20");
    figures.save().unwrap();
}

/// A pool that counts what it is asked.
#[derive(Debug)]
struct Counted<P>(P, Arc<AtomicU64>);

impl<P> Counted<P> {
    fn count(&self) -> &P {
        self.1.fetch_add(1, Ordering::Relaxed);
        &self.0
    }
}

#[async_trait]
impl<P: LeasePool> LeasePool for Counted<P> {
    async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        self.count().describe().await
    }
    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError> {
        self.count().try_acquire(request).await
    }
    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.count().renew(lease).await
    }
    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.count().release(lease).await
    }
    async fn held(&self) -> Result<Vec<HeldLease>, LeaseError> {
        self.count().held().await
    }
    async fn freed(&self) -> NonZeroU32 {
        self.0.freed().await
    }
    async fn lost(&self, lease: &Lease) -> LossCause {
        self.0.lost(lease).await
    }
    fn line(&self) -> &WaitQueue {
        self.0.line()
    }
}

struct Writer {
    batcher: Batcher,
    requests: Arc<AtomicU64>,
    engine: JoinHandle<sluicegate_batcher::DrainReport>,
}

/// One whose only operation never ends, so that it needs so much all the time.
async fn writer(pool: impl LeasePool, name: &str, share: Share, need: u32) -> Writer {
    let requests = Arc::new(AtomicU64::new(0));
    let pool = Arc::new(Counted(pool, Arc::clone(&requests)));
    let capacity = SharedCapacity::builder(pool, Holder::try_new(name).unwrap());
    let capacity = capacity.share(share).fresh(true).build().await.unwrap();
    let batcher = Batcher::builder().capacity(capacity).max_operation_time(Duration::from_secs(1_000_000));
    let (batcher, engine) = batcher.start(CancellationToken::new()).unwrap();
    let handler = handler_fn(|batch: &mut Batch<bool>, _cx: &BatchContext| {
        let ends = batch.iter().all(|ends| *ends);
        Box::pin(async move {
            if !ends {
                std::future::pending::<()>().await;
            }
            Verdicts::<(), std::io::Error>::done()
        })
    });
    let operations = batcher.watcher(handler).build().unwrap();
    if need > 0 {
        operations.enqueue(Operation::new(false).cost(need)).await.unwrap();
    }
    Writer { batcher, requests, engine }
}

impl Writer {
    fn rate(&self) -> u64 {
        self.batcher.stats().rate.unwrap()
    }

    async fn until(&self, leases: u64) -> Instant {
        while self.rate() < leases {
            sleep(Duration::from_millis(1)).await;
        }
        Instant::now()
    }
}

fn pool(leases: u32) -> MemoryPool {
    MemoryPool::new(NonZeroU32::new(leases).unwrap(), TTL)
}

async fn ramp(leases: u32) -> f64 {
    let slow = Faulty::new(pool(leases), Fault::Slow(Duration::from_millis(1)));
    let begin = Instant::now();
    let writer = writer(slow, "ramp", Share::Equal, leases).await;
    writer.until(leases.into()).await;
    begin.elapsed().as_secs_f64()
}

/// Held of wanted; requests a second; and how many those are by the formula.
async fn steady(leases: u32) -> (f64, f64, f64) {
    let writer = writer(pool(leases), "steady", Share::Equal, leases).await;
    writer.until(leases.into()).await;
    let (begin, before) = (Instant::now(), writer.requests.load(Ordering::Relaxed));
    let (mut held, mut samples) = (0, 0);
    while begin.elapsed() < 50 * TTL {
        sleep(Duration::from_millis(5)).await;
        held += writer.rate();
        samples += u64::from(leases);
    }
    let requests = writer.requests.load(Ordering::Relaxed) - before;
    let seconds = begin.elapsed().as_secs_f64();
    // Renewals, what is offered and asked for again, and one look.
    let offered = (leases - leases / 2).div_ceil(10);
    let allowed = f64::from(3 * leases + 2 * offered + 1) / TTL.as_secs_f64();
    (held as f64 / samples as f64, requests as f64 / seconds, allowed)
}

async fn waiting() -> f64 {
    let pool = pool(20);
    let busy = writer(pool.handle(), "busy", Share::Greedy, 20).await;
    busy.until(20).await;
    let waiting = writer(pool.handle(), "waiting", Share::Equal, 20).await;
    sleep(TTL).await;
    let before = waiting.requests.load(Ordering::Relaxed);
    sleep(50 * TTL).await;
    (waiting.requests.load(Ordering::Relaxed) - before) as f64 / 50.0
}

async fn idle() -> f64 {
    let idle = writer(pool(20), "idle", Share::Equal, 0).await;
    let before = idle.requests.load(Ordering::Relaxed);
    sleep(Duration::from_secs(3_600)).await;
    (idle.requests.load(Ordering::Relaxed) - before) as f64
}

/// From the end of the hold until the pool has everything back.
async fn release() -> f64 {
    let pool = pool(20);
    let slow = Faulty::new(pool.handle(), Fault::Slow(ROUND_TRIP));
    let hold = Duration::from_secs(1);
    let capacity = SharedCapacity::builder(Arc::new(slow), Holder::try_new("w").unwrap());
    let capacity = capacity.factor(1_000).hold(hold).fresh(true).build().await.unwrap();
    let (released, mut surplus) = tokio::sync::mpsc::unbounded_channel();
    let observer = move |event: &sluicegate_batcher::BatcherEvent| {
        if let sluicegate_batcher::BatcherEvent::TargetChanged { wanted_leases: 0, .. } = event {
            let _ = released.send(Instant::now());
        }
    };
    let batcher = Batcher::builder().capacity(capacity).observer(observer);
    let (batcher, _engine) = batcher.start(CancellationToken::new()).unwrap();
    let handler = handler_fn(|_: &mut Batch<()>, _cx: &BatchContext| {
        Box::pin(async {
            sleep(Duration::from_secs(3)).await;
            Verdicts::<(), std::io::Error>::done()
        })
    });
    let operations = batcher.watcher(handler).build().unwrap();
    operations.enqueue(Operation::new(()).cost(20_000)).await.unwrap();
    let due = surplus.recv().await.unwrap() + hold;
    while !pool.held().await.unwrap().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    (Instant::now() - due).as_secs_f64() / ROUND_TRIP.as_secs_f64()
}

/// From a crash until another one, which has its share already, has everything; less the time to live.
async fn crash(number: u64) -> f64 {
    let pool = pool(20);
    let one = writer(pool.handle(), &format!("one {number}"), Share::Equal, 20).await;
    let two = writer(pool.handle(), &format!("two {number}"), Share::Equal, 20).await;
    while one.rate() != 10 || two.rate() != 10 {
        sleep(Duration::from_millis(1)).await;
    }
    sleep(TTL + Duration::from_millis(number * 487)).await;
    two.engine.abort();
    let crash = Instant::now();
    // One lease may be on offer just now.
    one.until(19).await;
    crash.elapsed().as_secs_f64() - TTL.as_secs_f64()
}
