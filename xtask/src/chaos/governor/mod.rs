//! Governors on clusters and servers: everything is broken, the workers included, and what has happened is checked.

mod arena;
mod cells;
mod nemesis;
mod report;
mod workers;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use sluicegate_testkit::check::{Event, History, Op, Phase};
use sluicegate_testkit::record::{Recorder, Resource};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::arena::Arena;
use self::cells::{CELLS, Cell};
use self::nemesis::Nemesis;
use self::report::{Report, Row};
use self::workers::Workers;
use super::{Flags, Verdict, commit, utc};
use crate::servers::find_nats;
use crate::shell::{Doing, Failure, Outcome, cargo, run as run_command};
use crate::signals::unless_interrupted;
use crate::workspace::Workspace;

/// What a cell takes besides its faults: a cluster, the end, and checking.
const OVERHEAD: Duration = Duration::from_secs(25);
/// After the last fault, so that the onlooker sees that all is well.
const TAIL: Duration = Duration::from_secs(8);
/// Up to here only the short form has time enough.
const SHORT_MINUTES: u64 = 4;

pub(super) async fn run(flags: &Flags) -> Outcome {
    let workspace = Workspace::read()?;
    run_command(&mut cargo(&["build", "-p", "sluicegate-examples", "--example", "chaos-worker"])).await?;
    if flags.server.is_none() {
        find_nats().await?;
    }
    let (seed, started) = (flags.seed(), utc());
    let dir = workspace.target().join("chaos").join(format!("{started}-{seed}-governor"));
    let binary = workspace.target().join("debug").join("examples").join("chaos-worker");
    let short = flags.minutes <= SHORT_MINUTES;
    let wanted = |cell: &&Cell| {
        (!short || cell.short) && (flags.replicas.is_empty() || flags.replicas.contains(&cell.replicas))
    };
    let cells: Vec<&Cell> = CELLS.iter().filter(wanted).collect();
    let shares: u32 = cells.iter().map(|cell| cell.share).sum();
    let overhead = OVERHEAD * u32::try_from(cells.len()).unwrap_or(u32::MAX);
    let faults = Duration::from_secs(60 * flags.minutes).saturating_sub(overhead);
    let mut report = Report::new(started, seed, commit()?, flags);
    eprintln!(
        "seed {seed}, {} cells in {} minutes, reports in {}",
        cells.len(),
        flags.minutes,
        dir.display()
    );
    for (at, cell) in cells.into_iter().enumerate() {
        let time = faults * cell.share / shares.max(1);
        let seed = Rng::with_seed(seed ^ at as u64).u64(1..1 << 48);
        let dir = dir.join(format!("{at:02}"));
        fs::create_dir_all(&dir).doing(dir.display())?;
        let files = Files { binary: &binary, dir: &dir };
        let row = unless_interrupted(Box::pin(one_cell(cell, time, seed, flags, files))).await?;
        eprintln!("{}", row.line());
        report.rows.push(row);
        // After each cell: what has been found is not lost when the next one hangs.
        report.write(dir.parent().unwrap_or(&dir))?;
    }
    report.finish(&dir)
}

#[derive(Clone, Copy)]
struct Files<'a> {
    binary: &'a PathBuf,
    dir: &'a Path,
}

/// Runs a cell and judges it; what goes wrong with it is in its row.
async fn one_cell(cell: &'static Cell, time: Duration, seed: u64, flags: &Flags, files: Files<'_>) -> Row {
    let began = Instant::now();
    let path = files.dir.join("history.jsonl");
    let run = Box::pin(record(cell, time, seed, flags.server.as_deref(), files, &path)).await;
    let history = File::open(&path).and_then(|file| History::read(BufReader::new(file)));
    let (version, failure) = match run {
        Ok(version) => (version, None),
        Err(failure) => (String::new(), Some(failure.to_string())),
    };
    let events = history.map(|history| history.events).map_err(|error| error.to_string());
    Row::new(cell, version, began.elapsed(), failure, events, &path)
}

/// Plays the cell and records it; returns the version of its servers.
async fn record(
    cell: &'static Cell,
    time: Duration,
    seed: u64,
    version: Option<&str>,
    files: Files<'_>,
    path: &Path,
) -> Outcome<String> {
    let recorder = Arc::new(Recorder::create(path).doing(path.display())?);
    let arena = Arena::start(cell, version).await.doing("cannot start servers")?;
    let resource = Resource::start(Arc::clone(&recorder), cell.limit == 1 && !cell.admin);
    let resource = resource.await.doing("cannot start the resource")?;
    recorder.write("run", Op::Meta, Phase::Event, |mut event| {
        event.limit = Some(u64::from(cell.limit));
        event.ttl = u64::try_from(cell.ttl.as_nanos()).ok();
        event.text = Some(format!("{cell:?}, seed {seed}, nats-server {}", arena.version()).into());
        event
    });
    let (binary, dir) = (files.binary.clone(), files.dir.to_owned());
    let workers =
        Workers { binary, dir, cell, seed, resource: resource.addr(), recorder: Arc::clone(&recorder) };
    let played = Box::pin(play(cell, time, seed, &arena, &workers)).await;
    let version = arena.version().to_owned();
    if played.is_err() {
        keep_logs(&arena, files.dir).await;
    }
    drop((workers, resource, arena));
    let recorder = Arc::into_inner(recorder).ok_or_else(|| Failure::new("somebody still writes"))?;
    recorder.finish().doing("the history is not whole")?;
    played.map(|()| version)
}

async fn play(cell: &Cell, time: Duration, seed: u64, arena: &Arena, workers: &Workers<'_>) -> Outcome {
    let direct = Workers::links(arena).await?;
    workers.make(Arc::clone(&direct)).await?;
    arena.healed().await?;
    let mut all = Vec::new();
    for n in 0..cell.workers {
        all.push(workers.spawn(
            &format!("w{n}"),
            "work",
            Workers::links(arena).await?,
            n == 0 && !cell.expires(),
        )?);
    }
    let mut admin = if cell.admin { Some(workers.spawn("admin", "admin", direct, false)?) } else { None };
    let (calls, until) = (AtomicU64::new(0), Instant::now() + time);
    let nemesis = |salt| Nemesis {
        arena,
        cell,
        recorder: Arc::clone(&workers.recorder),
        until,
        calls: &calls,
        random: Rng::with_seed(seed ^ salt),
    };
    let end = CancellationToken::new();
    let worked = async {
        let broken =
            tokio::try_join!(nemesis(1).break_servers(), nemesis(2).break_workers(workers, &mut all));
        if broken.is_ok() {
            tokio::time::sleep_until(until).await;
            sleep(TAIL).await;
        }
        end.cancel();
        broken.map(drop)
    };
    let (worked, ()) = tokio::join!(worked, look_on(arena, &workers.recorder, &end));
    worked?;
    if let Some(admin) = &mut admin {
        admin.tell("stop").await?;
        admin.comes_to_rest().await?;
    }
    for worker in &mut all {
        worker.tell("stop").await?;
    }
    for worker in &mut all {
        worker.comes_to_rest().await?;
    }
    if cell.expires() {
        // What the dead have left is gone then, and must be.
        sleep(cell.ttl + Duration::from_secs(2)).await;
    }
    finals(arena, &workers.recorder).await?;
    for worker in all.into_iter().chain(admin) {
        worker.end().await?;
    }
    Ok(())
}

/// Looks at the stream twice a second, and writes down who leads it and now and then what is stored.
async fn look_on(arena: &Arena, recorder: &Recorder, end: &CancellationToken) {
    let mut looks = 0;
    while end.run_until_cancelled(sleep(Duration::from_millis(500))).await.is_some() {
        looks += 1;
        let node = looks % arena.nodes().len();
        let info = arena.info(node).await;
        let leader = info.as_ref().and_then(|info| info["cluster"]["leader"].as_str());
        // What is stored takes a request each.
        let stored =
            if info.is_some() && looks.is_multiple_of(4) { arena.stored(node).await.ok() } else { None };
        let ph = if info.is_some() { Phase::Done } else { Phase::Unknown };
        recorder.write("onlooker", Op::Poll, ph, |mut event| {
            event.target = leader.map(Into::into);
            event.stored =
                stored.as_ref().map(|stored| stored.iter().map(|(sequence, _)| *sequence).collect());
            event.text = stored.map(|stored| stored.iter().map(|(_, text)| text.to_string()).collect());
            event
        });
    }
}

/// What each replica has: each of them leads once, and is asked.
async fn finals(arena: &Arena, recorder: &Recorder) -> Outcome {
    let nodes = arena.nodes().len();
    for node in 0..nodes {
        let until = Instant::now() + arena::HEALED_WITHIN;
        loop {
            arena.healed().await?;
            let Some(leader) = arena.leader(None).await else { continue };
            if leader == node {
                break;
            }
            if Instant::now() > until {
                return Err(Failure::new(format!("n{node} does not become the leader")));
            }
            // Older servers do not know preferences, and choose as they like.
            let aims = !arena.version().starts_with("2.10.");
            arena.step_down(leader, aims.then_some(node)).await;
            arena.led_by_another(leader, Duration::from_secs(5)).await;
        }
        let stored = arena.stored(node).await?;
        recorder.write("run", Op::Final, Phase::Event, |mut event: Event| {
            event.target = Some(format!("n{node}").into());
            event.stored = Some(stored.iter().map(|(sequence, _)| *sequence).collect());
            event
        });
    }
    Ok(())
}

async fn keep_logs(arena: &Arena, dir: &Path) {
    for (n, node) in arena.nodes().iter().enumerate() {
        // The history matters more.
        let _ = fs::write(dir.join(format!("n{n}.log")), node.log().await);
    }
}

/// The figure of a verdict as it stands in reports.
fn figure(value: f64) -> Value {
    Value::from((value * 1_000.0).round() / 1_000.0)
}
