//! Signals: what was read is settled, and what cannot be is told.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::time::{sleep, timeout};

use super::{LONG, items, numbers, pipe, spawn, spawn_in, summary};
use crate::tool::{Ended, ended, signal, until_says};

async fn ended_soon(child: Child) -> Ended {
    timeout(LONG, ended(child)).await.expect("it ends")
}

async fn until_exists(file: &Path) {
    let there = async {
        while !file.exists() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, there).await.unwrap_or_else(|_| panic!("{} never came", file.display()));
}

/// With an item delivered, and its input still open.
async fn holding(flags: &[&str]) -> (Child, ChildStdin) {
    let (mut child, mut stdin) = spawn(&[&["--max-items", "1", "--linger", "1h"], flags].concat());
    stdin.write_all(b"one\n").await.unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    timeout(LONG, stdout.read_line(&mut first)).await.unwrap().unwrap();
    assert_eq!(first, "[\"one\"]\n");
    child.stdout = Some(stdout.into_inner());
    (child, stdin)
}

#[tokio::test]
async fn the_first_one_ends_reading_and_settles_what_was_read() {
    for (name, code) in [("INT", 130), ("TERM", 0), ("HUP", 0), ("QUIT", 0)] {
        let (child, stdin) = holding(&["--json"]).await;
        signal(&child, name).await;
        let told = ended_soon(child).await;
        drop(stdin);
        assert_eq!(told.code, Some(code), "{name}: {told:#?}");
        let summary = summary(&told);
        assert_eq!((&summary["items"], &summary["failed"]), (&1.into(), &0.into()), "{name}");
        if name == "INT" {
            assert_eq!(told.error()["code"], "interrupted");
        }
    }
}

#[tokio::test]
async fn what_waits_for_company_leaves() {
    let (mut child, mut stdin) = spawn(&["--linger", "1h", "--max-items", "3"]);
    stdin.write_all(numbers(4).as_bytes()).await.unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut all = String::new();
    stdout.read_line(&mut all).await.unwrap();
    // The fourth came in the same write, and waits.
    signal(&child, "TERM").await;
    while stdout.read_line(&mut all).await.unwrap() > 0 {}
    assert_eq!(all, "[\"1\",\"2\",\"3\"]\n[\"4\"]\n");
    assert_eq!(ended_soon(child).await.code, Some(0));
}

#[tokio::test]
async fn what_was_not_read_is_left_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, b"one\ntwo\n").unwrap();
    let mut command = crate::tool::tool(&["pipe", "--max-items", "2", "--json"]);
    let mut child = command.current_dir(folder.path()).stdin(reader.try_clone().unwrap()).spawn().unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    timeout(LONG, stdout.read_line(&mut first)).await.unwrap().unwrap();
    assert_eq!(first, "[\"one\",\"two\"]\n");
    signal(&child, "TERM").await;
    let rest = until_says(&mut child, "no more is read").await;
    std::io::Write::write_all(&mut writer, b"three\n").unwrap();
    let status = timeout(LONG, child.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(0), "{}", rest.await.unwrap());
    drop(writer);
    let mut left = String::new();
    std::io::Read::read_to_string(&mut reader, &mut left).unwrap();
    assert_eq!(left, "three\n", "nobody took it");
}

#[tokio::test]
async fn an_item_that_was_half_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for (name, code) in [("TERM", 1), ("INT", 130)] {
        let (mut child, mut stdin) = spawn_in(folder.path(), &["--dead-letter", "left", "--json"]);
        stdin.write_all(b"whole\nhal").await.unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).await.unwrap();
        signal(&child, name).await;
        let told = ended_soon(child).await;
        assert_eq!((told.code, first.as_str()), (Some(code), "[\"whole\"]\n"), "{told:#?}");
        assert!(told.stderr.contains("interrupted in the middle of it"), "{told:#?}");
        assert_eq!(std::fs::read_to_string(folder.path().join("left")).unwrap(), "hal\n");
        std::fs::remove_file(folder.path().join("left")).unwrap();
    }
}

#[tokio::test]
async fn a_command_that_works_is_let_finish() {
    let folder = tempfile::tempdir().unwrap();
    let script = "exec:sh -c 'touch begun; while [ ! -e go ]; do sleep 0.01; done; cat > out'";
    let (mut child, mut stdin) = spawn_in(folder.path(), &["--to", script, "--max-items", "1"]);
    stdin.write_all(b"x\n").await.unwrap();
    until_exists(&folder.path().join("begun")).await;
    signal(&child, "INT").await;
    let rest = until_says(&mut child, "no more is read").await;
    std::fs::write(folder.path().join("go"), "").unwrap();
    let told = ended_soon(child).await;
    assert_eq!(told.code, Some(130), "{told:#?} {}", rest.await.unwrap());
    assert_eq!(std::fs::read_to_string(folder.path().join("out")).unwrap(), "x\n");
}

#[tokio::test]
async fn the_second_one_abandons_kills_and_tells() {
    let folder = tempfile::tempdir().unwrap();
    let script = "exec:sh -c 'sleep 100 & echo $$ $! > begun.; mv begun. begun; wait'";
    let flags = ["--to", script, "--max-items", "2", "--dead-letter", "left", "--json"];
    for (first, second) in [("INT", "INT"), ("TERM", "TERM"), ("TERM", "INT")] {
        let (mut child, mut stdin) = spawn_in(folder.path(), &flags);
        stdin.write_all(b"a\nb\nc\nd").await.unwrap();
        until_exists(&folder.path().join("begun")).await;
        signal(&child, first).await;
        let rest = until_says(&mut child, "no more is read").await;
        signal(&child, second).await;
        let told = ended_soon(child).await;
        let said = rest.await.unwrap();
        assert_eq!(told.code, Some(1), "{told:#?} {said}");
        assert!(said.contains("abandoned; 4 of 4 items were not delivered: they are in left"), "{said}");
        let left = std::fs::read_to_string(folder.path().join("left")).unwrap();
        let mut left: Vec<&str> = left.lines().collect();
        left.sort_unstable();
        assert_eq!(left, ["a", "b", "c", "d"]);
        let pids = std::fs::read_to_string(folder.path().join("begun")).unwrap();
        for pid in pids.split_whitespace() {
            let gone = async {
                while crate::governor::is_alive(pid.parse().unwrap()) {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(LONG, gone).await.expect("no process is left");
        }
        std::fs::remove_file(folder.path().join("begun")).unwrap();
        std::fs::remove_file(folder.path().join("left")).unwrap();
    }
}

#[tokio::test]
async fn who_waits_for_room_is_heard_too() {
    let folder = tempfile::tempdir().unwrap();
    let script = "exec:sh -c 'touch begun; sleep 100'";
    let flags = [
        "--to",
        script,
        "--max-items",
        "1",
        "--max-bytes",
        "1K",
        "--max-buffer",
        "1K",
        "--dead-letter",
        "left",
    ];
    let (mut child, mut stdin) = spawn_in(folder.path(), &flags);
    stdin.write_all(numbers(1_000).as_bytes()).await.unwrap();
    until_exists(&folder.path().join("begun")).await;
    signal(&child, "TERM").await;
    let rest = until_says(&mut child, "no more is read").await;
    signal(&child, "TERM").await;
    let told = ended_soon(child).await;
    assert_eq!(told.code, Some(1), "{told:#?} {}", rest.await.unwrap());
    let left = std::fs::read_to_string(folder.path().join("left")).unwrap();
    let mut left: Vec<u64> = left.lines().map(|line| line.parse().unwrap()).collect();
    left.sort_unstable();
    assert!(left.into_iter().eq(1..=1_000), "all that was read, and that is all of it");
}

#[tokio::test]
async fn the_end_of_the_input_waits_for_no_company() {
    let told = pipe(&["--linger", "1h"], numbers(100)).await;
    assert_eq!((told.code, items(&told).len()), (Some(0), 100), "{told:#?}");
}
