//! How exactly a rate is kept, under saturation: in virtual time for all rates, and in real time for some.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_batcher::{Batch, BatchContext, Batcher, Bucket, Fixed, Operation, Verdicts, handler_fn};
use sluicegate_testkit::figures::Figures;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{Effort, runtime};

#[derive(Clone, Copy)]
struct Case {
    rate: u64,
    cost: u32,
    slice: Duration,
    flushing: bool,
}

impl Case {
    const fn new(rate: u64, cost: u32, slice: Duration) -> Self {
        Self { rate, cost, slice, flushing: false }
    }

    /// The most that any window of that length may see.
    fn bound(self, window: Duration) -> f64 {
        let rate = self.rate as f64;
        let burst = (rate * self.slice.as_secs_f64()).max(f64::from(self.cost));
        rate * (window + Bucket::SLACK).as_secs_f64() + burst
    }
}

/// What was sent when.
type Log = Vec<(Instant, u64)>;

pub(crate) fn measure(effort: Effort, figures: &mut Figures) {
    let millis = Duration::from_millis;
    let rates = [1, 3, 9, 100, 999, 10_000, 100_000, 1_000_000];
    let cap = rates.map(|rate| Case::new(rate, 1, millis(10)));
    let cost = [(10, 10), (1_000, 7), (1_000, 1_000), (10_000, 9_999), (100_000, 50)];
    let cost = cost.map(|(rate, cost)| Case::new(rate, cost, millis(10)));
    let slice = [Duration::from_micros(100), millis(1), millis(100), millis(1_000)];
    let slice = slice.map(|slice| Case::new(2_000, 1, slice));
    let flush = [Case { flushing: true, ..Case::new(1_000, 1, millis(10)) }];
    for (name, cases) in [
        ("rate/cap", &cap[..]),
        ("rate/cost", &cost[..]),
        ("rate/slice", &slice[..]),
        ("rate/flush", &flush[..]),
    ] {
        report(name, cases, figures, |case| {
            let paused =
                tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
            paused.unwrap().block_on(saturate(case, Duration::from_secs(10)))
        });
    }
    let real = [100, 1_000, 10_000, 100_000].map(|rate| Case::new(rate, 1, millis(10)));
    let time = effort.time(Duration::from_secs(4));
    report("rate/real", &real, figures, |case| runtime().block_on(saturate(case, time)));
}

fn report(name: &str, cases: &[Case], figures: &mut Figures, run: impl Fn(Case) -> (Log, Instant, Instant)) {
    let (mut least, mut most, mut worst, mut second) = (f64::INFINITY, 0_f64, 0_f64, 0_f64);
    for case in cases {
        let (log, start, end) = run(*case);
        let sent: u64 = log.iter().map(|(_, cost)| cost).sum();
        let possible = case.rate as f64 * (end - start).as_secs_f64();
        // What the bucket held at the start comes on top, and what does not fill an operation stays.
        let burst = (case.rate as f64 * case.slice.as_secs_f64()).max(f64::from(case.cost));
        least = least.min((sent as f64 + burst) / possible);
        most = most.max((sent as f64 - burst) / possible);
        let (excess, in_second) = windows(&log, *case);
        worst = worst.max(excess);
        if f64::from(case.cost) <= case.rate as f64 * case.slice.as_secs_f64()
            && case.slice <= Duration::from_millis(10)
        {
            second = second.max(in_second / case.rate as f64);
        }
    }
    figures.alone(name, "delivered, least", "of the rate", least);
    figures.alone(name, "delivered, most", "of the rate", most);
    figures.alone(name, "worst window", "of its bound", worst);
    if second > 0.0 {
        figures.alone(name, "worst second", "of the rate", second);
    }
}

/// Over all windows: the most of its bound that was used; and the most in a second.
fn windows(log: &Log, case: Case) -> (f64, f64) {
    let (mut worst, mut second, mut first, mut in_second) = (0_f64, 0_f64, 0, 0);
    for (end, (at, cost)) in log.iter().enumerate() {
        in_second += cost;
        while *at - log[first].0 >= Duration::from_secs(1) {
            in_second -= log[first].1;
            first += 1;
        }
        second = second.max(in_second as f64);
        // Windows of all lengths are too many for the long logs: those that begin at powers of two before will do.
        let mut back = 0;
        while back <= end {
            let begin = end - back;
            let sum: u64 = log[begin..=end].iter().map(|(_, cost)| cost).sum();
            worst = worst.max(sum as f64 / case.bound(*at - log[begin].0));
            back = if back == 0 { 1 } else { back * 2 };
            if back > 4_096 {
                break;
            }
        }
    }
    (worst, second)
}

async fn saturate(case: Case, time: Duration) -> (Log, Instant, Instant) {
    let (batcher, _engine) = Batcher::builder()
        .capacity(Fixed::per_second(case.rate))
        .slice(case.slice)
        .buffer(100_000)
        .start(CancellationToken::new())
        .unwrap();
    let log = Arc::new(Mutex::new(Log::new()));
    let noted = Arc::clone(&log);
    let handler = handler_fn(move |_: &mut Batch<()>, cx: &BatchContext| {
        noted.lock().unwrap().push((Instant::now(), cx.cost()));
        Box::pin(async { Verdicts::<(), String>::done() })
    });
    let watcher = batcher.watcher(handler).build().unwrap();
    let start = Instant::now();
    let flood =
        tokio::spawn(
            async move { while watcher.enqueue(Operation::new(()).cost(case.cost)).await.is_ok() {} },
        );
    if case.flushing {
        while start.elapsed() < time {
            batcher.flush();
            sleep(Duration::from_millis(1)).await;
        }
    }
    sleep(time.saturating_sub(start.elapsed())).await;
    let end = Instant::now();
    let log = log.lock().unwrap().clone();
    flood.abort();
    (log, start, end)
}
