//! Breaks things, one after the other, and finds out whether they were broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use sluicegate_testkit::check::{Event, Op, Phase};
use sluicegate_testkit::record::Recorder;
use sluicegate_testkit::server::{Direction, Fault, Proxy};
use tokio::time::{Instant, sleep};

use super::arena::Arena;
use super::cells::{Cell, Kind};
use super::workers::{Worker, Workers};
use crate::shell::{Doing, Outcome};

/// An election takes less.
const ELECTED_WITHIN: Duration = Duration::from_secs(40);

pub(super) struct Nemesis<'a> {
    pub(super) arena: &'a Arena,
    pub(super) cell: &'a Cell,
    pub(super) recorder: Arc<Recorder>,
    pub(super) until: Instant,
    pub(super) calls: &'a AtomicU64,
    pub(super) random: Rng,
}

/// One fault that was begun.
struct Begun {
    id: u64,
    kind: Kind,
    target: String,
}

impl Nemesis<'_> {
    fn write(&self, begun: &Begun, ph: Phase) {
        let of = |event: Event| event.call(0, begun.id).fault(begun.kind.name(), &begun.target);
        // A process of its own each: two of us write at the same time.
        self.recorder.write(&format!("nemesis-{}", begun.id), Op::Fault, ph, of);
    }

    fn begin(&self, kind: Kind, target: impl Into<String>) -> Begun {
        let id = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let begun = Begun { id, kind, target: target.into() };
        self.write(&begun, Phase::Call);
        begun
    }

    fn confirm(&self, begun: &Begun, happened: bool) {
        if happened {
            self.write(begun, Phase::Done);
        }
    }

    fn over(&self, begun: &Begun) {
        self.write(begun, Phase::Event);
    }

    async fn pause(&mut self, millis: std::ops::Range<u64>) {
        sleep(Duration::from_millis(self.random.u64(millis))).await;
    }

    /// Whether there is time for another one.
    async fn goes_on(&mut self, pause: std::ops::Range<u64>) -> bool {
        self.pause(pause).await;
        Instant::now() < self.until
    }

    /// Goes through the kinds again and again, from somewhere on.
    pub(super) async fn break_servers(mut self) -> Outcome {
        let kinds = self.cell.servers;
        let mut next = self.random.usize(..kinds.len().max(1));
        while !kinds.is_empty() && self.goes_on(500..2_500).await {
            let kind = kinds[next % kinds.len()];
            next += 1;
            if self.arena.cluster().is_some() {
                self.break_cluster(kind).await?;
            } else {
                self.break_server(kind).await?;
            }
        }
        Ok(())
    }

    async fn break_server(&mut self, kind: Kind) -> Outcome {
        let server = &self.arena.nodes()[0];
        let begun = self.begin(kind, "n0");
        if kind == Kind::Pause {
            server.pause().doing("pause")?;
            self.confirm(&begun, true);
            self.pause(200..3_000).await;
            server.resume().doing("resume")?;
        } else {
            server.kill().await.doing("kill")?;
            self.confirm(&begun, server.pid().is_none());
            self.pause(50..2_000).await;
            server.restart().await.doing("restart")?;
        }
        self.arena.healed().await?;
        self.over(&begun);
        Ok(())
    }

    async fn break_cluster(&mut self, kind: Kind) -> Outcome {
        let (arena, nodes) = (self.arena, self.arena.nodes());
        let Some(leader) = arena.leader(None).await else { return Ok(()) };
        let begun = self.begin(kind, format!("n{leader}"));
        match kind {
            Kind::StepDown => {
                arena.step_down(leader, None).await;
                let moved = arena.led_by_another(leader, Duration::from_secs(5)).await;
                self.confirm(&begun, moved.is_some());
            }
            Kind::Pause => {
                nodes[leader].pause().doing("pause")?;
                let moved = arena.led_by_another(leader, ELECTED_WITHIN).await;
                self.confirm(&begun, moved.is_some());
                self.pause(0..2_000).await;
                nodes[leader].resume().doing("resume")?;
            }
            Kind::Partition => {
                let Some(cluster) = arena.cluster() else { return Ok(()) };
                cluster.cut_off(leader);
                let moved = arena.led_by_another(leader, ELECTED_WITHIN).await;
                self.confirm(&begun, moved.is_some() && cluster.held_back(leader) > 0);
                self.pause(0..2_000).await;
                cluster.heal();
            }
            Kind::Quorum | Kind::All => {
                let last = if kind == Kind::All { nodes.len() } else { 2 };
                let mut dead: Vec<usize> = (0..last).map(|n| (leader + n) % nodes.len()).collect();
                for node in &dead {
                    nodes[*node].kill().await.doing("kill")?;
                }
                let gone = dead.iter().all(|node| nodes[*node].pid().is_none());
                // Nobody leads two dead nodes.
                self.confirm(&begun, gone && arena.leader(Some(leader)).await.is_none());
                self.pause(200..3_000).await;
                self.random.shuffle(&mut dead);
                for node in dead {
                    nodes[node].restart().await.doing("restart")?;
                }
            }
            _ => {
                nodes[leader].kill().await.doing("kill")?;
                let moved = arena.led_by_another(leader, ELECTED_WITHIN).await;
                self.confirm(&begun, moved.is_some());
                self.pause(0..2_000).await;
                nodes[leader].restart().await.doing("restart")?;
            }
        }
        arena.healed().await?;
        self.over(&begun);
        Ok(())
    }

    /// Does the same to workers and their connections, until the time is over.
    pub(super) async fn break_workers(mut self, workers: &Workers<'_>, all: &mut [Worker]) -> Outcome {
        let kinds = self.cell.workers_too;
        let mut next = self.random.usize(..kinds.len().max(1));
        while !kinds.is_empty() && self.goes_on(300..1_500).await {
            let (kind, at) = (kinds[next % kinds.len()], self.random.usize(..all.len()));
            next += 1;
            match kind {
                Kind::WorkerKill => self.kill_worker(workers, &mut all[at]).await?,
                Kind::WorkerStop => self.stop_worker(&all[at]).await?,
                Kind::Storm => {
                    let attempts = self.random.u32(50..300);
                    all[at].tell(&format!("storm {attempts}")).await?;
                }
                _ => self.break_link(kind, &all[at].links).await,
            }
            if let Some(ended) = all.iter_mut().find_map(Worker::has_ended) {
                return Err(crate::shell::Failure::new(ended));
            }
        }
        Ok(())
    }

    async fn kill_worker(&mut self, workers: &Workers<'_>, worker: &mut Worker) -> Outcome {
        let begun = self.begin(Kind::WorkerKill, worker.name.clone());
        worker.kill().await?;
        self.confirm(&begun, true);
        self.over(&begun);
        let name = format!("{}+", worker.name);
        *worker = workers.spawn(&name, "work", Arc::clone(&worker.links), false)?;
        // Time in which nothing else happens: its slots shall come back.
        sleep(self.cell.ttl + Duration::from_secs(2)).await;
        Ok(())
    }

    async fn stop_worker(&mut self, worker: &Worker) -> Outcome {
        let begun = self.begin(Kind::WorkerStop, worker.name.clone());
        let happened = worker.pause().await?;
        self.confirm(&begun, happened);
        self.pause(200..2_000).await;
        if self.cell.expires() {
            sleep(self.cell.ttl + Duration::from_millis(500)).await;
        }
        // Before it goes on: what it does afterwards is its own doing.
        self.over(&begun);
        worker.resume()
    }

    async fn break_link(&mut self, kind: Kind, links: &[Proxy]) {
        let begun = self.begin(kind, "link");
        match kind {
            Kind::LinkReset => {
                let open = links.iter().map(Proxy::connections).sum::<usize>() > 0;
                links.iter().for_each(Proxy::reset);
                self.confirm(&begun, open);
            }
            Kind::AnswersLost => {
                links.iter().for_each(|link| link.set_one_way(Direction::ToClient, Fault::Hold));
                self.pause(100..2_000).await;
                self.confirm(&begun, links.iter().any(|link| link.held(Direction::ToClient) > 0));
                links.iter().for_each(Proxy::reset);
                links.iter().for_each(|link| link.set(Fault::Pass));
            }
            _ => {
                links.iter().for_each(|link| link.set(Fault::Hold));
                self.pause(300..4_000).await;
                let held = |link: &Proxy| link.held(Direction::ToClient) + link.held(Direction::ToServer);
                self.confirm(&begun, links.iter().any(|link| held(link) > 0));
                links.iter().for_each(|link| link.set(Fault::Pass));
            }
        }
        self.over(&begun);
    }
}
