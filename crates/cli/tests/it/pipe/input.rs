//! What is no item, and what cannot be delivered: told with its place, and the rest goes on.

use super::{fed, items, numbers, pipe, spawn_in};

#[tokio::test]
async fn documents_are_checked_and_kept_as_they_are() {
    let text = "{\"a\": 1.0}\n\n[2,\n  \"three\"  \n{\"b\":\"\\u00e9\"}";
    let told = pipe(&["--input", "ndjson", "--json"], text).await;
    assert_eq!(
        (told.code, told.stdout.as_str()),
        (Some(1), "[{\"a\": 1.0},\"three\",{\"b\":\"\\u00e9\"}]\n"),
        "{told:#?}"
    );
    assert!(told.stderr.contains("number=3") && told.stderr.contains("is no JSON: "), "{told:#?}");
    assert_eq!(super::summary(&told)["items"], 4, "a blank line is none");
}

#[tokio::test]
async fn nul_ends_items_that_may_have_lines() {
    let told = pipe(&["--input", "nul"], "one\ntwo\0\0three").await;
    assert_eq!((told.code, items(&told)), (Some(0), vec!["one\ntwo".into(), String::new(), "three".into()]));
    let told = pipe(&["--input", "nul", "--to", "exec:cat"], "one\ntwo\0\0three").await;
    assert_eq!(told.stdout, "one\ntwo\0\0three\0", "ended as they came in");
}

#[tokio::test]
async fn what_cannot_be_delivered_is_kept_as_it_came_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(300_000);
    let text = [b"good\n\xff\xfe\n", long.as_bytes(), b"\nalso good\n", long.as_bytes()].concat();
    let told =
        fed(spawn_in(folder.path(), &["--max-bytes", "1K", "--dead-letter", "left", "--json"]), &text).await;
    assert_eq!(
        (told.code, items(&told)),
        (Some(1), vec!["good".to_owned(), "also good".into()]),
        "{told:#?}"
    );
    let left = std::fs::read(folder.path().join("left")).unwrap();
    let mut left: Vec<&[u8]> = left.split(|byte| *byte == b'\n').collect();
    assert_eq!(left.pop(), Some(&b""[..]));
    left.sort_unstable();
    assert!(
        left == [long.as_bytes(), long.as_bytes(), b"\xff\xfe"],
        "{:?}",
        left.iter().map(|l| l.len()).collect::<Vec<_>>()
    );
    let summary = super::summary(&told);
    assert_eq!(
        (&summary["items"], &summary["failed"], &summary["dead_lettered"]),
        (&5.into(), &3.into(), &3.into())
    );
    for (number, why) in
        [(2, "is no UTF-8"), (3, "300000 bytes, more than --max-bytes 1KB"), (5, "300000 bytes")]
    {
        let line = told.stderr.lines().find(|line| line.contains(&format!("number={number} "))).unwrap();
        assert!(line.contains(why), "{line}");
    }
    let error = told.error();
    assert_eq!((error["code"].as_str(), error["exit"].as_u64()), (Some("partial"), Some(1)));
    assert_eq!(error["message"], "3 of 5 items were not delivered: they are in left");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(folder.path().join("left")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others need not read it");
}

#[tokio::test]
async fn without_a_file_they_are_counted_and_the_first_ones_shown() {
    let told = pipe(&["--input", "ndjson", "--log-format", "human"], "{\n".repeat(8)).await;
    assert_eq!(told.code, Some(1), "{told:#?}");
    let shown = told
        .stderr
        .lines()
        .filter(|line| line.contains(" not delivered: is no JSON") && line.ends_with(": {"));
    assert_eq!(shown.count(), 5, "{told:#?}");
    assert!(told.stderr.contains("line 1 not delivered"), "{told:#?}");
    assert!(told.stderr.contains("8 of 8 items were not delivered: they are written nowhere"), "{told:#?}");
    assert!(told.stderr.contains("--dead-letter FILE"), "{told:#?}");
    let told = pipe(&["--input", "ndjson", "-v"], "{\n".repeat(8)).await;
    assert_eq!(told.stderr.matches("msg=\"item not delivered\"").count(), 8, "{told:#?}");
}

#[tokio::test]
async fn hostile_items_do_nothing_to_a_terminal() {
    let told = pipe(&["--input", "ndjson", "--log-format", "human"], "\x1b[2J\u{202e}\n").await;
    // That no escape is in it was looked at.
    assert!(told.stderr.contains("\\u{1b}[2J\\u{202e}"), "{told:#?}");
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_or_filled_is_said() {
    let told = pipe(&["--dead-letter", "/nonexistent/left", "--json"], numbers(3)).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(78), ""), "before anything is read: {told:#?}");
    assert_eq!(told.error()["code"], "config_invalid");
    let told = pipe(&["--input", "ndjson", "--dead-letter", "/dev/full", "--json"], "{\n").await;
    assert_eq!(told.code, Some(1), "{told:#?}");
    let message = told.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("cannot write to the dead-letter file /dev/full"), "{message}");
    assert!(message.contains("1 of 1 items were not delivered: 0 of them are in"), "{message}");
}

#[tokio::test]
async fn flags_that_cannot_be_are_refused_with_what_would_do() {
    let cases: [(&[&str], &str); 12] = [
        (&["--to", "file:x"], "stdout, nats:SUBJECT, stream:NAME[/SUBJECT] or exec:CMD"),
        (&["--to", "nats:a.*"], "without wildcards"),
        (&["--to", "exec:sh -c 'x"], "missing closing quote"),
        (&["--max-bytes", "1.5MB"], "`1MB`"),
        (&["--max-bytes", "0"], "--max-bytes is from 1"),
        (&["--max-buffer", "1K"], "less than --max-bytes"),
        (&["--max-items", "0"], "0"),
        (&["--rate", "500"], "500/s"),
        (&["--cost", "bytes"], "--rate"),
        (&["--key", "/id"], "json:/user/id"),
        (&["--msg-id", "hash"], "--to stream:NAME"),
        (&["--linger", "50"], "50ms"),
    ];
    for (flags, said) in cases {
        let told = pipe(flags, "").await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""), "{flags:?}: {told:#?}");
        assert!(told.stderr.contains(said), "{flags:?}: {told:#?}");
    }
}
