//! `sluicegate capacity` as a user runs it.

mod manage;
mod rights;
mod show;
mod terminal;

use sluicegate_core::{Holder, Lease, LeasePool, Request};
use sluicegate_governor::{CapacityAdmin, CapacityConfig, CapacityPool};
use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_testkit::server::NatsServer;

use crate::tool::{Ended, run_on};

/// One capacity on a server, as the tests look at it.
struct Site {
    connection: Connection,
    name: String,
}

impl Site {
    /// A capacity of that name whose leases last for ten minutes.
    async fn new(server: &NatsServer, name: &str, total: u64, factor: u64) -> Self {
        let connection = connect(&Settings::from_url(&server.url()).unwrap()).await.unwrap();
        let config = CapacityConfig::try_new(name, total, factor).unwrap();
        let config = config.ttl(std::time::Duration::from_secs(600));
        CapacityAdmin::create(&connection, &config).await.unwrap();
        Self { connection, name: name.to_owned() }
    }

    /// So many leases held by somebody else.
    async fn occupy(&self, holder: &[u8], leases: usize) -> Vec<Lease> {
        let pool = CapacityPool::bind(&self.connection, &self.name).await.unwrap().pool;
        let request = Request::new(Holder::from_wire(holder));
        let mut held = Vec::new();
        for _ in 0..leases {
            held.push(pool.try_acquire(&request).await.unwrap().expect("a free lease"));
        }
        held
    }

    async fn held(&self) -> u64 {
        let admin = CapacityAdmin::bind(&self.connection, &self.name).await.unwrap();
        admin.governor().summary().await.unwrap().active.unwrap()
    }
}

async fn capacity(server: &NatsServer, args: &[&str]) -> Ended {
    run_on(server, &[&["capacity"], args].concat()).await
}
