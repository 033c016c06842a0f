//! The demo in memory: no server, no socket, no file.

use crate::tool::{ended, run, signal, tool, until_says};

#[tokio::test]
async fn the_whole_story_passes_its_checks() {
    let told = run(&["demo", "--json"]).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    let document = told.document();
    assert_eq!(document["type"], "sluicegate.v1.demo");
    assert_eq!(document["parameters"]["orders"], 20_000);
    assert!(told.all_verdicts("ok"), "{document:#}");
    let targets: Vec<u64> =
        document["scaling"].as_array().unwrap().iter().map(|step| step["to"].as_u64().unwrap()).collect();
    assert!(targets.iter().any(|to| *to > 1), "scaled up: {targets:?}");
    assert_eq!(
        targets.iter().filter(|to| **to == 0).count(),
        2,
        "and back to zero after each burst: {targets:?}"
    );
}

#[tokio::test]
async fn one_seed_gives_one_result_byte_for_byte() {
    let demo = async |seed| run(&["demo", "--orders", "3000", "--json", "--seed", seed]).await;
    let (first, second, other) = (demo("7").await, demo("7").await, demo("8").await);
    assert_eq!(first.stdout, second.stdout);
    // Another seed, other moods of the payment service: seen in the batches that they make.
    assert_ne!(first.document()["chapters"], other.document()["chapters"]);
}

#[tokio::test]
async fn a_pipe_gets_tsv_and_nothing_but_data() {
    let told = run(&["demo", "--orders", "100", "--quiet"]).await;
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    let rows: Vec<Vec<&str>> = told.stdout.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), 6);
    assert_eq!(rows[1], ["orders stored exactly once", "100", "100", "ok"]);
}

#[tokio::test]
async fn ndjson_has_a_line_for_each_check() {
    let told = run(&["demo", "--orders", "100", "--format", "ndjson"]).await;
    let lines: Vec<serde_json::Value> =
        told.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    assert!(lines.iter().all(|check| check["verdict"] == "ok"));
}

#[tokio::test]
async fn the_environment_never_sends_it_to_a_server() {
    let home = tempfile::tempdir().unwrap();
    let contexts = home.path().join(".config/nats/context");
    std::fs::create_dir_all(&contexts).unwrap();
    std::fs::write(contexts.join("production.json"), r#"{"url": "nats://127.0.0.1:1"}"#).unwrap();
    std::fs::write(home.path().join(".config/nats/context.txt"), "production").unwrap();
    let mut command = tool(&["demo", "--orders", "100", "--json"]);
    command.env("HOME", home.path()).env("NATS_URL", "nats://127.0.0.1:1").env("NATS_CONTEXT", "production");
    let told = ended(command.spawn().unwrap()).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert_eq!(told.document()["parameters"]["backend"], "memory");
}

#[tokio::test]
async fn an_interrupted_story_still_tells_what_it_measured() {
    let mut child = tool(&["demo", "--speed", "1x", "--json"]).spawn().unwrap();
    let rest = until_says(&mut child, "1/5 stream").await;
    signal(&child, "INT").await;
    let told = ended(child).await;
    let said = rest.await.unwrap();
    assert_eq!(told.code, Some(130), "{told:#?}\n{said}");
    let checks = told.document()["checks"].clone();
    let failed = checks.as_array().unwrap().iter().filter(|check| check["verdict"] == "failed").count();
    assert_eq!(failed, 0, "cut short is not failed: {checks:#}");
    assert!(said.contains("\"code\":\"interrupted\""), "{said}");
}
