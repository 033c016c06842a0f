//! `sluicegate governor` as a user runs it.

mod api;
mod hold;
mod lost;
mod manage;
mod rights;
mod run;
mod show;
mod signals;
mod terminal;

use std::num::NonZeroU32;
use std::time::Duration;

use sluicegate_core::{Holder, Lease, LeasePool, Request};
use sluicegate_governor::{CampaignPool, GovernorAdmin, GovernorConfig};
use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_testkit::server::NatsServer;
use tokio::io::{BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::{Instant, sleep};

use crate::tool::{LONG, line, lines, tool_on};

/// One governor on a server, as the tests look at it.
struct Site<'a> {
    server: &'a NatsServer,
    connection: Connection,
    name: String,
}

impl<'a> Site<'a> {
    /// A governor of that name.
    async fn new(server: &'a NatsServer, name: &str, limit: u32, ttl: Duration) -> Self {
        let connection = connect(&Settings::from_url(&server.url()).unwrap()).await.unwrap();
        let config = GovernorConfig::try_new(name, NonZeroU32::new(limit).unwrap(), ttl).unwrap();
        GovernorAdmin::create(&connection, &config).await.unwrap();
        Self { server, connection, name: name.to_owned() }
    }

    async fn active(&self) -> u64 {
        let admin = GovernorAdmin::bind(&self.connection, &self.name).await.unwrap();
        admin.summary().await.unwrap().active.unwrap()
    }

    /// Waits until so many slots are held, at most for `within`.
    async fn until_active(&self, active: u64, within: Duration) {
        let begun = Instant::now();
        while self.active().await != active {
            let held = self.active().await;
            assert!(begun.elapsed() < within, "{held} slots held after {within:?} instead of {active}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A slot held by somebody else.
    async fn occupy(&self, holder: &[u8]) -> Lease {
        let pool = CampaignPool::bind(&self.connection, &self.name).await.unwrap();
        let request = Request::new(Holder::from_wire(holder));
        pool.try_acquire(&request).await.unwrap().expect("a free slot")
    }

    /// `governor run NAME` with these flags, of this command.
    fn run(&self, flags: &[&str], command: &[&str]) -> Child {
        let head = ["governor", "run", self.name.as_str()];
        tool_on(self.server, &[&head[..], flags, &["--"], command].concat()).spawn().unwrap()
    }

    /// The same of a shell script.
    fn script(&self, flags: &[&str], script: &str) -> Child {
        self.run(flags, &["sh", "-c", script])
    }
}

/// Process ids that the command writes on one line.
async fn pids(lines: &mut Lines<BufReader<ChildStdout>>) -> Vec<u32> {
    line(lines).await.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Whether the process runs: one that only waits to be reaped does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}
