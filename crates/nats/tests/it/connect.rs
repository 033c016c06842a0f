use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use serde_json::Value;
use sluicegate_nats::{
    ConnectErrorKind, Connection, NatsEvent, RequestErrorKind, Settings, connect, connect_context,
    connect_observed,
};
use sluicegate_testkit::server::{Fault, NatsServer, Proxy};
use tokio::time::{Instant, timeout};

use crate::support::{
    PATIENCE, connected, echo, eventually, free_port, stored, stream, subscribed, text, until,
};

#[tokio::test]
async fn connects_asks_and_answers() {
    let server = NatsServer::shared().await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let seen = Arc::clone(&seen);
        move |event: &NatsEvent| seen.lock().unwrap().push(event.clone())
    };
    let settings = Settings::from_url(&server.url()).unwrap();
    let connection = connect_observed(&settings, Arc::new(observer)).await.unwrap();
    assert!(connection.is_connected());
    timeout(PATIENCE, connection.connected()).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [NatsEvent::Connected]);
    echo(&connection, "connect.echo").await;
    let answer = connection.request("connect.echo", None, text("hello"), PATIENCE).await.unwrap();
    assert_eq!(answer.payload, "hello");
    assert!(answer.subject.starts_with("_INBOX."), "{}", answer.subject);
}

#[tokio::test]
async fn errors_of_requests_say_what_happened() {
    let server = NatsServer::shared().await.unwrap();
    let connection = connected(&server.url()).await;
    let kind = async |subject: &str, payload: Vec<u8>, within: Duration| {
        connection.request(subject, None, payload.into(), within).await.unwrap_err().kind()
    };
    assert_eq!(kind("connect.nobody", Vec::new(), PATIENCE).await, RequestErrorKind::NoResponders);
    assert_eq!(kind("connect nobody", Vec::new(), PATIENCE).await, RequestErrorKind::Invalid);
    assert_eq!(kind("connect.nobody", vec![0; 2_000_000], PATIENCE).await, RequestErrorKind::TooLarge);
    let _silent = subscribed(&connection, "connect.silent").await;
    let short = Duration::from_millis(50);
    assert_eq!(kind("connect.silent", Vec::new(), short).await, RequestErrorKind::TimedOut);
}

#[tokio::test]
async fn errors_of_the_api_keep_their_codes() {
    let server = NatsServer::shared().await.unwrap();
    let connection = connected(&server.url()).await;
    let missing = connection.api::<Value>("STREAM.INFO.CONNECT_MISSING", &(), PATIENCE).await.unwrap_err();
    assert_eq!(missing.err_code(), Some(sluicegate_nats::code::STREAM_NOT_FOUND));
    let nonsense = connection.api::<Value>("STREAM.CREATE.X", &[1], PATIENCE).await.unwrap_err();
    assert_eq!(nonsense.err_code(), Some(sluicegate_nats::code::INVALID_JSON));
}

#[tokio::test]
async fn a_foreign_client_serves_without_events() {
    let server = NatsServer::shared().await.unwrap();
    let client = sluicegate_nats::async_nats::connect(server.url()).await.unwrap();
    let connection = Connection::from_client(client);
    timeout(PATIENCE, connection.connected()).await.unwrap();
    assert!(connection.is_connected());
    stream(&connection, "CONNECT_FOREIGN", serde_json::json!({})).await;
    assert_eq!(stored(&connection, "CONNECT_FOREIGN").await, 0);
    connection.drain(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_context_is_three_lines_to_a_connection() {
    let server = NatsServer::shared().await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("nats/context");
    std::fs::create_dir_all(&directory).unwrap();
    let context = serde_json::json!({ "url": server.url(), "inbox_prefix": "_INBOX.context" });
    std::fs::write(directory.join("prod.json"), context.to_string()).unwrap();
    let root = home.path().to_str().unwrap().to_owned();
    let env = move |name: &str| (name == "XDG_CONFIG_HOME").then(|| root.clone());
    let connection = connect_context("prod", &env).await.unwrap();
    echo(&connection, "connect.context").await;
    let answer = connection.request("connect.context", None, text("x"), PATIENCE).await.unwrap();
    assert!(answer.subject.starts_with("_INBOX.context."), "{}", answer.subject);
    let error = connect_context("prdo", &env).await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::ContextNotFound);
}

#[tokio::test]
async fn a_domain_reaches_both_kinds_of_calls() {
    let server = NatsServer::builder().jetstream_config("domain: hub").start().await.unwrap();
    let settings = Settings::builder().server(&server.url()).domain("hub").build().unwrap();
    let connection = connect(&settings).await.unwrap();
    stream(&connection, "CONNECT_DOMAIN", serde_json::json!({})).await;
    let info = connection.jetstream().get_stream("CONNECT_DOMAIN").await.unwrap().cached_info().clone();
    assert_eq!(info.config.name, "CONNECT_DOMAIN");
    let settings = Settings::builder().server(&server.url()).domain("elsewhere").build().unwrap();
    let lost = connect(&settings).await.unwrap();
    let error = lost.api::<Value>("STREAM.NAMES", &(), PATIENCE).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let settings = Settings::from_url(&format!("nats://127.0.0.1:{}", free_port())).unwrap();
    let error = connect(&settings).await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Unreachable);
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_server_that_says_nothing_is_unreachable_within_the_timeout() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let patience = Duration::from_millis(200);
    let settings =
        Settings::builder().server(&format!("nats://{address}")).timeout(patience).build().unwrap();
    let started = Instant::now();
    let error = connect(&settings).await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Unreachable);
    assert!(started.elapsed() >= patience, "it was given its time");
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_unreachable() {
    let settings = Settings::from_url("nats://nobody.invalid:4222").unwrap();
    assert_eq!(connect(&settings).await.unwrap_err().kind(), ConnectErrorKind::Unreachable);
}

#[tokio::test]
async fn a_server_without_tls_fails_a_client_that_wants_it() {
    let server = NatsServer::shared().await.unwrap();
    let settings = Settings::from_url(&server.url().replace("nats://", "tls://")).unwrap();
    let error = connect(&settings).await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Tls, "{error}");
}

#[tokio::test]
async fn requests_wait_for_the_connection_and_no_longer_than_they_may() {
    let server = NatsServer::start().await.unwrap();
    let connection = connected(&server.url()).await;
    stream(&connection, "S", serde_json::json!({ "storage": "file" })).await;
    let mut events = connection.events();
    server.kill().await.unwrap();
    until(&mut events, |event| *event == NatsEvent::Disconnected).await;
    assert!(!connection.is_connected());
    // More of them than async-nats takes before it hangs.
    let short = Duration::from_millis(100);
    let requests = (0..2_100).map(|_| connection.request("x", None, text(""), short));
    for answer in join_all(requests).await {
        assert_eq!(answer.unwrap_err().kind(), RequestErrorKind::NotConnected);
    }
    let waiting = tokio::spawn({
        let connection = connection.clone();
        async move { stored(&connection, "S").await }
    });
    server.restart().await.unwrap();
    assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap(), 0);
    until(&mut events, |event| *event == NatsEvent::Reconnected).await;
}

#[tokio::test]
async fn a_frozen_server_is_noticed_by_its_pings() {
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let interval = Duration::from_millis(200);
    let settings = Settings::from_url(&proxy.url())
        .unwrap()
        .with_supervision(sluicegate_nats::Supervision::default().ping_interval(interval));
    let connection = connect(&settings).await.unwrap();
    let mut events = connection.events();
    proxy.set(Fault::Hold);
    until(&mut events, |event| *event == NatsEvent::Disconnected).await;
    proxy.set(Fault::Pass);
    until(&mut events, |event| *event == NatsEvent::Reconnected).await;
}

#[tokio::test]
async fn the_last_clone_ends_the_connection() {
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let connection = connected(&proxy.url()).await;
    let clone = connection.clone();
    drop(connection);
    assert!(clone.is_connected());
    stream(&clone, "S", serde_json::json!({})).await;
    drop(clone);
    eventually("the connection is closed", || proxy.connections() == 0).await;
}

#[tokio::test]
async fn draining_waits_for_requests_in_flight() {
    let server = NatsServer::start().await.unwrap();
    let connection = connected(&server.url()).await;
    let other = connected(&server.url()).await;
    let mut requests = subscribed(&other, "slow").await;
    let request = tokio::spawn({
        let connection = connection.clone();
        async move { connection.request("slow", None, text("x"), PATIENCE).await }
    });
    let asked = timeout(PATIENCE, requests.next()).await.unwrap().unwrap();
    let draining = tokio::spawn({
        let connection = connection.clone();
        async move { connection.drain(PATIENCE).await }
    });
    let late = Duration::from_millis(100);
    assert!(timeout(late, connection.connected()).await.is_ok(), "the answer can still come");
    other.client().publish(asked.reply.unwrap(), text("y")).await.unwrap();
    assert_eq!(request.await.unwrap().unwrap().payload, "y");
    draining.await.unwrap().unwrap();
    assert!(!connection.is_connected());
    let error = connection.request("slow", None, text("x"), PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::NotConnected);
}
