//! The servers of a cell, and what their API says.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_testkit::server::{Cluster, NatsServer, ServerError, ask};
use tokio::time::{Instant, sleep};

use super::cells::Cell;
use crate::shell::{Doing, Failure, Outcome};

/// Longer than elections in a row take.
pub(super) const HEALED_WITHIN: Duration = Duration::from_secs(90);
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);
const POLL: Duration = Duration::from_millis(50);

pub(super) struct Arena {
    servers: Servers,
    pub(super) stream: String,
}

enum Servers {
    One(Box<NatsServer>),
    Three(Cluster),
}

impl Arena {
    pub(super) async fn start(cell: &Cell, version: Option<&str>) -> Result<Self, ServerError> {
        let builder = NatsServer::builder();
        let builder = if let Some(version) = version { builder.version(version) } else { builder };
        let servers = if cell.replicas > 1 {
            Servers::Three(Cluster::start_linked(3, builder).await?)
        } else {
            Servers::One(Box::new(builder.start().await?))
        };
        let wire = if cell.native { "GOVERNOR2" } else { "GOVERNOR" };
        Ok(Self { servers, stream: format!("{wire}_chaos") })
    }

    pub(super) fn nodes(&self) -> &[NatsServer] {
        match &self.servers {
            Servers::One(server) => std::slice::from_ref(server),
            Servers::Three(cluster) => cluster.nodes(),
        }
    }

    pub(super) fn cluster(&self) -> Option<&Cluster> {
        match &self.servers {
            Servers::One(_) => None,
            Servers::Three(cluster) => Some(cluster),
        }
    }

    pub(super) fn version(&self) -> &str {
        self.nodes()[0].version()
    }

    async fn request(&self, node: SocketAddr, verb: &str, body: &Value) -> Option<Value> {
        let subject = format!("$JS.API.{verb}.{}", self.stream);
        ask(node, &subject, body, ANSWER_WITHIN).await.ok().filter(|answer| answer["error"].is_null())
    }

    /// STREAM.INFO, as that node answers.
    pub(super) async fn info(&self, node: usize) -> Option<Value> {
        let info = self.request(self.nodes()[node].addr(), "STREAM.INFO", &Value::Null).await?;
        info["state"].is_object().then_some(info)
    }

    /// The node that leads the stream, as one of the others (or any, if `not` is none) sees it.
    pub(super) async fn leader(&self, not: Option<usize>) -> Option<usize> {
        for node in (0..self.nodes().len()).filter(|node| Some(*node) != not) {
            if self.nodes()[node].pid().is_none() {
                continue;
            }
            let Some(info) = self.info(node).await else { continue };
            if self.cluster().is_none() {
                return Some(0);
            }
            let leader = info["cluster"]["leader"].as_str().and_then(|name| name.strip_prefix('n'));
            if let Some(leader) = leader.and_then(|n| n.parse().ok()).filter(|leader| Some(*leader) != not) {
                return Some(leader);
            }
        }
        None
    }

    /// Waits until another node leads.
    pub(super) async fn led_by_another(&self, than: usize, within: Duration) -> Option<usize> {
        let until = Instant::now() + within;
        loop {
            if let Some(leader) = self.leader(Some(than)).await {
                return Some(leader);
            }
            if Instant::now() >= until {
                return None;
            }
            sleep(POLL).await;
        }
    }

    /// Asks the leader to step down, for another one if that is asked for.
    pub(super) async fn step_down(&self, leader: usize, preferred: Option<usize>) {
        // Nothing, and not `null`, which older servers refuse.
        let body = preferred.map(|node| json!({"placement": {"preferred": format!("n{node}")}}));
        self.request(self.nodes()[leader].addr(), "STREAM.LEADER.STEPDOWN", &body.unwrap_or_default()).await;
    }

    /// Waits until there is a leader, and all replicas are with it.
    pub(super) async fn healed(&self) -> Outcome {
        let until = Instant::now() + HEALED_WITHIN;
        loop {
            let mut last = Value::Null;
            if let Some(leader) = self.leader(None).await
                && let Some(info) = self.info(leader).await
            {
                let replicas = info["cluster"]["replicas"].as_array().map_or(&[][..], Vec::as_slice);
                let current = replicas.iter().all(|replica| replica["current"] == true);
                if current && (self.cluster().is_none() || replicas.len() + 1 == self.nodes().len()) {
                    return Ok(());
                }
                last = info["cluster"].clone();
            }
            if Instant::now() >= until {
                return Err(Failure::new(format!("the stream is not well after {HEALED_WITHIN:?}: {last}")));
            }
            sleep(POLL).await;
        }
    }

    /// All that the stream has stored, as the present leader has it: sequences, and the messages for people.
    pub(super) async fn stored(&self, leader: usize) -> Outcome<Vec<(u64, Value)>> {
        let node = self.nodes()[leader].addr();
        let subject = format!("$JS.API.STREAM.MSG.GET.{}", self.stream);
        let mut found = Vec::new();
        let mut next = 1;
        loop {
            let body = json!({"seq": next, "next_by_subj": ">"});
            let answer = ask(node, &subject, &body, ANSWER_WITHIN).await.doing("walk through the stream")?;
            if answer["error"]["err_code"] == 10037 {
                return Ok(found);
            }
            let Some(sequence) = answer["message"]["seq"].as_u64().filter(|seq| *seq >= next) else {
                return Err(Failure::new(format!("cannot walk through the stream: {answer}")));
            };
            found.push((sequence, answer["message"].clone()));
            next = sequence + 1;
        }
    }
}
