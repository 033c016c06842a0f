use std::net::SocketAddr;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::time::{Instant, sleep};

use super::process::{Process, free_address};
use super::unit::Unit;
use super::workdir::WorkDir;
use super::{Direction, Fault, NatsServer, NatsServerBuilder, Proxy, ServerError, ServerErrorKind};

const FORMED_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
const LEADER_KNOWN: &str = "JetStream cluster new metadata leader";
const LEADER_SELF: &str = "Self is new JetStream cluster metadata leader";

/// Nats-servers that form one JetStream cluster, as processes of this machine, whatever the environment says.
/// The nodes are named `n0`, `n1`, … and are disturbed like any other server.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<NatsServer>,
    links: Vec<Link>,
}

/// How one node makes a route to another: through a proxy. Of the two between each pair of nodes, one stays.
#[derive(Debug)]
struct Link {
    from: usize,
    to: usize,
    proxy: Proxy,
}

impl Link {
    fn touches(&self, node: usize) -> bool {
        self.from == node || self.to == node
    }
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
        Self::form(nodes, &node, false).await
    }

    /// The same, with a proxy on each route: nodes can be [cut off](Self::cut_off) from each other while they run and
    /// clients reach them. Clients are not told of nodes that they were not given.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_linked(nodes: usize, node: NatsServerBuilder) -> Result<Self, ServerError> {
        Self::form(nodes, &node, true).await
    }

    async fn form(nodes: usize, node: &NatsServerBuilder, linked: bool) -> Result<Self, ServerError> {
        let until = Instant::now() + FORMED_WITHIN;
        loop {
            if let Some(cluster) = Self::try_start(nodes, node, linked).await? {
                cluster.formed(until).await?;
                return Ok(cluster);
            }
        }
    }

    /// `None` = somebody took a port.
    async fn try_start(
        nodes: usize,
        node: &NatsServerBuilder,
        linked: bool,
    ) -> Result<Option<Self>, ServerError> {
        let routes = (0..nodes).map(|_| free_address()).collect::<Result<Vec<_>, _>>()?;
        let mut links = Vec::new();
        for (to, route) in routes.iter().enumerate().filter(|_| linked) {
            for from in (0..nodes).filter(|from| *from != to) {
                links.push(Link { from, to, proxy: Proxy::start(*route).await? });
            }
        }
        let starting = (0..nodes).map(|n| {
            let to_all = || routes.iter().map(ToString::to_string).collect();
            let of_links = || {
                let own = links.iter().filter(|link| link.from == n);
                own.map(|link| link.proxy.addr().to_string()).collect()
            };
            start_node(n, routes[n], if linked { of_links() } else { to_all() }, linked, node)
        });
        let started = try_join_all(starting).await?;
        Ok(started.into_iter().collect::<Option<Vec<_>>>().map(|nodes| Self { nodes, links }))
    }

    /// Holds back all that goes between this node and the others, both ways: routes stay open, and nothing comes.
    /// Does nothing unless the cluster was [started with links](Self::start_linked).
    pub fn cut_off(&self, node: usize) {
        for link in self.links.iter().filter(|link| link.touches(node)) {
            link.proxy.set(Fault::Hold);
        }
    }

    /// Lets everything pass between all nodes.
    pub fn heal(&self) {
        for link in &self.links {
            link.proxy.set(Fault::Pass);
        }
    }

    /// Bytes that are held back between this node and the others: above zero confirms that it is cut off.
    pub fn held_back(&self, node: usize) -> u64 {
        let own = self.links.iter().filter(|link| link.touches(node));
        own.map(|link| link.proxy.held(Direction::ToServer) + link.proxy.held(Direction::ToClient)).sum()
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
    listen: SocketAddr,
    others: Vec<String>,
    linked: bool,
    node: &NatsServerBuilder,
) -> Result<Option<NatsServer>, ServerError> {
    let others: Vec<String> = others.iter().map(|address| format!("nats://{address}")).collect();
    // Otherwise the nodes tell each other how to get around the proxies, and make several routes to each other.
    let only = if linked { ", no_advertise: true, pool_size: -1" } else { "" };
    let config =
        format!("cluster {{ name: sluicegate, listen: {:?}, routes: {others:?}{only} }}", listen.to_string());
    let node = node.clone().name(format!("n{n}")).config(&config);
    let process: Process = node.process(WorkDir::create()?, free_address()?).await?;
    let started = process.try_start().await?;
    let version = node.wanted_version().to_owned();
    Ok(started.then(|| NatsServer::from_unit(Unit::Process(process), version)))
}
