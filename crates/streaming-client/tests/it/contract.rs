use sluicegate_nats::Connection;
use sluicegate_streaming_client::contract::{Fixture, streaming_contract};
use sluicegate_streaming_client::{Backend, JetStreamConfig, MemoryBroker};
use sluicegate_testkit::server::NatsServer;

use crate::support::connection;

struct Memory(MemoryBroker);

impl Memory {
    async fn new() -> Self {
        Self(MemoryBroker::new())
    }
}

impl Fixture for Memory {
    fn backend(&self) -> Backend {
        Backend::memory(self.0.clone())
    }

    fn freeze(&self) {
        self.0.freeze();
    }

    fn thaw(&self) {
        self.0.thaw();
    }
}

/// A server of its own each time, as some clauses freeze it.
struct JetStream(NatsServer, Connection);

impl JetStream {
    async fn new() -> Self {
        let server = NatsServer::start().await.unwrap();
        let connection = connection(&server).await;
        Self(server, connection)
    }
}

impl Fixture for JetStream {
    fn backend(&self) -> Backend {
        Backend::jetstream(JetStreamConfig::default(), self.1.clone())
    }

    fn freeze(&self) {
        self.0.pause().unwrap();
    }

    fn thaw(&self) {
        self.0.resume().unwrap();
    }
}

mod memory {
    use super::*;
    streaming_contract!(Memory::new().await, #[tokio::test(start_paused = true)]);
}

mod jetstream {
    use super::*;
    streaming_contract!(JetStream::new().await, #[tokio::test]);
}
