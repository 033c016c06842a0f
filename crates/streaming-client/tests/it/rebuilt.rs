use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use sluicegate_nats::{
    Connection, NatsEvent, ResolveError, SecretBytes, SecretResolver, Settings, Supervision, connect,
};
use sluicegate_streaming_client::{Backend, JetStreamConfig, StreamMap};
use sluicegate_testkit::server::NatsServer;
use tokio::time::timeout;

use crate::support::{api, builder};

/// Asked once by each client, so that a client that is refused stays so.
#[derive(Debug)]
struct Vault(Mutex<&'static str>);

impl SecretResolver for Vault {
    fn schemes(&self) -> &[&str] {
        &["vault"]
    }

    fn resolve(&self, _reference: &str) -> Result<SecretBytes, ResolveError> {
        Ok(self.0.lock().unwrap().as_bytes().to_vec().into())
    }
}

/// A server on that port where bob has that password, with a stream.
async fn server(port: u16, password: &str) -> NatsServer {
    let config = format!("authorization {{ users: [{{ user: bob, password: {password:?} }}] }}\n");
    let server = NatsServer::builder().port(port).config(&config).start().await.unwrap();
    let url = format!("nats://bob:{password}@127.0.0.1:{port}");
    let admin: Connection = connect(&Settings::from_url(&url).unwrap()).await.unwrap();
    api(&admin, "STREAM.CREATE.S", json!({ "name": "S", "subjects": ["s"], "storage": "memory" })).await;
    server
}

#[tokio::test]
async fn publishes_and_subscriptions_move_to_a_rebuilt_client() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let before = server(port, "old").await;
    let vault = Arc::new(Vault(Mutex::new("old")));
    let settings = Settings::builder()
        .server(&format!("nats://127.0.0.1:{port}"))
        .resolver(Arc::clone(&vault) as Arc<dyn SecretResolver>)
        .user_and_password("bob", "vault://bob")
        .supervision(Supervision::default().refused_after(Duration::from_millis(300)))
        .build()
        .unwrap();
    let connection = connect(&settings).await.unwrap();
    let mut events = connection.events();
    let config = JetStreamConfig::default().map("orders", StreamMap::existing("S", "s"));
    let client = builder("one").backend(Backend::jetstream(config, connection)).connect().await.unwrap();
    let mut subscription = client.subscribe("orders").open().await.unwrap();
    client.publish("orders", "first").await.unwrap();
    assert_eq!(subscription.next().await.unwrap().data().as_ref(), b"first");

    before.kill().await.unwrap();
    let _after = server(port, "new").await;
    *vault.0.lock().unwrap() = "new";
    let rebuilt = async { while events.recv().await.unwrap() != NatsEvent::ClientRebuilt {} };
    timeout(Duration::from_secs(30), rebuilt).await.expect("it is rebuilt");
    client.publish("orders", "second").await.unwrap();
    let next = timeout(Duration::from_secs(30), subscription.next()).await;
    assert_eq!(next.expect("it is heard").unwrap().data().as_ref(), b"second");
}
