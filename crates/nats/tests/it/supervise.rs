use std::time::Duration;

use serde_json::json;
use sluicegate_nats::{NatsEvent, RequestErrorKind, Settings, Supervision, connect};
use sluicegate_testkit::server::NatsServer;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::support::{connected, eventually, free_port, stored, stream, text, until};

#[tokio::test]
async fn a_client_that_ended_is_replaced() {
    let server = NatsServer::shared().await.unwrap();
    let connection = connected(&server.url()).await;
    let mut events = connection.events();
    connection.client().drain().await.unwrap();
    let seen = until(&mut events, |event| *event == NatsEvent::Reconnected).await;
    assert!(seen.contains(&NatsEvent::ClientRebuilt), "{seen:?}");
    stream(&connection, "SUPERVISE_ENDED", json!({})).await;
    assert_eq!(stored(&connection, "SUPERVISE_ENDED").await, 0);
}

#[tokio::test]
async fn a_drained_connection_stays_so_though_a_client_was_being_made() {
    let server = NatsServer::start().await.unwrap();
    let connection = connected(&server.url()).await;
    let mut events = connection.events();
    // The next client is greeted by nobody.
    server.pause().unwrap();
    connection.client().drain().await.unwrap();
    eventually("the client ends", || !connection.is_connected()).await;
    let error = connection.drain(Duration::MAX).await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::NotConnected, "{error}");
    server.resume().unwrap();
    // What waited for the server would have been served before this.
    for _ in 0..3 {
        drop(connected(&server.url()).await);
    }
    assert!(!connection.is_connected());
    while let Ok(event) = events.try_recv() {
        assert_ne!(event, NatsEvent::ClientRebuilt);
    }
    assert!(connection.request("nobody", None, text("x"), Duration::MAX).await.is_err(), "at once");
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told() {
    let server = NatsServer::shared().await.unwrap();
    let connection = connected(&server.url()).await;
    let mut events = connection.events();
    let stuck = connection.client().subscribe("supervise.flood").await.unwrap();
    let client = connection.client();
    for _ in 0..70_000 {
        client.publish("supervise.flood", "x".into()).await.unwrap();
    }
    until(&mut events, |event| matches!(event, NatsEvent::SlowConsumer { .. })).await;
    drop(stuck);
}

/// Enough of a server to be connected to and to announce that it goes away.
async fn lame_duck(port: u16) {
    let info = |ldm: bool| {
        let info = json!({
            "server_id": "FAKE", "server_name": "fake", "version": "2.11.0", "host": "127.0.0.1", "port": port,
            "headers": true, "max_payload": 1_048_576, "proto": 1, "ldm": ldm,
        });
        format!("INFO {info}\r\n")
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    drop(listener);
    let (read, mut write) = socket.into_split();
    write.write_all(info(false).as_bytes()).await.unwrap();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line == "PING" {
            write.write_all(b"PONG\r\n").await.unwrap();
            write.write_all(info(true).as_bytes()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_client_leaves_a_server_that_goes_away() {
    let port = free_port();
    let fake = tokio::spawn(lame_duck(port));
    let url = format!("nats://127.0.0.1:{port}");
    let settings = Settings::from_url(&url).unwrap().with_supervision(Supervision::default());
    let connection = loop {
        // Until the fake listens.
        if let Ok(connection) = connect(&settings).await {
            break connection;
        }
    };
    let mut events = connection.events();
    // The client hung up: the fake is over without having closed anything itself.
    fake.await.unwrap();
    let _server = NatsServer::builder().port(port).start().await.unwrap();
    until(&mut events, |event| *event == NatsEvent::Reconnected).await;
    stream(&connection, "S", json!({})).await;
}
