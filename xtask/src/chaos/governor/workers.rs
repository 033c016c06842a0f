//! The worker processes of a cell, and the proxies between them and the servers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sluicegate_testkit::record::Recorder;
use sluicegate_testkit::server::Proxy;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::arena::Arena;
use super::cells::Cell;
use crate::shell::{Doing, Failure, Outcome};

/// What takes longer hangs.
const STOPS_WITHIN: Duration = Duration::from_secs(150);
const MADE_WITHIN: Duration = Duration::from_secs(60);

pub(super) struct Workers<'a> {
    pub(super) binary: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) cell: &'a Cell,
    pub(super) seed: u64,
    pub(super) resource: SocketAddr,
    pub(super) recorder: Arc<Recorder>,
}

pub(super) struct Worker {
    pub(super) name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: JoinHandle<()>,
    at_rest: watch::Receiver<bool>,
    /// One to each node. They outlive the process.
    pub(super) links: Arc<Vec<Proxy>>,
}

impl Workers<'_> {
    pub(super) async fn links(arena: &Arena) -> Outcome<Arc<Vec<Proxy>>> {
        let mut links = Vec::new();
        for node in arena.nodes() {
            links.push(Proxy::start(node.addr()).await.doing("cannot start a proxy")?);
        }
        Ok(Arc::new(links))
    }

    pub(super) async fn make(&self, links: Arc<Vec<Proxy>>) -> Outcome {
        let mut maker = self.spawn("make", "make", links, false)?;
        let made = timeout(MADE_WITHIN, maker.child.wait()).await;
        let made = made.map_err(|_| Failure::new("the governor was not made in time"))?.doing("make")?;
        if made.success() { Ok(()) } else { Err(Failure::new(format!("the governor was not made: {made}"))) }
    }

    pub(super) fn spawn(
        &self,
        name: &str,
        role: &str,
        links: Arc<Vec<Proxy>>,
        keeps: bool,
    ) -> Outcome<Worker> {
        let cell = self.cell;
        let urls: Vec<String> = links.iter().map(Proxy::url).collect();
        let orders = json!({
            "process": name, "role": role, "url": urls.join(","), "governor": "chaos", "native": cell.native,
            "limit": cell.limit, "ttl_ms": u64::try_from(cell.ttl.as_millis()).unwrap_or(u64::MAX),
            "replicas": cell.replicas, "clients": cell.clients, "resource": self.resource, "seed": self.seed,
            "hold_ms": cell.hold_ms, "to_the_end": cell.to_the_end, "keeps": keeps, "only_waits": cell.fair.is_some(),
        });
        let errors = std::fs::File::create(self.dir.join(format!("{name}.txt"))).doing(self.dir.display())?;
        let mut command = Command::new(&self.binary);
        command.arg(orders.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        // Ctrl-C is for us, who then end it.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().doing(self.binary.display())?;
        let (resting, at_rest) = watch::channel(false);
        let output = child.stdout.take().map(BufReader::new);
        let recorder = Arc::clone(&self.recorder);
        let output = tokio::spawn(async move {
            let Some(mut output) = output.map(AsyncBufReadExt::lines) else { return };
            while let Ok(Some(line)) = output.next_line().await {
                recorder.take(&line);
                if line.contains("\"op\":\"exit\"") {
                    resting.send_replace(true);
                }
            }
        });
        let input = child.stdin.take();
        Ok(Worker { name: name.to_owned(), child, input, output, at_rest, links })
    }
}

impl Worker {
    fn signal(&self, signal: Signal) -> Outcome {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.ok_or_else(|| Failure::new(format!("{} has ended", self.name)))?;
        kill_process(pid, signal).doing(&self.name)
    }

    /// SIGKILL; done when all that it has written is taken up.
    pub(super) async fn kill(&mut self) -> Outcome {
        self.child.kill().await.doing(&self.name)?;
        (&mut self.output).await.doing(&self.name)
    }

    /// SIGSTOP; whether it stands still.
    pub(super) async fn pause(&self) -> Outcome<bool> {
        self.signal(Signal::STOP)?;
        for _ in 0..200 {
            if self.stands_still() {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(false)
    }

    /// The state stands after the name, which is in brackets.
    fn stands_still(&self) -> bool {
        let stat = self.child.id().and_then(|id| std::fs::read_to_string(format!("/proc/{id}/stat")).ok());
        stat.is_some_and(|stat| {
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        })
    }

    pub(super) fn resume(&self) -> Outcome {
        self.signal(Signal::CONT)
    }

    pub(super) async fn tell(&mut self, line: &str) -> Outcome {
        let Some(input) = &mut self.input else { return Ok(()) };
        input.write_all(format!("{line}\n").as_bytes()).await.doing(&self.name)
    }

    /// Waits until it has stopped, and all that it had abandoned is resolved.
    pub(super) async fn comes_to_rest(&mut self) -> Outcome {
        let rests = timeout(STOPS_WITHIN, self.at_rest.wait_for(|rests| *rests)).await;
        match rests {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Failure::new(format!("{} ended by itself", self.name))),
            Err(_) => Err(Failure::new(format!("{} did not stop within {STOPS_WITHIN:?}", self.name))),
        }
    }

    /// It has ended, and nobody had told it to.
    pub(super) fn has_ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| format!("{} ended by itself: {status}", self.name))
    }

    pub(super) async fn end(mut self) -> Outcome {
        drop(self.input.take());
        let ended = timeout(Duration::from_secs(10), self.child.wait()).await;
        if ended.is_err() {
            self.child.kill().await.doing(&self.name)?;
        }
        (&mut self.output).await.doing(&self.name)
    }
}
