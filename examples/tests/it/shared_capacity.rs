//! Batchers that share a rate by leases on a real server.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_batcher::{Batcher, Bucket, Operation, SharedCapacity, Watcher, by_value};
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

type Arrivals = Arc<Mutex<Vec<(Instant, u64)>>>;

/// A writer with a connection, a pool handle and a batcher of its own, as a process would have them.
struct Process {
    _batcher: Batcher,
    rows: Watcher<u64, (), std::io::Error>,
    engine: JoinHandle<sluicegate_batcher::DrainReport>,
}

impl Process {
    async fn start(url: &str, name: &str, arrivals: &Arrivals) -> Self {
        let connection = connect(&Settings::from_url(url).unwrap()).await.unwrap();
        let pool: Arc<dyn LeasePool> = Arc::new(NativePool::bind(&connection, "rate").await.unwrap());
        let holder = Holder::try_new(name).unwrap();
        let capacity = SharedCapacity::builder(pool, holder).factor(UNITS).build().await.unwrap();
        let (batcher, engine) =
            Batcher::builder().capacity(capacity).start(CancellationToken::new()).unwrap();
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

#[tokio::test]
async fn a_crashed_process_loses_its_share_to_the_living_and_the_sum_stays_within_the_rate() {
    let server = NatsServer::start().await.unwrap();
    let connection = connect(&Settings::from_url(&server.url()).unwrap()).await.unwrap();
    let config = GovernorConfig::try_new("rate", NonZeroU32::new(LEASES).unwrap(), TTL).unwrap();
    let admin = NativePool::create(&connection, &config).await.unwrap();

    let arrivals = Arrivals::default();
    let begin = Instant::now();
    let dying = Process::start(&server.url(), "dies", &arrivals).await;
    let _work = dying.keep_busy();
    // The first one takes everything, as nobody else is there.
    while admin.held().await.unwrap().len() < LEASES as usize {
        sleep(Duration::from_millis(20)).await;
    }
    let living = Process::start(&server.url(), "lives", &arrivals).await;
    let _work = living.keep_busy();
    dying.engine.abort();
    assert!(dying.engine.await.unwrap_err().is_cancelled());
    let crashed = Instant::now();

    // Its leases run out, and the other one has them.
    let taken_over = timeout(TTL * 3, async {
        loop {
            let held = admin.held().await.unwrap();
            if held.len() == LEASES as usize && held.iter().all(|lease| lease.holder.to_string() == "lives") {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    taken_over.await.expect("the share of the dead is taken over within a few times to live");
    let took = crashed.elapsed();

    let full = Instant::now();
    sleep(Duration::from_secs(2)).await;
    let capacity = UNITS * u64::from(LEASES);
    let units = units_since(&arrivals, full);
    assert!(
        units > capacity,
        "more than half of the rate is used in two seconds: {units}, taken over in {took:?}"
    );

    let window = begin.elapsed().as_secs_f64();
    let burst = UNITS as f64 * (0.010 + Bucket::SLACK.as_secs_f64());
    let bound = capacity as f64 * window + f64::from(LEASES) * burst;
    let all = units_since(&arrivals, begin);
    assert!(all as f64 <= bound, "{all} units in {window:.3} s, {bound:.0} are allowed");
}
