//! The story `shared-rate` with processes: what arrives at the datastore stays within the rate that they share, while one
//! of them starts late and another one is killed.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use sluicegate_batcher::Bucket;
use sluicegate_testkit::server::NatsServer;
use tokio::process::Command;

const LEASES: u64 = 20;
const FACTOR: u64 = 50;
const CAPACITY: u64 = LEASES * FACTOR;
const SLICE: Duration = Duration::from_millis(10);
const SECONDS: u64 = 10;

/// A batch: when it arrived, whose it was, and how long it had been on the way since its budget was taken.
struct Arrival {
    at: Duration,
    process: u64,
    cost: u64,
    way: Duration,
}

fn read(csv: &str) -> Vec<Arrival> {
    let arrival = |line: &str| {
        let numbers: Vec<u64> = line.split(',').map(|number| number.parse().unwrap()).collect();
        let [at, process, cost, way] = numbers[..] else { panic!("{line}") };
        Arrival { at: Duration::from_micros(at), process, cost, way: Duration::from_micros(way) }
    };
    csv.lines().skip(1).map(arrival).collect()
}

/// C·(w + l) + k·b: what arrives within w was let go within w and the longest way.
fn allowed(window: Duration, way: Duration) -> f64 {
    let saved = LEASES as f64 * FACTOR as f64 * (SLICE + Bucket::SLACK).as_secs_f64();
    CAPACITY as f64 * (window + way).as_secs_f64() + saved
}

#[tokio::test]
async fn processes_that_start_late_and_die_keep_to_the_rate_that_they_share() {
    let server = NatsServer::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (plot, record) = (dir.path().join("rate.svg"), dir.path().join("rate.csv"));
    let mut story = Command::new(env!("CARGO_BIN_EXE_shared-rate"));
    story.args(["--processes", "4", "--seconds", &SECONDS.to_string(), "--server", &server.url()]);
    story.arg("--plot").arg(&plot).arg("--record").arg(&record);
    let output = story.stderr(Stdio::inherit()).kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("largest second: "), "{said}");

    let arrivals = read(&fs::read_to_string(&record).unwrap());
    let way = arrivals.iter().map(|arrival| arrival.way).max().unwrap();
    for window in [50, 100, 250, 1_000, 2_000].map(Duration::from_millis) {
        for (first, arrival) in arrivals.iter().enumerate() {
            let inside = arrivals[first..].iter().take_while(|later| later.at <= arrival.at + window);
            let units: u64 = inside.map(|later| later.cost).sum();
            let most = allowed(window, way);
            assert!(units as f64 <= most, "{units} units in {window:?} from {:?}, not {most:.0}", arrival.at);
        }
    }

    // All took part, the late one only with what the killed one had left.
    let of = |process| arrivals.iter().filter(move |arrival| arrival.process == process);
    let (late, killed) = (Duration::from_secs(SECONDS) / 4, Duration::from_secs(SECONDS) / 2);
    assert!(of(4).next().unwrap().at > late);
    assert!(of(4).next_back().unwrap().at > killed, "the late one has nothing of what the killed one had");
    assert!(of(1).next().unwrap().at < killed);
    for survivor in [2, 3] {
        assert!(of(survivor).next_back().unwrap().at > killed);
    }

    let drawn = fs::read_to_string(&plot).unwrap();
    for part in
        ["</svg>", "Time (s)", "(units/s)", "process 4 starts", "process 1 is killed", "prefers-color-scheme"]
    {
        assert!(drawn.contains(part), "no `{part}` in the picture");
    }
    assert!(!drawn.contains("<script") && !drawn.contains("NaN"));
}
