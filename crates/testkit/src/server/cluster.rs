use std::net::SocketAddr;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::time::{Instant, sleep};

use super::process::{Process, free_address};
use super::unit::Unit;
use super::workdir::WorkDir;
use super::{NatsServer, NatsServerBuilder, ServerError, ServerErrorKind};

const FORMED_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
const LEADER_KNOWN: &str = "JetStream cluster new metadata leader";
const LEADER_SELF: &str = "Self is new JetStream cluster metadata leader";

/// Nats-servers that form one JetStream cluster, as processes of this machine, whatever the environment says.
/// The nodes are named `n0`, `n1`, … and are disturbed like any other server.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<NatsServer>,
}

impl Cluster {
    /// That many nodes of nats-server [`NATS_VERSION`](super::NATS_VERSION); three make streams with three replicas
    /// possible. Done when all nodes know the leader.
    ///
    /// # Errors
    ///
    /// No server could be had, or they did not form a cluster within a minute.
    pub async fn start(nodes: usize) -> Result<Self, ServerError> {
        Self::start_with(nodes, NatsServer::builder()).await
    }

    /// The same with a version or a configuration for all nodes.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_with(nodes: usize, node: NatsServerBuilder) -> Result<Self, ServerError> {
        let until = Instant::now() + FORMED_WITHIN;
        loop {
            if let Some(cluster) = Self::try_start(nodes, &node).await? {
                cluster.formed(until).await?;
                return Ok(cluster);
            }
        }
    }

    /// `None` = somebody took a port.
    async fn try_start(nodes: usize, node: &NatsServerBuilder) -> Result<Option<Self>, ServerError> {
        let routes = (0..nodes).map(|_| free_address()).collect::<Result<Vec<_>, _>>()?;
        let starting = (0..nodes).map(|n| start_node(n, &routes, node));
        let started = try_join_all(starting).await?;
        Ok(started.into_iter().collect::<Option<Vec<_>>>().map(|nodes| Self { nodes }))
    }

    /// The nodes, in the order of their names.
    pub fn nodes(&self) -> &[NatsServer] {
        &self.nodes
    }

    /// The node of that name, as a stream's description names its leader.
    pub fn node(&self, name: &str) -> Option<&NatsServer> {
        self.nodes.get(name.strip_prefix('n')?.parse::<usize>().ok()?)
    }

    /// The URLs of all nodes.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(NatsServer::url).collect()
    }

    async fn formed(&self, until: Instant) -> Result<(), ServerError> {
        loop {
            let logs = join_all(self.nodes.iter().map(NatsServer::log)).await;
            if logs.iter().all(|log| log.contains(LEADER_KNOWN) || log.contains(LEADER_SELF)) {
                return Ok(());
            }
            if Instant::now() >= until {
                let context =
                    format!("the nodes did not elect a leader within {FORMED_WITHIN:?}\n{}", logs.concat());
                return Err(ServerError::new(ServerErrorKind::Start, context));
            }
            sleep(POLL).await;
        }
    }
}

async fn start_node(
    n: usize,
    routes: &[SocketAddr],
    node: &NatsServerBuilder,
) -> Result<Option<NatsServer>, ServerError> {
    let others: Vec<String> = routes.iter().map(|address| format!("nats://{address}")).collect();
    let config =
        format!("cluster {{ name: sluicegate, listen: {:?}, routes: {others:?} }}", routes[n].to_string());
    let node = node.clone().name(format!("n{n}")).config(&config);
    let process: Process = node.process(WorkDir::create()?, free_address()?).await?;
    let started = process.try_start().await?;
    let version = node.wanted_version().to_owned();
    Ok(started.then(|| NatsServer::from_unit(Unit::Process(process), version)))
}
