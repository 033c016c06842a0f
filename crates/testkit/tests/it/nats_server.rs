use std::time::Duration;

use serde_json::json;
use sluicegate_testkit::server::{NATS_VERSION, NatsServer, ServerErrorKind};

use crate::wire::Wire;

#[tokio::test]
async fn a_killed_server_comes_back_with_its_port_and_its_data() {
    let server = NatsServer::start().await.unwrap();
    let (url, addr) = (server.url(), server.addr());
    let mut wire = Wire::connect(addr).await;
    wire.create_stream("DATA").await;
    for n in 0..10 {
        let ack = wire.request("DATA.x", &json!({"n": n})).await;
        assert_eq!(ack["seq"], n + 1, "{ack}");
    }

    server.kill().await.unwrap();
    assert_eq!(server.pid(), None);
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "a killed server accepts connections");
    server.restart().await.unwrap();

    assert_eq!((server.url(), server.addr()), (url, addr));
    assert_eq!(Wire::connect(addr).await.stored("DATA").await, 10);
}

#[tokio::test]
async fn stop_and_restart_of_a_living_server_keep_the_data() {
    let server = NatsServer::start().await.unwrap();
    Wire::connect(server.addr()).await.create_stream("KEPT").await;
    let first = server.pid();
    server.restart().await.unwrap();
    assert!(first.is_none() || server.pid() != first, "the same process runs on");
    assert_eq!(Wire::connect(server.addr()).await.stored("KEPT").await, 0);
    server.stop().await.unwrap();
    server.stop().await.unwrap();
    assert_eq!(server.pid(), None);
}

#[tokio::test]
async fn a_paused_server_is_silent_until_it_is_resumed() {
    let server = NatsServer::start().await.unwrap();
    let mut wire = Wire::connect(server.addr()).await;
    assert!(wire.answers(Duration::from_secs(5)).await);
    server.pause().unwrap();
    assert!(!wire.answers(Duration::from_millis(300)).await, "a paused server answered");
    server.resume().unwrap();
    assert!(wire.pong().await, "a resumed server goes on");

    server.pause().unwrap();
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    assert!(Wire::connect(server.addr()).await.answers(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn faults_on_a_dead_server_are_errors() {
    let server = NatsServer::start().await.unwrap();
    server.kill().await.unwrap();
    assert_eq!(server.pause().unwrap_err().kind(), ServerErrorKind::State);
    assert_eq!(server.kill().await.unwrap_err().kind(), ServerErrorKind::State);
}

#[tokio::test]
async fn the_configuration_reaches_the_server() {
    let server = NatsServer::builder()
        .version("2.10.26")
        .name("told")
        .jetstream_config("domain: hub")
        .config("max_payload: 4096")
        .start()
        .await
        .unwrap();
    assert_eq!(server.version(), "2.10.26");
    let info = Wire::info(server.addr()).await;
    assert_eq!(info["version"], "2.10.26");
    assert_eq!(info["server_name"], "told");
    assert_eq!(info["max_payload"], 4096);
    assert_eq!(info["domain"], "hub");

    let bare = NatsServer::builder().jetstream(false).start().await.unwrap();
    assert_eq!(Wire::info(bare.addr()).await["jetstream"].as_bool(), None);
}

#[tokio::test]
async fn a_wrong_configuration_is_reported_with_the_servers_words() {
    let error = NatsServer::builder().config("no_such_option: 1").start().await.unwrap_err();
    assert_eq!(error.kind(), ServerErrorKind::Start);
    assert!(error.to_string().contains("no_such_option"), "{error}");
}

#[test]
fn the_shared_server_outlives_the_runtime_that_started_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime().block_on(async { NatsServer::shared().await.unwrap().pid() });
    let (second, info) = runtime().block_on(async {
        let server = NatsServer::shared().await.unwrap();
        (server.pid(), Wire::info(server.addr()).await)
    });
    assert_eq!(first, second);
    assert_eq!(info["version"], NATS_VERSION);
}

#[tokio::test]
async fn a_port_that_is_asked_for_is_had_or_refused() {
    let taken = NatsServer::shared().await.unwrap().addr().port();
    let error = NatsServer::builder().port(taken).start().await.unwrap_err();
    assert_eq!(error.kind(), ServerErrorKind::Start);
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}
