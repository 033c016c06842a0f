//! Arrays on stdout.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::{LONG, fed, items, numbers, pipe, spawn, spawn_in, start, summary};
use crate::tool::{ended, tool};

#[tokio::test]
async fn an_array_a_batch_and_a_summary() {
    let told = pipe(&["--max-items", "3", "--json"], numbers(4)).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "[\"1\",\"2\",\"3\"]\n[\"4\"]\n"), "{told:#?}");
    let mut summary = summary(&told);
    assert!(summary["elapsed_seconds"].take().is_number());
    let expected = r#"{"type":"sluicegate.v1.pipe","items":4,"bytes":8,"batches":2,"failed":0,"retried":0,"dead_lettered":0,"elapsed_seconds":null}"#;
    assert_eq!(summary, serde_json::from_str::<serde_json::Value>(expected).unwrap());
    assert_eq!(told.stderr.lines().count(), 1, "nothing else: {told:#?}");
}

#[tokio::test]
async fn without_json_the_summary_is_a_record_and_quiet_is_quiet() {
    let told = pipe(&[], numbers(2)).await;
    assert!(told.stderr.contains("msg=\"pipe ended\" items=2 bytes=4 batches=1 failed=0"), "{told:#?}");
    let told = pipe(&["--log-format", "human"], numbers(2)).await;
    assert!(told.stderr.contains("2 items in 1 batches (avg 2), 0 failed, 0 retried, "), "{told:#?}");
    let told = pipe(&["--quiet", "--json"], numbers(2)).await;
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    let told = pipe(&[], "").await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), ""), "nothing is no batch");
}

#[tokio::test]
async fn items_stay_as_they_are_and_in_order() {
    let text = "plain\n\nwith \"quotes\" and \\\ntab\there\nκόσμε\ncr\r\n  blanks  \nno end";
    let told = pipe(&[], text).await;
    assert_eq!(items(&told), text.split('\n').collect::<Vec<_>>());
    let told = pipe(&["--max-items", "7"], numbers(20_000)).await;
    assert!(items(&told).into_iter().eq((1..=20_000).map(|n: u64| n.to_string())));
    assert_eq!(told.stdout.lines().count(), 20_000 / 7 + 1);
}

#[tokio::test]
async fn a_batch_has_no_more_bytes_than_it_may() {
    let told = pipe(&["--max-bytes", "10"], "aaaa\nbbbb\ncccc\ndddddddddd\ne\n").await;
    let arrays: Vec<&str> = told.stdout.lines().collect();
    assert_eq!(arrays, [r#"["aaaa","bbbb"]"#, r#"["cccc"]"#, r#"["dddddddddd"]"#, r#"["e"]"#], "{told:#?}");
}

#[tokio::test]
async fn items_do_not_wait_longer_than_they_may() {
    let (mut child, mut stdin) = spawn(&["--linger", "20ms"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for word in ["one", "two"] {
        stdin.write_all(format!("{word}\n").as_bytes()).await.unwrap();
        // The input is not at its end.
        let line = timeout(LONG, lines.next_line()).await.expect("in time").unwrap();
        assert_eq!(line, Some(format!("[\"{word}\"]")));
    }
    drop(stdin);
    assert_eq!(ended(child).await.code, Some(0));
}

#[tokio::test]
async fn the_rate_is_held() {
    let told = pipe(&["--rate", "200/s", "--linger", "10ms", "--json"], numbers(300)).await;
    assert_eq!((told.code, items(&told).len()), (Some(0), 300));
    // At most 200 a second, 2 ms of slack, and a burst of 10 ms.
    let least = (300.0 - 200.0 * 0.012) / 200.0;
    assert!(summary(&told)["elapsed_seconds"].as_f64().unwrap() >= least - 0.01, "{told:#?}");
    let flags = ["--rate", "100/s", "--cost", "json:/ru", "--linger", "10ms", "--json"];
    let told = pipe(&flags, "{\"ru\": 50}\n".repeat(3)).await;
    assert_eq!(told.stdout.lines().count(), 3, "{told:#?}");
    assert!(
        summary(&told)["elapsed_seconds"].as_f64().unwrap() >= (150.0 - 50.0 - 0.2) / 100.0 - 0.01,
        "{told:#?}"
    );
}

#[tokio::test]
async fn what_costs_more_than_a_second_is_refused() {
    let told = pipe(&["--rate", "10/s", "--cost", "bytes", "--json"], "short\nmore than ten bytes\n").await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(1), "[\"short\"]\n"), "{told:#?}");
    assert!(told.stderr.contains("cost 19 is above the largest possible capacity of 10/s"), "{told:#?}");
    assert_eq!(told.error()["code"], "partial");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_news() {
    for flags in [&["--json"][..], &["-v"], &["--dead-letter", "left"]] {
        let folder = tempfile::tempdir().unwrap();
        let (mut child, mut stdin) = spawn_in(folder.path(), flags);
        let feeding =
            tokio::spawn(async move { while stdin.write_all(numbers(1_000).as_bytes()).await.is_ok() {} });
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).await.unwrap();
        assert!(first.starts_with("[\"1\","), "{first}");
        let told = timeout(LONG, ended(child)).await.expect("it ends");
        assert_eq!(told.code, Some(141), "{told:#?}");
        let ours = told.stderr.lines().filter(|line| !line.contains("level=debug"));
        assert_eq!(ours.count(), 0, "silent: {told:#?}");
        feeding.await.unwrap();
        if flags[0] == "--dead-letter" {
            let left = std::fs::read_to_string(folder.path().join("left")).unwrap();
            assert!(left.lines().count() > 0, "what was read and not written is kept");
        }
    }
}

#[tokio::test]
async fn a_full_device_is_said_and_ends_it() {
    let mut command = tool(&["pipe", "--json", "--dead-letter", "left"]);
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let told = fed(start(command.current_dir(folder.path()).stdout(Stdio::from(full))), numbers(3)).await;
    assert_eq!(told.code, Some(1), "{told:#?}");
    let message = told.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("cannot write to stdout") && message.contains("3 of 3 items"), "{message}");
    assert_eq!(std::fs::read_to_string(folder.path().join("left")).unwrap(), numbers(3));
}

#[tokio::test]
async fn a_slow_reader_stops_reading_and_loses_nothing() {
    let flags =
        ["--max-items", "10", "--max-bytes", "1K", "--max-buffer", "16K", "--linger", "1ms", "--json"];
    let (mut child, mut stdin) = spawn(&flags);
    let mut stdout = child.stdout.take().unwrap();
    let line = format!("{}\n", "x".repeat(100));
    // More than the buffer, the pipes on both sides, and the chunks on their way can hold.
    let count = 40_000;
    let mut feeding = tokio::spawn(async move {
        for _ in 0..count {
            stdin.write_all(line.as_bytes()).await.unwrap();
        }
    });
    let blocked = timeout(Duration::from_secs(2), &mut feeding).await;
    assert!(blocked.is_err(), "nobody reads stdout, and still everything was read");
    let mut all = String::new();
    timeout(LONG, stdout.read_to_string(&mut all)).await.expect("it ends").unwrap();
    let told = ended(child).await;
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let arrays = all.lines().map(|line| serde_json::from_str::<Vec<String>>(line).unwrap().len());
    assert_eq!(arrays.sum::<usize>(), count);
    assert_eq!(summary(&told)["items"], count);
}
