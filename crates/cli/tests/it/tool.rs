//! Running the binary.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use sluicegate_testkit::server::NatsServer;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Longer than anything here may take.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The document on stdout.
    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    /// The error document on stderr, which may stand behind lines of the story.
    pub(crate) fn error(&self) -> Value {
        let line = self.stderr.lines().last().unwrap_or_default();
        let document: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {self:#?}"));
        document["error"].clone()
    }

    /// Every check has this verdict.
    pub(crate) fn all_verdicts(&self, verdict: &str) -> bool {
        let document = self.document();
        let checks = document["checks"].as_array().cloned().unwrap_or_default();
        checks.len() == 6 && checks.iter().all(|check| check["verdict"] == verdict)
    }
}

/// The tool with arguments, in an environment of its own: no NATS settings, an empty home.
pub(crate) fn tool(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("NATS_") || name.starts_with("SLUICEGATE_")) {
            command.env_remove(name);
        }
    }
    command.env("HOME", "/nonexistent").env_remove("XDG_CONFIG_HOME").env_remove("CI");
    command
}

/// The tool on that server.
pub(crate) fn tool_on(server: &NatsServer, args: &[&str]) -> Command {
    let mut command = tool(args);
    command.env("NATS_URL", server.url());
    command
}

/// Runs it to its end on that server.
pub(crate) async fn run_on(server: &NatsServer, args: &[&str]) -> Ended {
    ended(tool_on(server, args).spawn().unwrap()).await
}

/// Runs it to its end.
pub(crate) async fn run(args: &[&str]) -> Ended {
    ended(tool(args).spawn().unwrap()).await
}

pub(crate) async fn ended(child: Child) -> Ended {
    let output = child.wait_with_output().await.unwrap();
    let ended = Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    let escapes = ended.stdout.contains('\x1b') || ended.stderr.contains('\x1b');
    assert!(!escapes, "there is no terminal that it could command: {ended:#?}");
    ended
}

/// Reads the child's stderr until a line contains `text`; what comes later is read, and given back, by the returned
/// task.
pub(crate) async fn until_says(child: &mut Child, text: &str) -> tokio::task::JoinHandle<String> {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push_str(&line);
        said.push('\n');
        if line.contains(text) {
            return tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    said.push_str(&line);
                    said.push('\n');
                }
                said
            });
        }
    }
    panic!("ended before it said {text:?}: {said}");
}

/// Sends a signal by its name, as a shell would.
pub(crate) async fn signal(child: &Child, name: &str) {
    kill(child.id().unwrap(), name).await;
}

/// The same to any process.
pub(crate) async fn kill(pid: u32, name: &str) {
    let pid = pid.to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().await.unwrap().success());
}

/// What the command writes on its stdout, line by line.
pub(crate) fn lines(child: &mut Child) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

pub(crate) async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = timeout(LONG, lines.next_line()).await.expect("a line in time").unwrap();
    line.expect("a line")
}
