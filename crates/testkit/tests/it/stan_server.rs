use std::time::Duration;

use sluicegate_testkit::server::{StanServer, StanStore};

use crate::wire::Wire;

/// One length-delimited field of a protobuf message.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("short values only");
    [&[number << 3 | 2, length], value].concat()
}

/// Registers a client and publishes one message; returns the acknowledgement.
async fn publish(server: &StanServer, client: &str) -> Vec<u8> {
    let mut wire = Wire::connect(server.addr()).await;
    let connect = [field(1, client.as_bytes()), field(2, b"heartbeats")].concat();
    let discovery = format!("_STAN.discover.{}", server.cluster_id());
    let answer = wire.request_bytes(&discovery, &connect).await;
    assert_eq!(answer.first(), Some(&10), "no prefix for publishing in {answer:?}");
    let prefix = String::from_utf8(answer[2..2 + usize::from(answer[1])].to_vec()).expect("text");
    let message =
        [field(1, client.as_bytes()), field(2, b"guid"), field(3, b"orders"), field(5, b"one")].concat();
    wire.request_bytes(&format!("{prefix}.orders"), &message).await
}

#[tokio::test]
async fn the_file_store_survives_a_kill() {
    let server = StanServer::builder().store(StanStore::File).start().await.unwrap();
    assert_eq!(
        publish(&server, "one").await,
        field(1, b"guid"),
        "an acknowledgement names the guid, no error"
    );
    let url = server.url();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(server.url(), url);
    let log = server.log().await;
    assert!(log.contains("Recovered 1 channel(s)"), "{log}");
}

#[tokio::test]
async fn the_memory_store_forgets() {
    let server =
        StanServer::builder().cluster_id("other").flags(["--max_channels", "7"]).start().await.unwrap();
    assert_eq!(publish(&server, "one").await, field(1, b"guid"));
    assert!(server.log().await.contains("[other]"));
    server.restart().await.unwrap();
    let log = server.log().await;
    assert!(!log.contains("Recovered 1 channel(s)"), "{log}");
    assert_eq!(publish(&server, "one").await, field(1, b"guid"));
}

#[tokio::test]
async fn a_paused_stan_server_is_silent() {
    let server = StanServer::start().await.unwrap();
    let mut wire = Wire::connect(server.addr()).await;
    server.pause().unwrap();
    assert!(!wire.answers(Duration::from_millis(300)).await);
    server.resume().unwrap();
    assert!(wire.pong().await, "a resumed server goes on");
}
