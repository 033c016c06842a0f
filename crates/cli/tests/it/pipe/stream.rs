//! Into a stream, each item acknowledged.

use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_nats::Connection;
use sluicegate_testkit::server::NatsServer;
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use super::order::{assert_in_order, keyed};
use super::{LONG, connection, fed, numbers, spawn_in, spawn_on, start, summary};
use crate::tool::{ended, tool, until_says};

const TIMEOUT: Duration = Duration::from_secs(5);

async fn make(connection: &Connection, name: &str, more: Value) {
    let mut config = json!({ "name": name, "subjects": [name], "storage": "file" });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let _: Value = connection.api(&format!("STREAM.CREATE.{name}"), &config, TIMEOUT).await.unwrap();
}

async fn count(connection: &Connection, name: &str) -> u64 {
    let info = connection.api::<Value>(&format!("STREAM.INFO.{name}"), &(), TIMEOUT).await;
    info.ok().and_then(|info| info["state"]["messages"].as_u64()).unwrap_or_default()
}

async fn until_count(connection: &Connection, name: &str, least: u64) {
    let there = async {
        while count(connection, name).await < least {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, there).await.expect("it gets messages");
}

/// Everything in the stream, in order.
async fn stored(connection: &Connection, name: &str) -> Vec<String> {
    let mut all = Vec::new();
    let stream = connection.jetstream().get_stream(name).await.unwrap();
    for sequence in 1..=count(connection, name).await {
        let message = stream.get_raw_message(sequence).await.unwrap();
        all.push(String::from_utf8(message.payload.to_vec()).unwrap());
    }
    all
}

#[tokio::test]
async fn everything_is_acknowledged_and_in_order() {
    let server = NatsServer::shared().await.unwrap();
    let connection = connection(server).await;
    make(&connection, "PIPE_ALL", json!({ "subjects": ["pipe_all.>", "other"] })).await;
    let to = ["--to", "stream:PIPE_ALL/pipe_all.x", "--max-items", "100", "--json"];
    let told = fed(spawn_on(server, &to), numbers(1_000)).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), ""), "{told:#?}");
    assert!(stored(&connection, "PIPE_ALL").await.into_iter().eq((1..=1_000).map(|n: u64| n.to_string())));
    let summary = summary(&told);
    assert_eq!(
        (&summary["items"], &summary["batches"], &summary["failed"]),
        (&1_000.into(), &10.into(), &0.into())
    );
    assert_eq!(summary.get("duplicates"), None);
}

#[tokio::test]
async fn the_only_subject_need_not_be_named() {
    let server = NatsServer::shared().await.unwrap();
    let connection = connection(server).await;
    make(&connection, "PIPE_ONE", json!({})).await;
    let told = fed(spawn_on(server, &["--to", "stream:PIPE_ONE"]), "x\n").await;
    assert_eq!((told.code, count(&connection, "PIPE_ONE").await), (Some(0), 1), "{told:#?}");
    make(&connection, "PIPE_MANY", json!({ "subjects": ["pipe_many.*"] })).await;
    let cases = [
        ("stream:PIPE_MANY", 2, "usage", "stream:PIPE_MANY/SUBJECT"),
        ("stream:PIPE_MANY/elsewhere", 1, "not_found", "pipe_many.*"),
        ("stream:PIPE_NONE", 1, "not_found", "nats stream ls"),
    ];
    for (to, exit, code, help) in cases {
        let told = fed(spawn_on(server, &["--to", to, "--json"]), "x\n").await;
        assert_eq!((told.code, told.error()["code"].as_str()), (Some(exit), Some(code)), "{told:#?}");
        assert!(told.error()["help"].as_str().unwrap().contains(help), "{told:#?}");
    }
}

#[tokio::test]
async fn what_the_stream_has_already_counts_as_delivered() {
    let server = NatsServer::shared().await.unwrap();
    let connection = connection(server).await;
    make(&connection, "PIPE_DUP", json!({})).await;
    for (flags, text, duplicates, messages) in [
        (["--msg-id", "hash"], "{\"id\":1}\n{\"id\":2}\n{\"id\":1}\n", 1, 2),
        (["--msg-id", "hash"], "{\"id\":1}\n{\"id\":3}\n", 1, 3),
        (["--msg-id", "json:/id"], "{\"id\":\"a\",\"x\":1}\n{\"id\":\"a\",\"x\":2}\n", 1, 4),
    ] {
        let args = [&["--to", "stream:PIPE_DUP", "--json"], &flags[..]].concat();
        let told = fed(spawn_on(server, &args), text).await;
        assert_eq!(told.code, Some(0), "{told:#?}");
        assert_eq!(summary(&told)["duplicates"], duplicates, "{told:#?}");
        assert_eq!(count(&connection, "PIPE_DUP").await, messages);
    }
    let told = fed(spawn_on(server, &["--to", "stream:PIPE_DUP", "--json"]), "same\nsame\n").await;
    assert_eq!(
        (told.code, count(&connection, "PIPE_DUP").await),
        (Some(0), 6),
        "without an id all are stored"
    );
}

#[tokio::test]
async fn one_item_that_is_refused_fails_no_other() {
    let server = NatsServer::shared().await.unwrap();
    let connection = connection(server).await;
    make(&connection, "PIPE_SIZE", json!({ "max_msg_size": 400 })).await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = tool(&["pipe", "--to", "stream:PIPE_SIZE", "--dead-letter", "left", "--json"]);
    command.current_dir(folder.path()).env("NATS_URL", server.url());
    let long = "x".repeat(1_000);
    let told = fed(start(&mut command), format!("a\n{long}\nb\n")).await;
    assert_eq!(told.code, Some(1), "{told:#?}");
    assert!(told.stderr.contains("number=2 attempts=1"), "it is not tried again: {told:#?}");
    assert_eq!(stored(&connection, "PIPE_SIZE").await, ["a", "b"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("left")).unwrap(), format!("{long}\n"));
}

/// Takes everything out of the stream, in order.
async fn take(connection: &Connection, name: &str, taken: &mut Vec<String>) {
    let stream = connection.jetstream().get_stream(name).await.unwrap();
    let state = stream.cached_info().state.clone();
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        taken.push(String::from_utf8(message.payload.to_vec()).unwrap());
    }
    let taken = json!({ "seq": state.last_sequence + 1 });
    let _: Value = connection.api(&format!("STREAM.PURGE.{name}"), &taken, TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn a_full_stream_is_waited_for() {
    let server = NatsServer::shared().await.unwrap();
    let connection = connection(server).await;
    make(&connection, "PIPE_FULL", json!({ "max_msgs": 5, "discard": "new" })).await;
    let flags = ["--to", "stream:PIPE_FULL", "--retries", "0", "--retry-max", "200ms", "--json"];
    let told = tokio::spawn(fed(spawn_on(server, &flags), numbers(12)));
    let mut taken = Vec::new();
    while taken.len() < 10 {
        until_count(&connection, "PIPE_FULL", 5).await;
        assert!(!told.is_finished(), "it waits");
        take(&connection, "PIPE_FULL", &mut taken).await;
    }
    let told = told.await.unwrap();
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert!(told.stderr.contains("told to try later"), "{told:#?}");
    take(&connection, "PIPE_FULL", &mut taken).await;
    taken.sort_by_key(|n| n.parse::<u64>().unwrap());
    assert!(taken.into_iter().eq((1..=12).map(|n: u64| n.to_string())));
}

#[tokio::test]
async fn keys_stay_in_order_while_the_stream_is_full_now_and_then() {
    let server = NatsServer::shared().await.unwrap();
    let connection = connection(server).await;
    make(&connection, "PIPE_KEYFULL", json!({ "max_msgs": 30, "discard": "new" })).await;
    let flags =
        ["--to", "stream:PIPE_KEYFULL", "--key", "json:/key", "--concurrency", "2", "--retry-max", "100ms"];
    let told = tokio::spawn(fed(spawn_on(server, &flags), keyed(1_000)));
    let mut taken = Vec::new();
    while !told.is_finished() {
        take(&connection, "PIPE_KEYFULL", &mut taken).await;
    }
    let told = told.await.unwrap();
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert!(told.stderr.contains("told to try later"), "it was full: {told:#?}");
    take(&connection, "PIPE_KEYFULL", &mut taken).await;
    assert_in_order(taken.iter().map(String::as_str), 1_000);
}

#[tokio::test]
async fn a_server_killed_in_the_middle_loses_nothing_and_doubles_nothing() {
    let server = NatsServer::start().await.unwrap();
    let connection = connection(&server).await;
    make(&connection, "PIPE_KILL", json!({})).await;
    let flags =
        ["--to", "stream:PIPE_KILL", "--max-items", "50", "--concurrency", "2", "--timeout", "2s", "--json"];
    let (child, mut stdin) = spawn_on(&server, &flags);
    let feeding = tokio::spawn(async move {
        for number in 1..=3_000_u64 {
            stdin.write_all(format!("{number}\n").as_bytes()).await.unwrap();
            if number.is_multiple_of(100) {
                sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let told = tokio::spawn(ended(child));
    for least in [300, 1_200] {
        until_count(&connection, "PIPE_KILL", least).await;
        server.kill().await.unwrap();
        server.restart().await.unwrap();
    }
    let told = timeout(LONG * 2, told).await.expect("it ends").unwrap();
    feeding.await.unwrap();
    assert_eq!(told.code, Some(0), "{told:#?}");
    let mut numbers: Vec<u64> =
        stored(&connection, "PIPE_KILL").await.iter().map(|n| n.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=3_000), "each of them once");
}

#[tokio::test]
async fn keys_stay_in_order_while_the_server_is_killed() {
    let server = NatsServer::start().await.unwrap();
    let connection = connection(&server).await;
    make(&connection, "PIPE_KEYS", json!({})).await;
    let flags = [
        "--to",
        "stream:PIPE_KEYS",
        "--key",
        "json:/key",
        "--concurrency",
        "3",
        "--max-items",
        "60",
        "--timeout",
        "2s",
    ];
    let (child, mut stdin) = spawn_on(&server, &[&flags[..], &["--json"]].concat());
    let feeding = tokio::spawn(async move {
        for n in 0..1_000_u64 {
            stdin.write_all(format!("{{\"key\":{},\"n\":{n}}}\n", n % 20).as_bytes()).await.unwrap();
            if n.is_multiple_of(50) {
                sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let told = tokio::spawn(ended(child));
    until_count(&connection, "PIPE_KEYS", 100).await;
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let told = timeout(LONG * 2, told).await.expect("it ends").unwrap();
    feeding.await.unwrap();
    assert_eq!(told.code, Some(0), "{told:#?}");
    let stored = stored(&connection, "PIPE_KEYS").await;
    assert_in_order(stored.iter().map(String::as_str), 1_000);
}

#[tokio::test]
async fn a_server_that_stays_away_ends_with_everything_kept() {
    let server = NatsServer::start().await.unwrap();
    let connection = connection(&server).await;
    make(&connection, "PIPE_GONE", json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "pipe",
        "--to",
        "stream:PIPE_GONE",
        "--retries",
        "0",
        "--timeout",
        "1s",
        "--dead-letter",
        "left",
        "--json",
    ];
    let mut command = tool(&flags);
    let (child, mut stdin) = start(command.current_dir(folder.path()).env("NATS_URL", server.url()));
    stdin.write_all(b"first\n").await.unwrap();
    until_count(&connection, "PIPE_GONE", 1).await;
    server.kill().await.unwrap();
    stdin.write_all(numbers(20).as_bytes()).await.unwrap();
    drop(stdin);
    let told = timeout(LONG, ended(child)).await.expect("it ends");
    assert_eq!(told.code, Some(1), "{told:#?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("left")).unwrap(), numbers(20));
    assert_eq!(told.error()["message"], "20 of 21 items were not delivered: they are in left");
}

#[tokio::test]
async fn who_is_asked_twice_while_the_server_is_away_keeps_everything() {
    let server = NatsServer::start().await.unwrap();
    let connection = connection(&server).await;
    make(&connection, "PIPE_AWAY", json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    let (child, stdin) = spawn_in(folder.path(), &["--to", "stdout"]);
    drop((child, stdin));
    let mut command = tool(&["pipe", "--to", "stream:PIPE_AWAY", "--dead-letter", "left", "--json"]);
    let (mut child, mut stdin) = start(command.current_dir(folder.path()).env("NATS_URL", server.url()));
    stdin.write_all(b"first\n").await.unwrap();
    until_count(&connection, "PIPE_AWAY", 1).await;
    server.kill().await.unwrap();
    stdin.write_all(numbers(20).as_bytes()).await.unwrap();
    crate::tool::signal(&child, "TERM").await;
    let rest = until_says(&mut child, "no more is read").await;
    crate::tool::signal(&child, "TERM").await;
    let told = timeout(LONG, ended(child)).await.expect("it ends");
    let said = rest.await.unwrap();
    // Whatever of them was read before the first signal, perhaps nothing.
    let left = std::fs::read_to_string(folder.path().join("left")).unwrap_or_default();
    assert!(numbers(20).starts_with(&left), "{left}");
    let only_the_first = said.contains("\"items\":1,");
    assert_eq!(told.code, Some(i32::from(!only_the_first)), "{said}");
    assert!(!only_the_first || left.is_empty(), "{left}");
}
