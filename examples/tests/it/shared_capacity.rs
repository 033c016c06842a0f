//! Batchers that share a rate by leases on a real server.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_batcher::{Batcher, Bucket, Operation, Share, SharedCapacity, Watcher, by_value};
use sluicegate_core::{Holder, LeasePool};
use sluicegate_governor::{GovernorConfig, NativePool};
use sluicegate_nats::{Settings, connect};
use sluicegate_testkit::server::NatsServer;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const LEASES: u32 = 10;
const UNITS: u64 = 100;
const TTL: Duration = Duration::from_secs(3);
const CAPACITY: u64 = UNITS * LEASES as u64;
/// What a batcher saves up while nothing leaves.
const SLICE: Duration = Duration::from_millis(10);
/// How much later than it was let go a batch may be noted by a machine that is busy with other things.
const LATE: Duration = Duration::from_millis(50);

type Arrivals = Arc<Mutex<Vec<(Instant, u64)>>>;

/// A writer with a connection, a pool handle and a batcher of its own, as a process would have them.
struct Process {
    _batcher: Batcher,
    rows: Watcher<u64, (), std::io::Error>,
    engine: JoinHandle<sluicegate_batcher::DrainReport>,
}

impl Process {
    async fn start(url: &str, name: &str, share: Share, arrivals: &Arrivals) -> Self {
        let connection = connect(&Settings::from_url(url).unwrap()).await.unwrap();
        let pool: Arc<dyn LeasePool> = Arc::new(NativePool::bind(&connection, "rate").await.unwrap());
        let holder = Holder::try_new(name).unwrap();
        let capacity = SharedCapacity::builder(pool, holder).factor(UNITS).share(share);
        // The pool was made for this test.
        let capacity = capacity.borrow(false).fresh(true);
        let capacity = capacity.build().await.unwrap();
        let batcher = Batcher::builder().capacity(capacity).slice(SLICE);
        let (batcher, engine) = batcher.start(CancellationToken::new()).unwrap();
        let arrivals = Arc::clone(arrivals);
        let rows = batcher.watcher(by_value(move |batch: Vec<u64>, _| {
            arrivals.lock().unwrap().push((Instant::now(), batch.len() as u64));
            async { Ok::<(), std::io::Error>(()) }
        }));
        let rows = rows.name("rows").max_batch_size(50).build().unwrap();
        Self { _batcher: batcher, rows, engine }
    }

    /// Always has more to write than it may.
    fn keep_busy(&self) -> JoinHandle<()> {
        let rows = self.rows.clone();
        tokio::spawn(async move { while rows.enqueue(Operation::new(0)).await.is_ok() {} })
    }
}

fn units_since(arrivals: &Arrivals, begin: Instant) -> u64 {
    arrivals.lock().unwrap().iter().filter(|(at, _)| *at >= begin).map(|(_, units)| units).sum()
}

/// The most units noted within any `window`.
fn worst_window(arrivals: &Arrivals, window: Duration) -> u64 {
    let arrivals = arrivals.lock().unwrap();
    let from = |first: usize| {
        let end = arrivals[first].0 + window;
        arrivals[first..].iter().take_while(|(at, _)| *at < end).map(|(_, units)| units).sum()
    };
    (0..arrivals.len()).map(from).max().unwrap_or(0)
}

/// Waits until so many leases are held, that many of them by that holder.
async fn until_held(pool: &NativePool, all: usize, name: &str, leases: usize) {
    let held = async {
        loop {
            let held = pool.held().await.unwrap();
            let of_it = held.iter().filter(|lease| lease.holder.to_string() == name).count();
            if held.len() == all && of_it == leases {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TTL * 3, held).await.expect("leases are taken, or taken over, within a few times to live");
}

#[tokio::test]
async fn a_crashed_process_loses_its_share_to_the_living_and_the_sum_stays_within_the_rate() {
    let server = NatsServer::start().await.unwrap();
    let connection = connect(&Settings::from_url(&server.url()).unwrap()).await.unwrap();
    let config = GovernorConfig::try_new("rate", NonZeroU32::new(LEASES).unwrap(), TTL).unwrap();
    let admin = NativePool::create(&connection, &config).await.unwrap();

    let arrivals = Arrivals::default();
    // It leaves the other half to the second one, which takes all that there is.
    let half = Share::Weighted { weight: NonZeroU32::MIN, of: NonZeroU32::new(2).unwrap() };
    let dying = Process::start(&server.url(), "dies", half, &arrivals).await;
    let living = Process::start(&server.url(), "lives", Share::Greedy, &arrivals).await;
    let (all, half) = (LEASES as usize, LEASES as usize / 2);
    // One after the other: who takes all that there is takes also what a slower one might have had.
    let _first = dying.keep_busy();
    until_held(&admin, half, "dies", half).await;
    let _second = living.keep_busy();
    until_held(&admin, all, "dies", half).await;
    // Together for long enough that every lease is renewed.
    sleep(TTL).await;

    dying.engine.abort();
    assert!(dying.engine.await.unwrap_err().is_cancelled());
    until_held(&admin, all, "lives", all).await;
    let alone = Instant::now();
    let writes_on = timeout(TTL, async {
        while units_since(&arrivals, alone) < CAPACITY {
            sleep(Duration::from_millis(20)).await;
        }
    });
    writes_on.await.expect("it writes on with what it took over");

    // C·(w + ℓ) + k·b: what is noted within w was let go within w + ℓ.
    let window = Duration::from_secs(1);
    let saved = CAPACITY as f64 * (SLICE + Bucket::SLACK).as_secs_f64();
    let bound = CAPACITY as f64 * (window + LATE).as_secs_f64() + saved;
    let worst = worst_window(&arrivals, window);
    assert!(worst as f64 <= bound, "{worst} units in the worst second, {bound:.0} are allowed");
}
