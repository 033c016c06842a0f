//! Starts the processes, kills one of them, and is the datastore that they write to.

use std::error::Error;
use std::fs;
use std::num::NonZeroU32;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluicegate_batcher::Bucket;
use sluicegate_core::LeasePoolAdmin;
use sluicegate_governor::{GovernorConfig, NativePool};
use sluicegate_nats::{Settings, connect};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::Flags;
use crate::arrivals::{Arrival, clock, csv, longest_way, nanos, steps, worst_window};
use crate::plot::{Mark, Plot};

const LEASES: u32 = 20;
/// What a lease is worth, in units per second.
pub(crate) const FACTOR: u64 = 50;
/// What all processes may take together, in units per second.
const CAPACITY: u64 = FACTOR * LEASES as u64;
/// So long after a crash are leases taken over, at most.
const TTL: Duration = Duration::from_secs(2);
pub(crate) const SLICE: Duration = Duration::from_millis(10);
const WINDOW: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(100);

type Arrivals = Arc<Mutex<Vec<Arrival>>>;

/// A process, and the task that notes what arrives from it.
struct Writer {
    child: Child,
    notes: JoinHandle<()>,
}

pub(crate) async fn run(flags: &Flags, processes: u32) -> Result<(), Box<dyn Error>> {
    let connection = connect(&Settings::from_url(&flags.server)?).await?;
    let pool = format!("shared-rate-{}", std::process::id());
    let config = GovernorConfig::try_new(&pool, NonZeroU32::new(LEASES).ok_or("no leases")?, TTL)?;
    let admin = NativePool::create(&connection, &config).await?;
    let told = tell(flags, &pool, processes).await;
    admin.delete().await?;
    let (arrivals, begin, marks) = told?;
    report(flags, processes, &arrivals, begin, marks)
}

/// The story: all but the last at once, the last one late, and the first one killed.
async fn tell(
    flags: &Flags,
    pool: &str,
    processes: u32,
) -> Result<(Vec<Arrival>, u64, Vec<Mark>), Box<dyn Error>> {
    let arrivals = Arrivals::default();
    let length = Duration::from_secs(flags.seconds);
    let (start, begin) = (Instant::now(), clock());
    let mut writers = Vec::new();
    for process in 1..processes {
        writers.push(Writer::start(flags, pool, processes, process, &arrivals)?);
    }
    let late = length / 4;
    sleep_until(start + late).await;
    writers.push(Writer::start(flags, pool, processes, processes, &arrivals)?);
    let killed = length / 2;
    sleep_until(start + killed).await;
    let mut victim = writers.remove(0);
    victim.child.kill().await?;
    victim.notes.await?;
    sleep_until(start + length).await;
    for writer in writers {
        writer.end().await?;
    }
    let mut arrivals = std::mem::take(&mut *arrivals.lock().unwrap_or_else(PoisonError::into_inner));
    arrivals.sort_unstable_by_key(|arrival| arrival.at);
    let marks = vec![
        Mark { at: late, text: format!("process {processes} starts") },
        Mark { at: killed, text: "process 1 is killed".to_owned() },
    ];
    Ok((arrivals, begin, marks))
}

impl Writer {
    fn start(
        flags: &Flags,
        pool: &str,
        processes: u32,
        process: u32,
        arrivals: &Arrivals,
    ) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--server").arg(&flags.server).arg("--processes").arg(processes.to_string());
        command.arg("--child").arg(format!("process {process}")).arg(pool);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no standard output")?).lines();
        let arrivals = Arc::clone(arrivals);
        let notes = tokio::spawn(async move {
            let mut lines = lines;
            while let Ok(Some(line)) = lines.next_line().await {
                let at = clock();
                let numbers = line
                    .split_once(' ')
                    .and_then(|(taken, cost)| Some((taken.parse().ok()?, cost.parse().ok()?)));
                // Half a line is what a killed process leaves: that batch has not arrived.
                let Some((taken, cost)) = numbers else { continue };
                let arrival = Arrival { at, taken, process: process as usize - 1, cost };
                arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
            }
        });
        Ok(Self { child, notes })
    }

    /// Lets it finish what it has, and give its leases back.
    async fn end(mut self) -> Result<(), Box<dyn Error>> {
        drop(self.child.stdin.take());
        let status = timeout(Duration::from_secs(20), self.child.wait()).await??;
        self.notes.await?;
        if status.success() { Ok(()) } else { Err(format!("a process has failed: {status}").into()) }
    }
}

fn report(
    flags: &Flags,
    processes: u32,
    arrivals: &[Arrival],
    begin: u64,
    marks: Vec<Mark>,
) -> Result<(), Box<dyn Error>> {
    for process in 0..processes as usize {
        let of_it = arrivals.iter().filter(|arrival| arrival.process == process);
        println!("process {}: {} units", process + 1, of_it.map(|arrival| arrival.cost).sum::<u64>());
    }
    if let Some(file) = &flags.record {
        fs::write(file, csv(arrivals, begin))?;
    }
    if let Some(file) = &flags.plot {
        let length = Duration::from_secs(flags.seconds);
        let count = usize::try_from(nanos(length) / nanos(STEP))?;
        let taken = steps(arrivals, processes as usize, begin, STEP, count);
        let plot = Plot { step: STEP, taken, window: WINDOW, capacity: CAPACITY, marks };
        fs::write(file, plot.svg())?;
        println!("drawn: {}", file.display());
    }
    // C·(w + l) + k·b: what arrives within w was taken within w and the longest way.
    let way = longest_way(arrivals);
    let saved = CAPACITY as f64 * (SLICE + Bucket::SLACK).as_secs_f64();
    let allowed = CAPACITY as f64 * (WINDOW + way).as_secs_f64() + saved;
    let worst = worst_window(arrivals, WINDOW);
    println!(
        "largest second: {worst} units of {allowed:.0} allowed ({CAPACITY} a second, {saved:.0} saved, {:.1} ms on the way)",
        way.as_secs_f64() * 1e3
    );
    if worst as f64 > allowed { Err("the processes took more than they share".into()) } else { Ok(()) }
}
