//! Worker processes: ours, and choria's as a peer.

use std::process::Command as Program;
use std::time::Duration;

use futures::future::join_all;
use tokio::process::Command;

use crate::peer::{self, Peer};
use crate::turns::Turn;
use crate::worker::{self, Order, Release};

/// So many workers, spread over so many processes.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    pub(crate) workers: usize,
    pub(crate) processes: usize,
    pub(crate) hold: Duration,
    pub(crate) time: Duration,
    pub(crate) release: Release,
    /// For how long the processes stay when the work is done.
    pub(crate) rest: Duration,
}

impl Fleet {
    /// Of ours, in one process.
    pub(crate) fn of(workers: usize, hold: Duration, time: Duration) -> Self {
        Self { workers, processes: 1, hold, time, release: Release::Own, rest: Duration::ZERO }
    }

    pub(crate) fn in_processes(mut self, processes: usize) -> Self {
        self.processes = processes.min(self.workers);
        self
    }

    pub(crate) fn released_by_strangers(mut self) -> Self {
        self.release = Release::Stranger;
        self
    }

    /// All names of workers, also of those that never get a turn.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let Self { workers, processes, .. } = *self;
        (0..workers).map(move |n| worker::name(n % processes, n / processes))
    }

    /// Starts the processes; they are bound to the governor and wait for [`Running::turns`].
    pub(crate) async fn start(&self, url: &str, governor: &str) -> Running {
        let orders = (0..self.processes).map(|process| Order {
            url: url.to_owned(),
            governor: governor.to_owned(),
            process,
            tasks: (process..self.workers).step_by(self.processes).count(),
            hold: self.hold,
            time: self.time,
            release: self.release,
            rest: self.rest,
        });
        let myself = std::env::current_exe().expect("a program");
        let start = async |order: Order| {
            let mut command = Program::new(&myself);
            command.arg(worker::ROLE).arg(serde_json::to_string(&order).expect("JSON"));
            let mut peer = Peer::spawn(&mut Command::from(command));
            assert_eq!(peer.line().await["event"], "ready");
            peer
        };
        Running(join_all(orders.map(start)).await)
    }

    pub(crate) async fn run(&self, url: &str, governor: &str) -> Vec<Turn> {
        self.start(url, governor).await.turns().await
    }

    /// The same number of choria's workers, in one process, each with a connection of its own. `strict`: how many slots
    /// there are, each of which goes to another worker next; 0: to whoever gets it.
    pub(crate) async fn of_choria(&self, url: &str, governor: &str, strict: u32) -> Vec<Turn> {
        let workers = self.workers.to_string();
        let (hold, time) = (format!("{}us", self.hold.as_micros()), format!("{}ms", self.time.as_millis()));
        let strict = strict.to_string();
        let flags = ["-workers", &workers, "-hold", &hold, "-for", &time, "-strict", &strict];
        peer::start("worker", url, governor, &flags).await.turns().await
    }
}

/// Processes that are ready.
#[derive(Debug)]
pub(crate) struct Running(Vec<Peer>);

impl Running {
    /// Lets them work, all at once.
    pub(crate) async fn go(&mut self) {
        for peer in &mut self.0 {
            peer.go_on().await;
        }
    }

    /// Lets them work and collects what they did.
    pub(crate) async fn turns(mut self) -> Vec<Turn> {
        self.go().await;
        self.collect().await
    }

    /// What they did, once they are done.
    pub(crate) async fn collect(self) -> Vec<Turn> {
        join_all(self.0.into_iter().map(Peer::turns)).await.concat()
    }
}
