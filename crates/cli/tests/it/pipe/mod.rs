//! `sluicegate pipe` as a user runs it.

mod exec;
mod input;
mod order;
mod plain;
mod rights;
mod shared;
mod signals;
mod stdout;
mod stream;
mod terminal;

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_testkit::server::NatsServer;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::tool::{Ended, ended, tool};

/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(60);

/// `pipe` with these flags, and its stdin, in that folder.
fn spawn_in(folder: &std::path::Path, flags: &[&str]) -> (Child, ChildStdin) {
    start(tool(&[&["pipe"], flags].concat()).current_dir(folder))
}

fn spawn(flags: &[&str]) -> (Child, ChildStdin) {
    start(&mut tool(&[&["pipe"], flags].concat()))
}

fn spawn_on(server: &NatsServer, flags: &[&str]) -> (Child, ChildStdin) {
    start(tool(&[&["pipe"], flags].concat()).env("NATS_URL", server.url()))
}

fn start(command: &mut Command) -> (Child, ChildStdin) {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    (child, stdin)
}

/// Gives it that input, and waits for its end.
async fn fed((child, mut stdin): (Child, ChildStdin), input: impl AsRef<[u8]>) -> Ended {
    let input = input.as_ref().to_vec();
    let feeding = tokio::spawn(async move {
        // It may end before it has read everything.
        let _ = stdin.write_all(&input).await;
    });
    let told = timeout(LONG, ended(child)).await.expect("it ends");
    feeding.abort();
    told
}

async fn pipe(flags: &[&str], input: impl AsRef<[u8]>) -> Ended {
    fed(spawn(flags), input).await
}

/// Numbers from 1, one a line.
fn numbers(count: u64) -> String {
    (1..=count).map(|number| format!("{number}\n")).collect()
}

/// The items of all arrays on stdout, in order.
fn items(told: &Ended) -> Vec<String> {
    let arrays = told.stdout.lines().map(|line| serde_json::from_str::<Vec<String>>(line).unwrap());
    arrays.flatten().collect()
}

/// The summary, where JSON was asked for.
fn summary(told: &Ended) -> Value {
    let line = told.stderr.lines().find(|line| line.contains("sluicegate.v1.pipe"));
    serde_json::from_str(line.unwrap_or_else(|| panic!("no summary in {told:#?}"))).unwrap()
}

async fn connection(server: &NatsServer) -> Connection {
    connect(&Settings::from_url(&server.url()).unwrap()).await.unwrap()
}
