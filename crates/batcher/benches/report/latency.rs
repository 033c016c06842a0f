//! How long it takes from the caller to the handler at a modest load, with default options.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_batcher::{Batch, BatchContext, Batcher, Operation, Verdicts, handler_fn};
use sluicegate_testkit::figures::Figures;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Effort, cpu, median, runtime};

const RATE: u32 = 10_000;

type Log = Arc<Mutex<Vec<Duration>>>;

pub(crate) fn measure(effort: Effort, figures: &mut Figures) {
    let time = effort.time(Duration::from_secs(3));
    let (mut floor, mut ours) = (Rounds::default(), Rounds::default());
    for _ in 0..effort.rounds() {
        let runtime = runtime();
        floor.round(|log| runtime.block_on(channel(time, log)));
        ours.round(|log| runtime.block_on(batcher(time, log)));
    }
    let pairs = [("p50", ours.p50, floor.p50), ("p99", ours.p99, floor.p99), ("cpu", ours.cpu, floor.cpu)];
    for (figure, ours, floor) in pairs {
        figures.beside("latency/default_10k", figure, "us", median(ours), median(floor));
    }
}

#[derive(Default)]
struct Rounds {
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// For an operation.
    cpu: Vec<f64>,
}

impl Rounds {
    fn round(&mut self, run: impl FnOnce(Log)) {
        let (log, before) = (Log::default(), cpu());
        run(Arc::clone(&log));
        let used = cpu() - before;
        let mut times = log.lock().unwrap().clone();
        times.sort();
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        self.p50.push(micros(times[times.len() / 2]));
        self.p99.push(micros(times[times.len() * 99 / 100]));
        self.cpu.push(micros(used) / times.len() as f64);
    }
}

/// Calls come at fixed times, from outside the runtime, as from a network: each finds it asleep.
const EVERY: Duration = Duration::from_micros(1_000_000 / RATE as u64);

#[expect(clippy::disallowed_methods, reason = "a thread of its own, outside the runtime")]
fn at_rate(time: Duration, call: impl Fn(Instant) + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let start = Instant::now();
        for n in 0.. {
            let due = start + EVERY * n;
            if due - start > time {
                return;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            call(Instant::now());
        }
    })
}

async fn channel(time: Duration, log: Log) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, [u64; 4])>(10_000);
    let consumer = tokio::spawn(async move {
        while let Some((sent, _)) = receiver.recv().await {
            log.lock().unwrap().push(sent.elapsed());
        }
    });
    let producer = at_rate(time, move |now| sender.try_send((now, [0; 4])).unwrap());
    consumer.await.unwrap();
    producer.join().unwrap();
}

async fn batcher(time: Duration, log: Log) {
    let (batcher, _engine) = Batcher::builder().start(CancellationToken::new()).unwrap();
    let handler = handler_fn(move |batch: &mut Batch<(Instant, [u64; 4])>, _cx: &BatchContext| {
        let log = Arc::clone(&log);
        Box::pin(async move {
            log.lock().unwrap().extend(batch.iter().map(|(sent, _)| sent.elapsed()));
            Verdicts::<(), String>::done()
        })
    });
    let watcher = batcher.watcher(handler).build().unwrap();
    let producer = at_rate(time, move |now| watcher.try_enqueue(Operation::new((now, [0; 4]))).unwrap());
    tokio::task::spawn_blocking(move || producer.join().unwrap()).await.unwrap();
    assert!(batcher.drain(Duration::from_secs(10)).await.complete);
}
