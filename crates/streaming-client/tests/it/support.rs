use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_testkit::server::NatsServer;

pub(crate) async fn connection(server: &NatsServer) -> Connection {
    connect(&Settings::from_url(&server.url()).unwrap()).await.unwrap()
}
