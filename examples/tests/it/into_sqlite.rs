//! The story `into-sqlite`, while somebody else holds the database for a moment.

use std::process::Stdio;
use std::time::Duration;

use rusqlite::Connection;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

const ROWS: i64 = 20_000;

fn number(connection: &Connection, query: &str) -> i64 {
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn every_row_is_there_once_though_somebody_else_holds_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rows.db");
    let other = Connection::open(&file).unwrap();
    other.pragma_update(None, "journal_mode", "WAL").unwrap();
    other.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL)").unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let mut story = Command::new(env!("CARGO_BIN_EXE_into-sqlite"));
    story.arg("--file").arg(&file).args(["--rows", &ROWS.to_string()]);
    let mut story = story.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(story.stdout.take().unwrap()).lines();
    // It is refused, and comes again: this is the second time that it says so.
    for _ in 0..2 {
        let line = timeout(Duration::from_secs(30), lines.next_line()).await.unwrap().unwrap().unwrap();
        assert!(line.starts_with("busy: "), "{line}");
    }
    other.execute_batch("COMMIT").unwrap();

    let mut said = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        said += &line;
    }
    assert!(story.wait().await.unwrap().success(), "{said}");
    assert!(said.contains(&format!("{} duplicates refused, drained: true", ROWS / 100)), "{said}");
    assert_eq!(number(&other, "SELECT count(*) FROM rows"), ROWS);
    assert_eq!(number(&other, "SELECT max(id) FROM rows"), ROWS - 1);
    assert_eq!(number(&other, "SELECT min(id) FROM rows"), 0);
}
