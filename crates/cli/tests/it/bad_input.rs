//! What cannot work is said with its remedy, and nothing is changed on the server.

use serde_json::{Value, json};
use sluicegate_nats::{Settings, connect};
use sluicegate_testkit::server::NatsServer;

use crate::server::{connection, streams, tool_in};
use crate::tool::{ended, run};

const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

#[tokio::test]
async fn an_unreachable_server() {
    let told = run(&["demo", "--server", "nats://127.0.0.1:1", "--timeout", "2s", "--json"]).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(74), ""), "{told:#?}");
    let error = told.error();
    assert_eq!((error["code"].as_str(), error["exit"].as_u64()), (Some("unreachable"), Some(74)));
    assert!(error["message"].as_str().unwrap().contains("127.0.0.1:1"), "names the server: {error:#}");
    assert!(!error["help"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn a_context_that_does_not_exist() {
    let told = run(&["demo", "--context", "nowhere", "--json"]).await;
    assert_eq!(told.code, Some(78), "{told:#?}");
    assert_eq!(told.error()["code"], "context_not_found");
}

#[tokio::test]
async fn wrong_credentials() {
    let users = r#"authorization { users = [{ user: "right", password: "secret-7f3a" }] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let args =
        ["demo", "--server", &server.url(), "--user", "right", "--password", "canary-91c2", "--json", "-vv"];
    let told = run(&args).await;
    assert_eq!(told.code, Some(77), "{told:#?}");
    assert_eq!(told.error()["code"], "auth");
    assert!(!told.stderr.contains("canary-91c2"), "no secret in any output: {told:#?}");
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let users = r#"authorization { users = [
        { user: "all", password: "p" },
        { user: "some", password: "p", permissions: {
            publish: { allow: ["$JS.API.STREAM.INFO.>", "$JS.API.STREAM.DELETE.>"] }, subscribe: { allow: ["_INBOX.>"] } } },
    ] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let args =
        ["demo", "--server", &server.url(), "--user", "some", "--password", "p", "--id", "DENY01", "--json"];
    let told = run(&args).await;
    assert_eq!(told.code, Some(77), "{told:#?}");
    let error = told.error();
    assert_eq!(error["code"], "not_permitted");
    assert_eq!(error["subject"], "$JS.API.STREAM.CREATE.SGDEMO_DENY01");
    let all = Settings::builder().server(&server.url()).user_and_password("all", "p").build().unwrap();
    assert_eq!(streams(&connect(&all).await.unwrap()).await, Vec::<String>::new());
}

#[tokio::test]
async fn streams_in_the_way_are_left_alone() {
    let server = NatsServer::start().await.unwrap();
    let connection = connection(&server).await;
    let foreign = json!({ "name": "GOVERNOR_SGDEMO_CLASH1", "subjects": ["mine.>"], "storage": "memory" });
    let made: Value =
        connection.api("STREAM.CREATE.GOVERNOR_SGDEMO_CLASH1", &foreign, TIMEOUT).await.unwrap();
    let overlapping = json!({ "name": "EVERYTHING", "subjects": ["sgdemo.>"], "storage": "memory" });
    let _: Value = connection.api("STREAM.CREATE.EVERYTHING", &overlapping, TIMEOUT).await.unwrap();

    let told = run(&["demo", "--server", &server.url(), "--id", "CLASH1", "--json"]).await;
    assert_eq!(told.code, Some(1), "{told:#?}");
    assert_eq!(told.error()["code"], "already_exists");
    assert!(told.error()["message"].as_str().unwrap().contains("GOVERNOR_SGDEMO_CLASH1"), "{told:#?}");
    let info: Value = connection.api("STREAM.INFO.GOVERNOR_SGDEMO_CLASH1", &(), TIMEOUT).await.unwrap();
    assert_eq!(info["config"], made["config"], "untouched");

    let told = run(&["demo", "--server", &server.url(), "--id", "CLASH2", "--json"]).await;
    assert_eq!(told.code, Some(1), "{told:#?}");
    assert_eq!(told.error()["nats_code"], 10065, "another stream has the subjects");
    assert_eq!(streams(&connection).await, ["EVERYTHING", "GOVERNOR_SGDEMO_CLASH1"]);
}

#[tokio::test]
async fn a_folder_in_the_way_is_left_alone() {
    let server = NatsServer::start().await.unwrap();
    let temp = tempfile::tempdir().unwrap();
    let mine = temp.path().join("SGDEMO_CLASH3/mine");
    std::fs::create_dir_all(&mine).unwrap();
    let args = ["demo", "--server", &server.url(), "--id", "CLASH3", "--json"];
    let told = ended(tool_in(&temp, &args).spawn().unwrap()).await;
    assert_eq!(told.code, Some(1), "{told:#?}");
    let error = told.error();
    assert_eq!(error["code"], "already_exists");
    assert!(error["message"].as_str().unwrap().contains("SGDEMO_CLASH3 exists already"), "{error:#}");
    assert!(error["help"].as_str().unwrap().contains("another --id"), "{error:#}");
    assert!(mine.exists(), "untouched");
    assert_eq!(streams(&connection(&server).await).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_server_without_jetstream() {
    let server = NatsServer::builder().jetstream(false).start().await.unwrap();
    let told = run(&["demo", "--server", &server.url(), "--json"]).await;
    assert_eq!(told.code, Some(1), "{told:#?}");
    assert_eq!(told.error()["code"], "unsupported_server");
    assert!(told.error()["help"].as_str().unwrap().contains("-js"), "{told:#?}");
}
