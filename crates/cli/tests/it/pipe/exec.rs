//! A command a batch.

use std::path::Path;

use super::{fed, numbers, pipe, spawn_in, start, summary};
use crate::tool::{Ended, tool};

async fn script(folder: &Path, flags: &[&str], script: &str, input: &str) -> Ended {
    let to = format!("exec:sh -c '{script}'");
    fed(spawn_in(folder, &[&["--to", &to, "--json"], flags].concat()), input).await
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default()
}

#[tokio::test]
async fn items_come_on_stdin_and_words_are_split_without_a_shell() {
    let told = pipe(&["--to", "exec:cat", "--max-items", "2"], "a\nb\nc").await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "a\nb\nc\n"), "{told:#?}");
    let told = pipe(&["--to", r#"exec:printf '%s.' $HOME 'a  b' "c d" * """#], "x\n").await;
    assert_eq!(told.stdout, "$HOME.a  b.c d.*..", "{told:#?}");
}

#[tokio::test]
async fn what_fails_twice_is_tried_a_third_time() {
    let folder = tempfile::tempdir().unwrap();
    let fails = "echo >> tries; [ $(wc -l < tries) -gt 2 ] || exit 3; cat >> out";
    let told = script(folder.path(), &["--retries", "2"], fails, &numbers(50)).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert_eq!(
        (read(folder.path(), "tries").len(), read(folder.path(), "out")),
        (3, numbers(50)),
        "whole, and in order"
    );
    let summary = summary(&told);
    assert_eq!(
        (&summary["batches"], &summary["failed"], &summary["retried"]),
        (&3.into(), &0.into(), &100.into())
    );
}

#[tokio::test]
async fn what_fails_too_often_is_kept_to_be_fed_again() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--retries", "1", "--max-items", "10", "--dead-letter", "left"];
    let picky = "cat > batch; if grep -q 15 batch; then exit 9; fi; cat batch >> out";
    let told = script(folder.path(), &flags, picky, &numbers(30)).await;
    assert_eq!(told.code, Some(1), "{told:#?}");
    let left: String = (11..=20).map(|n| format!("{n}\n")).collect();
    assert_eq!(read(folder.path(), "left"), left);
    assert_eq!(read(folder.path(), "out").lines().count(), 20);
    assert_eq!(told.error()["message"], "10 of 30 items were not delivered: they are in left");
    assert!(told.stderr.contains("attempts=2") && told.stderr.contains("sh: exit 9"), "{told:#?}");
    let told = script(folder.path(), &[], "cat >> out", &left).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert_eq!(read(folder.path(), "out").lines().count(), 30);
}

#[tokio::test]
async fn try_later_is_no_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let busy = "echo >> tries; [ $(wc -l < tries) -gt 3 ] || exit 75; cat > out";
    let told = script(folder.path(), &["--retries", "0"], busy, &numbers(5)).await;
    assert_eq!((told.code, read(folder.path(), "out")), (Some(0), numbers(5)), "{told:#?}");
    for said in ["told to try later", "it works again"] {
        assert_eq!(told.stderr.matches(said).count(), 1, "once: {told:#?}");
    }
}

#[tokio::test]
async fn ends_by_signals_count_as_failures() {
    let folder = tempfile::tempdir().unwrap();
    let told = script(folder.path(), &["--retries", "0"], "kill -KILL $$", "x\n").await;
    assert_eq!(told.code, Some(1), "{told:#?}");
    assert!(told.stderr.contains("sh: ended by signal 9"), "{told:#?}");
}

#[tokio::test]
async fn a_command_that_is_not_there_ends_everything() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), "no program").unwrap();
    for (to, code) in [("exec:nosuch-5f2c", 127), ("exec:./data", 126)] {
        let flags = ["--to", to, "--json", "--dead-letter", "left"];
        let (child, stdin) = spawn_in(folder.path(), &flags);
        let told = fed((child, stdin), numbers(3)).await;
        assert_eq!(told.code, Some(code), "{told:#?}");
        assert_eq!(told.error()["code"], "exec_failed");
        assert_eq!(read(folder.path(), "left"), numbers(3));
        std::fs::remove_file(folder.path().join("left")).unwrap();
    }
}

#[tokio::test]
async fn a_command_need_not_read_what_it_does_not_want() {
    let text = "a line that fills the pipe\n".repeat(100_000);
    let told =
        pipe(&["--to", "exec:true", "--max-bytes", "4MB", "--max-items", "100000", "--json"], &text).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    // What it started, and what holds its stdin, is not waited for.
    let told = pipe(
        &["--to", "exec:sh -c 'sleep 100 <&0 >/dev/null 2>&1 & exit 0'", "--max-bytes", "4MB", "--json"],
        &text,
    )
    .await;
    assert_eq!(told.code, Some(0), "{told:#?}");
}

#[tokio::test]
async fn as_many_at_a_time_as_are_allowed() {
    let folder = tempfile::tempdir().unwrap();
    // Each waits until three have begun.
    let meet = "echo >> begun; while [ $(wc -l < begun) -lt 3 ]; do sleep 0.01; done; cat >> out";
    let told = script(folder.path(), &["--concurrency", "3", "--max-items", "1"], meet, "a\nb\nc\n").await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert_eq!(read(folder.path(), "out").lines().count(), 3);
    let folder = tempfile::tempdir().unwrap();
    let alone = "mkdir lock || exit 9; cat >> out; rmdir lock";
    let told = script(folder.path(), &["--max-items", "1", "--retries", "0"], alone, &numbers(20)).await;
    assert_eq!(
        (told.code, read(folder.path(), "out")),
        (Some(0), numbers(20)),
        "one at a time by default: {told:#?}"
    );
}

#[tokio::test]
async fn it_gets_no_secret_of_ours() {
    let mut command = tool(&[
        "pipe",
        "--to",
        "exec:env",
        "--user",
        "canary-77",
        "--password",
        "canary-77",
        "-vv",
        "--json",
    ]);
    command.env("NATS_PASSWORD", "canary-77").env("NATS_URL", "nats://u:canary-77@h").env("HARMLESS", "yes");
    let told = fed(start(&mut command), "x\n").await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert!(told.stdout.contains("HARMLESS=yes"), "{told:#?}");
    assert!(!format!("{}{}", told.stdout, told.stderr).contains("canary-77"), "{told:#?}");
}
