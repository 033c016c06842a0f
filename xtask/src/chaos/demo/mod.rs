//! The demo on a real server that is killed and paused, from a seeded schedule.

mod report;
mod schedule;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use sluicegate_testkit::server::NatsServer;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use self::report::Report;
use self::schedule::{Fault, Step, of_run, run_seed};
use super::{Flags, Verdict, commit, utc};
use crate::servers::find_nats;
use crate::shell::{Doing, Failure, Outcome, cargo, run as run_command};
use crate::signals::{Signals, code, interrupted, tell, unless_interrupted};
use crate::workspace::Workspace;

/// A run that takes longer hangs.
const RUN_WITHIN: Duration = Duration::from_secs(180);

pub(super) async fn run(flags: &Flags) -> Outcome {
    let workspace = Workspace::read()?;
    run_command(&mut cargo(&["build", "-p", "sluicegate-cli", "--bin", "sluicegate"])).await?;
    find_nats().await?;
    let server = unless_interrupted(NatsServer::start()).await?.doing("cannot start a server")?;
    let seed = flags.seed();
    let (started, commit) = (utc(), commit()?);
    let dir = workspace.target().join("chaos").join(format!("{started}-{seed}"));
    let version = format!("nats-server {}", server.version());
    let harness = Harness {
        binary: workspace.target().join("debug").join("sluicegate"),
        arguments: &flags.arguments,
        server,
        dir,
        seed,
    };
    let mut report = Report::new(started, seed, flags.minutes, version, commit);
    eprintln!("seed {seed}, {} minutes, reports in {}", flags.minutes, harness.dir.display());
    let until = Instant::now() + Duration::from_secs(60 * flags.minutes);
    let mut signals = Signals::listen()?;
    let mut told = None;
    while Instant::now() < until && told.is_none() {
        told = harness.one_run(&mut report, &mut signals).await?;
    }
    let finished = harness.finish(&report);
    told.map_or(finished, |signal| Err(interrupted(signal)))
}

struct Harness<'a> {
    binary: PathBuf,
    arguments: &'a [String],
    server: NatsServer,
    dir: PathBuf,
    seed: u64,
}

impl Harness<'_> {
    /// Returns the signal that interrupted it.
    async fn one_run(&self, report: &mut Report, signals: &mut Signals) -> Outcome<Option<Signal>> {
        let run = report.runs;
        report.runs += 1;
        let dir = self.dir.join(format!("run-{run}"));
        fs::create_dir_all(&dir).doing(dir.display())?;
        let steps = of_run(self.seed, run);
        let began = Instant::now();
        let mut demo = self.spawn(run, &dir)?;
        let mut told = None;
        let ended = {
            let group = demo.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            let mut ended = pin!(timeout(RUN_WITHIN, demo.wait()));
            let mut nemesis = pin!(self.disturb(&steps, report));
            loop {
                tokio::select! {
                    biased;
                    ended = &mut ended => break ended,
                    failed = &mut nemesis => return Err(failed),
                    signal = signals.next() => {
                        told = told.or((signal != Signal::TSTP).then_some(signal));
                        group.into_iter().for_each(|group| tell(group, signal));
                    }
                }
            }
        };
        let took = began.elapsed();
        // The demo may have ended in the middle of a fault: the next run shall find a server.
        self.server.restart().await.doing("the server does not come back")?;
        let exit = match ended {
            Ok(status) => Some(code(status.doing("cannot wait for the demo")?)),
            Err(_) => {
                demo.kill().await.doing("cannot end the demo")?;
                None
            }
        };
        let output = fs::read_to_string(dir.join("stdout.json")).unwrap_or_default();
        if let Some(signal) = told.filter(|_| exit.is_some_and(|code| code > 128)) {
            // It has shown nothing.
            report.runs -= 1;
            eprintln!("run {run}: interrupted in {took:.1?}");
            return Ok(Some(signal));
        }
        let has_checks = report.take_checks(&serde_json::from_str(&output).unwrap_or(Value::Null));
        let passed = exit == Some(0) && has_checks;
        eprintln!("run {run}: {} in {took:.1?}", if passed { "ok" } else { "FAILED" });
        if passed {
            fs::remove_dir_all(&dir).doing(dir.display())?;
        } else {
            report.failures.push(self.failure(run, exit, &dir, &steps));
        }
        Ok(told)
    }

    fn spawn(&self, run: u64, dir: &Path) -> Outcome<Child> {
        let file = |name: &str| File::create(dir.join(name)).doing(dir.display());
        let mut command = Command::new(&self.binary);
        command.args(["demo", "--json", "--server", &self.server.url()]);
        command.args(["--seed", &run_seed(self.seed, run).to_string()]).args(self.arguments);
        command
            .stdin(Stdio::null())
            .stdout(file("stdout.json")?)
            .stderr(file("stderr.txt")?)
            .process_group(0)
            .kill_on_drop(true);
        command.spawn().doing(self.binary.display())
    }

    /// Runs the schedule; returns only when the server cannot be disturbed.
    async fn disturb(&self, steps: &[Step], report: &mut Report) -> Failure {
        for step in steps {
            sleep(step.after).await;
            report.begun(step.fault);
            if let Err(error) = self.apply(step.fault, report).await {
                return error;
            }
        }
        std::future::pending().await
    }

    async fn apply(&self, fault: Fault, report: &mut Report) -> Outcome {
        match fault {
            Fault::Kill(down) => {
                self.server.kill().await.doing("kill")?;
                report.confirmed(fault);
                sleep(down).await;
                self.server.restart().await.doing("restart")
            }
            Fault::Pause(still) => {
                self.server.pause().doing("pause")?;
                report.confirmed(fault);
                sleep(still).await;
                self.server.resume().doing("resume")
            }
        }
    }

    fn failure(&self, run: u64, exit: Option<i32>, dir: &Path, steps: &[Step]) -> Value {
        let errors = fs::read_to_string(dir.join("stderr.txt")).unwrap_or_default();
        json!({
            "run": run,
            "exit": exit.map_or_else(|| json!("killed: did not end in time"), Value::from),
            "stderr": last_lines(&errors),
            "output": dir.strip_prefix(&self.dir).unwrap_or(dir),
            "schedule": steps.iter().map(|step| format!("{step:?}")).collect::<Vec<_>>(),
            "repeat": format!("cargo xtask chaos --only demo --minutes {} --seed {} -- {}", 1 + run, self.seed, self.arguments.join(" ")),
        })
    }

    fn finish(&self, report: &Report) -> Outcome {
        let write = |name: &str, text: String| {
            let path = self.dir.join(name);
            fs::write(&path, text).doing(path.display())
        };
        write("report.json", format!("{:#}\n", report.json()))?;
        write("report.md", report.markdown())?;
        println!("{}\n{}", report.markdown(), self.dir.join("report.json").display());
        match report.verdict() {
            Verdict::Passed => Ok(()),
            Verdict::Failed => Err(Failure::new(format!("{} runs failed", report.failures.len()))),
            Verdict::Inconclusive => {
                Err(Failure::new("inconclusive: not every kind of fault happened; run longer"))
            }
        }
    }
}

/// Enough of them to show what happened; the file keeps them all.
fn last_lines(text: &str) -> Vec<&str> {
    const LINES: usize = 40;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].to_vec()
}
