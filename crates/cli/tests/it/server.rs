//! The demo on a real server.

use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_testkit::server::NatsServer;
use tokio::time::{sleep, timeout};

use crate::tool::{ended, run, signal, tool, until_says};

const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn connection(server: &NatsServer) -> Connection {
    connect(&Settings::from_url(&server.url()).unwrap()).await.unwrap()
}

/// The streams there are, in the order of their names.
pub(crate) async fn streams(connection: &Connection) -> Vec<String> {
    let answer: Value = connection.api("STREAM.NAMES", &json!({}), TIMEOUT).await.unwrap();
    let mut names: Vec<String> = serde_json::from_value(answer["streams"].clone()).unwrap_or_default();
    names.sort();
    names
}

/// Waits until the workers have been given that many orders.
async fn until_delivered(connection: &Connection, id: &str, orders: u64) {
    let verb = format!("CONSUMER.INFO.SGDEMO_{id}.WORKERS");
    let given = async {
        loop {
            let info = connection.api::<Value>(&verb, &(), TIMEOUT).await;
            if info.is_ok_and(|info| info["delivered"]["consumer_seq"].as_u64() >= Some(orders)) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), given).await.expect("the workers get orders");
}

#[tokio::test]
async fn the_story_passes_and_leaves_nothing_behind() {
    let server = NatsServer::start().await.unwrap();
    let told =
        run(&["demo", "--server", &server.url(), "--orders", "2000", "--id", "TIDY01", "--json"]).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert!(told.all_verdicts("ok"), "{told:#?}");
    assert_eq!(told.document()["parameters"]["backend"], "nats");
    assert_eq!(streams(&connection(&server).await).await, Vec::<String>::new());
    assert!(!std::env::temp_dir().join("SGDEMO_TIDY01").exists(), "the rows are gone too");
}

#[tokio::test]
async fn what_is_kept_is_told() {
    let server = NatsServer::start().await.unwrap();
    let told = run(&["demo", "--server", &server.url(), "--orders", "100", "--id", "KEEP01", "--keep"]).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    let kept = ["GOVERNOR2_SGDEMO_KEEP01", "GOVERNOR_SGDEMO_KEEP01", "SGDEMO_KEEP01"];
    assert_eq!(streams(&connection(&server).await).await, kept);
    for name in kept {
        assert!(told.stderr.contains(name), "{told:#?}");
    }
    let rows = std::env::temp_dir().join("SGDEMO_KEEP01");
    assert!(rows.join("orders.sqlite").exists());
    std::fs::remove_dir_all(rows).unwrap();
}

#[tokio::test]
async fn a_server_killed_in_the_middle_does_not_spoil_the_story() {
    let server = NatsServer::start().await.unwrap();
    let connection = connection(&server).await;
    let args = ["demo", "--server", &server.url(), "--orders", "6000", "--id", "KILL01", "--json", "-v"];
    let child = tool(&args).spawn().unwrap();
    let telling = tokio::spawn(ended(child));
    until_delivered(&connection, "KILL01", 500).await;
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    until_delivered(&connection, "KILL01", 3_500).await;
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let told = timeout(Duration::from_secs(180), telling).await.expect("the story ends").unwrap();
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert!(told.all_verdicts("ok"), "{told:#?}");
    assert_eq!(streams(&connection).await, Vec::<String>::new());
}

#[tokio::test]
async fn an_interrupted_story_cleans_up_after_itself() {
    let server = NatsServer::start().await.unwrap();
    let connection = connection(&server).await;
    let args = ["demo", "--server", &server.url(), "--orders", "20000", "--id", "INT001", "--json"];
    let mut child = tool(&args).spawn().unwrap();
    let rest = until_says(&mut child, "1/5 stream").await;
    until_delivered(&connection, "INT001", 100).await;
    signal(&child, "TERM").await;
    let told = timeout(Duration::from_secs(60), ended(child)).await.expect("it ends");
    let said = rest.await.unwrap();
    assert_eq!(told.code, Some(143), "{told:#?}\n{said}");
    let checks = told.document()["checks"].clone();
    assert!(checks.as_array().unwrap().iter().all(|check| check["verdict"] != "failed"), "{checks:#}");
    assert_eq!(streams(&connection).await, Vec::<String>::new());
    assert!(!std::env::temp_dir().join("SGDEMO_INT001").exists());
}
