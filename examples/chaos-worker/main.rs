//! A worker of `cargo xtask chaos`: it takes leases of a governor, uses them at a resource, and writes down what it
//! does. It is told what to do by its one argument, and by lines on its standard input: `storm N`, `stop`. It ends when
//! its input does.

mod admin;
mod client;
mod holding;
mod pool;

use std::error::Error;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sluicegate_core::LeasePool;
use sluicegate_governor::{CampaignPool, GovernorAdmin, GovernorConfig, NativePool, PoolOptions, Wire};
use sluicegate_nats::{Connection, Settings, Supervision, connect};
use sluicegate_testkit::check::{Op, Phase};
use sluicegate_testkit::record::Journal;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::client::{Client, Shared};
use self::pool::{Journaled, Tries};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Elections, and what faults that follow each other add.
const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Orders {
    process: String,
    role: Role,
    url: String,
    governor: String,
    native: bool,
    limit: NonZeroU32,
    ttl_ms: u64,
    replicas: NonZeroU8,
    clients: u32,
    resource: SocketAddr,
    seed: u64,
    /// Longest time for which a lease is usually held.
    hold_ms: u64,
    /// Every so manieth lease is held for as long as possible; zero: none.
    to_the_end: u64,
    /// It stands in line, and neither asks once nor drops attempts.
    only_waits: bool,
    /// One lease is kept when the others have stopped.
    keeps: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    /// Makes the governor, and ends.
    Make,
    /// Takes leases.
    Work,
    /// Resizes, evicts, changes the ttl, resets.
    Admin,
}

impl Orders {
    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }

    fn wire(&self) -> Wire {
        if self.native { Wire::Native } else { Wire::Campaign }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome {
    let orders: Orders = serde_json::from_str(&std::env::args().nth(1).unwrap_or_default())?;
    let settings = Settings::from_url(&orders.url)?
        .with_supervision(Supervision::default().ping_interval(Duration::from_secs(2)));
    let connection = patiently(async || connect(&settings).await).await?;
    match orders.role {
        Role::Make => make(&connection, &orders).await,
        Role::Work => work(&connection, orders).await,
        Role::Admin => {
            let journal = Journal::stdout(&orders.process);
            let governor = patiently(async || {
                GovernorAdmin::bind_on(&connection, &orders.governor, orders.wire()).await
            })
            .await?;
            let stop = CancellationToken::new();
            let working = admin::run(governor, orders, journal.clone(), stop.clone());
            let (told, ()) = tokio::join!(listen(&stop, |_| {}), working);
            told?;
            journal.write(Op::Exit, Phase::Event, |event| event);
            until_the_input_ends().await
        }
    }
}

/// Workers also start while something is broken.
async fn patiently<T, E: Into<Box<dyn Error + Send + Sync>>>(
    call: impl AsyncFn() -> Result<T, E>,
) -> Outcome<T> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() > give_up => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(250)).await,
        }
    }
}

async fn make(connection: &Connection, orders: &Orders) -> Outcome {
    let config = GovernorConfig::try_new(&orders.governor, orders.limit, orders.ttl())?
        .wire(orders.wire())
        .replicas(orders.replicas);
    patiently(async || GovernorAdmin::ensure(connection, &config).await).await.map(drop)
}

async fn work(connection: &Connection, orders: Orders) -> Outcome {
    let journal = Journal::stdout(&orders.process);
    let tries = Tries::default();
    let options = PoolOptions::default().resolve_for(PATIENCE).observer(tries.clone());
    let name = &orders.governor;
    let bound = bind(connection, name, orders.native, options).await?;
    let pool = Arc::new(Journaled::new(bound.pool(), journal.clone(), tries));
    let shared = Arc::new(Shared::new(orders, pool, journal.clone())?);
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    for c in 0..shared.orders.clients {
        tasks.spawn(Client::connect(c, &shared).await?.run(stop.clone()));
    }
    listen(&stop, |attempts| drop(tasks.spawn(Arc::clone(&shared).storm(attempts)))).await?;
    // Ends the waits of its clients, and releases what was dropped.
    shared.governor.close(PATIENCE).await;
    tasks.close();
    tasks.wait().await;
    if shared.orders.keeps {
        shared.keep_one().await?;
    }
    let closed = bound.close(PATIENCE).await;
    journal.write(Op::Exit, Phase::Event, |mut event| {
        event.text = closed.err().map(|error| error.to_string().into());
        event
    });
    until_the_input_ends().await
}

/// A handle of either kind.
enum Bound {
    Campaign(CampaignPool),
    Native(NativePool),
}

impl Bound {
    fn pool(&self) -> Arc<dyn LeasePool> {
        match self {
            Self::Campaign(pool) => Arc::new(pool.clone()),
            Self::Native(pool) => Arc::new(pool.clone()),
        }
    }

    async fn close(&self, within: Duration) -> Result<(), sluicegate_core::LeaseError> {
        match self {
            Self::Campaign(pool) => pool.close(within).await,
            Self::Native(pool) => pool.close(within).await,
        }
    }
}

async fn bind(connection: &Connection, name: &str, native: bool, options: PoolOptions) -> Outcome<Bound> {
    patiently(async || {
        let options = options.clone();
        if native {
            NativePool::bind_with(connection, name, options).await.map(Bound::Native)
        } else {
            CampaignPool::bind_with(connection, name, options).await.map(Bound::Campaign)
        }
    })
    .await
}

/// Does what it is told until it is told to stop, or nobody is left who could tell.
async fn listen(stop: &CancellationToken, mut storm: impl FnMut(u32)) -> Outcome {
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.split_once(' ') {
            Some(("storm", attempts)) => storm(attempts.parse()?),
            _ => break,
        }
    }
    stop.cancel();
    Ok(())
}

async fn until_the_input_ends() -> Outcome {
    let mut lines = BufReader::new(stdin()).lines();
    while lines.next_line().await?.is_some() {}
    Ok(())
}
