//! Choria's governor as a process beside us; the program is in `tests/interop`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use sluicegate_testkit::server::go_program;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::turns::Turn;

/// A process that prints one JSON document a line and ends with its standard input.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// The program of choria's governor, built if need be.
pub(crate) async fn choria() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    let program = go_program(source, |_| {}).await;
    program.unwrap_or_else(|error| panic!("{error}")).path
}

/// Starts choria's governor in one of its modes.
pub(crate) async fn start(mode: &str, url: &str, governor: &str, flags: &[&str]) -> Peer {
    let mut command = Command::new(choria().await);
    command.args([mode, "-url", url, "-governor", governor]).args(flags);
    Peer::spawn(&mut command)
}

/// What a mode that answers once answers.
pub(crate) async fn ask(mode: &str, url: &str, governor: &str, flags: &[&str]) -> Value {
    let mut peer = start(mode, url, governor, flags).await;
    let answer = peer.line().await;
    peer.end().await;
    answer
}

impl Peer {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the peer starts");
        let stdin = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, stdin, lines }
    }

    /// The next line, which must come.
    pub(crate) async fn line(&mut self) -> Value {
        self.next().await.expect("the peer says more")
    }

    async fn next(&mut self) -> Option<Value> {
        let line = self.lines.next_line().await.expect("readable")?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    /// Tells it to go on.
    pub(crate) async fn go_on(&mut self) {
        self.stdin.write_all(b"\n").await.expect("the peer listens");
        self.stdin.flush().await.expect("the peer listens");
    }

    /// Lets a worker come to its end; errors of its turns are ours.
    pub(crate) async fn turns(mut self) -> Vec<Turn> {
        let mut turns = Vec::new();
        loop {
            let line = self.line().await;
            match line["event"].as_str() {
                Some("turn") => {
                    assert!(line["error"].is_null(), "{line}");
                    turns.push(serde_json::from_value(line).expect("a turn"));
                }
                Some("ready") => {}
                Some("done") => break,
                _ => panic!("{line}"),
            }
        }
        self.end().await;
        turns
    }

    /// Ends it.
    pub(crate) async fn end(mut self) {
        drop(self.stdin);
        let status = self.child.wait().await.expect("it ends");
        // A worker whose input ends before it is done says 1.
        assert!(status.code().is_some_and(|code| code < 2), "{status}");
    }
}
