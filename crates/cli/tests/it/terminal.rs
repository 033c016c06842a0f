//! A terminal, which `script` makes.

use std::process::Stdio;

use sluicegate_testkit::server::NatsServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::tool::{LONG, tool_on};

/// A shell command at a terminal, in which `$SG` is the tool.
pub(crate) struct Terminal {
    pub(crate) child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    pub(crate) seen: String,
}

impl Terminal {
    pub(crate) fn open(server: &NatsServer, line: &str) -> Self {
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-c", line, "/dev/null"]);
        for (name, value) in tool_on(server, &[]).as_std().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("SG", env!("CARGO_BIN_EXE_sluicegate")).env("TERM", "xterm").env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("`script`, of util-linux");
        let (keys, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, keys, screen, seen: String::new() }
    }

    /// Waits until the screen has shown that.
    pub(crate) async fn until(&mut self, text: &str) {
        let reading = async {
            let mut buffer = [0; 4096];
            while !self.seen.contains(text) {
                let read = self.screen.read(&mut buffer).await.unwrap();
                assert!(read > 0, "ended before it showed {text:?}: {}", self.seen);
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        };
        let shown = timeout(LONG, reading).await;
        assert!(shown.is_ok(), "never showed {text:?}: {}", self.seen);
    }

    pub(crate) async fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.unwrap();
        self.keys.flush().await.unwrap();
    }

    /// The exit code, and all that was shown.
    pub(crate) async fn ended(mut self) -> (Option<i32>, String) {
        let mut buffer = [0; 4096];
        let reading = async {
            // The other end of a terminal that is gone reads as an error.
            while let Ok(read @ 1..) = self.screen.read(&mut buffer).await {
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        };
        timeout(LONG, reading).await.expect("it ends");
        (timeout(LONG, self.child.wait()).await.unwrap().unwrap().code(), self.seen)
    }

    /// The number behind that word on the screen.
    pub(crate) fn number(&self, word: &str) -> u32 {
        let rest = self.seen.split(word).nth(1).unwrap();
        rest.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    }
}
