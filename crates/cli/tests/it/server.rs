//! The demo on a real server.

use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_testkit::server::NatsServer;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::tool::{ended, signal, tool, until_says};

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

/// The tool, with a folder of its own for temporary files.
pub(crate) fn tool_in(temp: &TempDir, args: &[&str]) -> Command {
    let mut command = tool(args);
    command.env("TMPDIR", temp.path());
    command
}

/// How much there is in that folder.
pub(crate) fn entries(temp: &TempDir) -> usize {
    std::fs::read_dir(temp.path()).unwrap().count()
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
    let temp = tempfile::tempdir().unwrap();
    let args = ["demo", "--server", &server.url(), "--orders", "2000", "--id", "TIDY01", "--json"];
    let told = ended(tool_in(&temp, &args).spawn().unwrap()).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert!(told.all_verdicts("ok"), "{told:#?}");
    assert_eq!(told.document()["parameters"]["backend"], "nats");
    assert_eq!(streams(&connection(&server).await).await, Vec::<String>::new());
    assert_eq!(entries(&temp), 0, "the rows are gone too");
}

#[tokio::test]
async fn what_is_kept_is_told() {
    let server = NatsServer::start().await.unwrap();
    let temp = tempfile::tempdir().unwrap();
    let args = ["demo", "--server", &server.url(), "--orders", "100", "--id", "KEEP01", "--keep"];
    let told = ended(tool_in(&temp, &args).spawn().unwrap()).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    let kept = ["GOVERNOR2_SGDEMO_KEEP01", "GOVERNOR_SGDEMO_KEEP01", "SGDEMO_KEEP01"];
    assert_eq!(streams(&connection(&server).await).await, kept);
    for name in kept {
        assert!(told.stderr.contains(name), "{told:#?}");
    }
    assert!(temp.path().join("SGDEMO_KEEP01/orders.sqlite").exists());
}

#[tokio::test]
async fn a_server_killed_in_the_middle_does_not_spoil_the_story() {
    let server = NatsServer::start().await.unwrap();
    let connection = connection(&server).await;
    let args = ["demo", "--server", &server.url(), "--orders", "6000", "--id", "KILL01", "--json", "-v"];
    let temp = tempfile::tempdir().unwrap();
    let child = tool_in(&temp, &args).spawn().unwrap();
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
    assert_eq!(entries(&temp), 0);
}

#[tokio::test]
async fn a_server_killed_at_the_end_loses_neither_the_checks_nor_the_cleanup() {
    let server = NatsServer::start().await.unwrap();
    let connection = connection(&server).await;
    let args = ["demo", "--server", &server.url(), "--orders", "200", "--id", "KILL02", "--json"];
    let temp = tempfile::tempdir().unwrap();
    let mut child = tool_in(&temp, &args).spawn().unwrap();
    // The last thing that is told before the server is asked what it has seen.
    let rest = until_says(&mut child, "4/5 batcher").await;
    server.kill().await.unwrap();
    let telling = tokio::spawn(ended(child));
    // Longer than one try of the tool waits for its answer.
    sleep(TIMEOUT + Duration::from_secs(2)).await;
    server.restart().await.unwrap();
    let told = timeout(Duration::from_secs(120), telling).await.expect("the story ends").unwrap();
    let said = rest.await.unwrap();
    assert_eq!(told.code, Some(0), "{told:#?}\n{said}");
    assert!(told.all_verdicts("ok"), "{told:#?}\n{said}");
    assert_eq!(streams(&connection).await, Vec::<String>::new());
    assert_eq!(entries(&temp), 0);
}

#[tokio::test]
async fn what_cannot_be_removed_is_named_and_the_rest_removed() {
    let users = r#"authorization { users = [
        { user: "all", password: "p" },
        { user: "some", password: "p", permissions: { publish: { deny: ["$JS.API.STREAM.DELETE.SGDEMO_DENY02"] } } },
    ] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let temp = tempfile::tempdir().unwrap();
    let url = server.url();
    let args = ["demo", "--server", &url, "--user", "some", "--password", "p", "--orders", "100"];
    let told = tool_in(&temp, &[&args[..], &["--id", "DENY02", "--json"]].concat()).spawn().unwrap();
    let told = ended(told).await;
    assert_eq!(told.code, Some(77), "{told:#?}");
    assert!(told.all_verdicts("ok"), "the result stands on stdout all the same: {told:#?}");
    let error = told.error();
    assert_eq!(error["code"], "not_permitted");
    assert_eq!(error["help"], "remove what is left: nats stream rm SGDEMO_DENY02");
    let all = Settings::builder().server(&url).user_and_password("all", "p").build().unwrap();
    assert_eq!(streams(&connect(&all).await.unwrap()).await, ["SGDEMO_DENY02"]);
    assert_eq!(entries(&temp), 0);
}

#[tokio::test]
async fn a_story_that_fails_ends_in_order_and_its_error_is_the_last_word() {
    let users = r#"authorization { users = [
        { user: "all", password: "p" },
        { user: "some", password: "p", permissions: {
            publish: { deny: ["sgdemo.deny03.orders", "$JS.API.STREAM.DELETE.SGDEMO_DENY03"] } } },
    ] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let temp = tempfile::tempdir().unwrap();
    let url = server.url();
    let args = ["demo", "--server", &url, "--user", "some", "--password", "p", "--orders", "100"];
    let told = tool_in(&temp, &[&args[..], &["--id", "DENY03", "--json"]].concat()).spawn().unwrap();
    let told = timeout(Duration::from_secs(60), ended(told)).await.expect("it ends");
    assert_eq!(told.code, Some(77), "{told:#?}");
    let checks = told.document()["checks"].clone();
    let verdicts: Vec<&str> =
        checks.as_array().unwrap().iter().map(|check| check["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["failed", "failed", "unmeasured", "unmeasured", "ok", "ok"], "{checks:#}");
    let error = told.error();
    assert_eq!(error["code"], "not_permitted");
    assert!(error["message"].as_str().unwrap().contains("publishing order-0"), "{error:#}");
    assert!(told.stderr.contains("remove what is left: nats stream rm SGDEMO_DENY03"), "{told:#?}");
    let all = Settings::builder().server(&url).user_and_password("all", "p").build().unwrap();
    assert_eq!(streams(&connect(&all).await.unwrap()).await, ["SGDEMO_DENY03"]);
}

#[tokio::test]
async fn an_interrupted_story_cleans_up_after_itself() {
    let server = NatsServer::start().await.unwrap();
    let connection = connection(&server).await;
    let args = ["demo", "--server", &server.url(), "--orders", "20000", "--id", "INT001", "--json"];
    let temp = tempfile::tempdir().unwrap();
    let mut child = tool_in(&temp, &args).spawn().unwrap();
    let rest = until_says(&mut child, "1/5 stream").await;
    until_delivered(&connection, "INT001", 100).await;
    signal(&child, "TERM").await;
    let told = timeout(Duration::from_secs(60), ended(child)).await.expect("it ends");
    let said = rest.await.unwrap();
    assert_eq!(told.code, Some(143), "{told:#?}\n{said}");
    let checks = told.document()["checks"].clone();
    assert!(checks.as_array().unwrap().iter().all(|check| check["verdict"] != "failed"), "{checks:#}");
    assert_eq!(streams(&connection).await, Vec::<String>::new());
    assert_eq!(entries(&temp), 0);
}
