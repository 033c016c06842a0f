//! What the command gets, and what is made of how it ends.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use futures::StreamExt;
use sluicegate_governor::{LifecycleEvent, LifecycleKind};
use sluicegate_testkit::server::NatsServer;
use tokio::time::{Instant, timeout};

use super::{LONG, Site, is_alive, lines, pids};
use crate::tool::{ended, run_on, signal, tool_on};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn arguments_reach_the_command_byte_for_byte() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "argv", 1, HOUR).await;
    let mut command = tool_on(server, &["governor", "run", &site.name, "printf", "<%s>"]);
    command.args(["a b", "", "*", "--", "--json", "-q", "$HOME"]).arg(OsStr::from_bytes(b"\xff\x01"));
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(output.stdout, b"<a b><><*><--><--json><-q><$HOME><\xff\x01>");
    assert_eq!(site.active().await, 0);
}

#[tokio::test]
async fn a_mistyped_flag_is_not_taken_for_the_command() {
    let server = NatsServer::shared().await.unwrap();
    let told = run_on(server, &["governor", "run", "x", "--max-wat", "1s", "true"]).await;
    assert_eq!(told.code, Some(2), "{told:#?}");
    assert!(told.stderr.contains("--max-wait"), "suggests the nearest: {told:#?}");
}

#[tokio::test]
async fn the_environment_tells_of_the_lease_and_of_no_secret() {
    let users = r#"authorization { users = [{ user: "u", password: "canary-4b1d" }] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let add = |args: &[&str]| {
        let mut command = tool_on(&server, args);
        command.env("NATS_USER", "u").env("NATS_PASSWORD", "canary-4b1d").env("SLUICEGATE_SLOT", "old");
        command
    };
    let made = ended(add(&["governor", "add", "env", "1", "1h"]).spawn().unwrap()).await;
    assert_eq!(made.code, Some(0), "{made:#?}");
    let told = ended(add(&["governor", "run", "env", "env"]).spawn().unwrap()).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    let value = |name: &str| {
        let lines: Vec<_> =
            told.stdout.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect();
        assert_eq!(lines.len(), 1, "{name}: {told:#?}");
        lines[0].to_owned()
    };
    assert_eq!(value("SLUICEGATE_GOVERNOR"), "env");
    assert_eq!(value("SLUICEGATE_SLOT"), value("SLUICEGATE_TOKEN"));
    assert!(value("SLUICEGATE_TOKEN").parse::<u64>().unwrap() > 1 << 32, "a time in microseconds");
    assert!(value("SLUICEGATE_EPOCH").parse::<u64>().unwrap() > 1 << 32);
    assert_eq!(value("SLUICEGATE_RENEWED"), "0");
    assert!(value("SLUICEGATE_DEADLINE").ends_with('Z'));
    assert!(!told.stdout.contains("canary-4b1d"), "{told:#?}");
    assert!(!told.stderr.contains("canary-4b1d"), "{told:#?}");
}

#[tokio::test]
async fn the_exit_code_is_the_commands_own() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "exits", 1, HOUR).await;
    for (script, code) in
        [("exit 0", 0), ("exit 7", 7), ("exit 75", 75), ("kill -KILL $$", 137), ("kill -USR1 $$", 138)]
    {
        let told = ended(site.script(&[], script)).await;
        assert_eq!(told.code, Some(code), "{script}: {told:#?}");
        assert!(told.stderr.contains(&format!("exit={code}")), "{told:#?}");
        assert_eq!(site.active().await, 0, "{script}");
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_run_costs_no_slot() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "noexec", 1, HOUR).await;
    for (command, code) in [("no-such-command-7f", 127), ("/etc/hostname", 126), ("/", 126)] {
        let told = ended(site.run(&["--json"], &[command])).await;
        assert_eq!(told.code, Some(code), "{told:#?}");
        let error = told.error();
        assert_eq!(
            (error["code"].as_str(), error["exit"].as_i64()),
            (Some("exec_failed"), Some(code.into()))
        );
        assert!(error["message"].as_str().unwrap().contains(command), "{error:#}");
        assert_eq!(site.active().await, 0);
    }
}

#[tokio::test]
async fn no_slot_is_75_or_what_was_asked_for() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "full", 1, HOUR).await;
    let _slot = site.occupy(b"somebody").await;
    for (flags, code) in [
        (&["--no-wait"][..], 75),
        (&["--max-wait", "0"], 75),
        (&["--max-wait", "300ms"], 75),
        (&["--max-per-period"], 75),
        (&["--no-wait", "-E", "0"], 0),
        (&["--no-wait", "--conflict-exit-code", "9"], 9),
    ] {
        let told = ended(site.run(&[flags, &["--json"]].concat(), &["echo", "ran"])).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(code), ""), "{flags:?}: {told:#?}");
        let error = told.error();
        assert_eq!((error["code"].as_str(), error["exit"].as_i64()), (Some("no_slot"), Some(code.into())));
        assert_eq!(error["message"], "governor full is full: 1 of 1 held");
    }
    assert_eq!(site.active().await, 1, "those who gave up left nothing behind");
}

#[tokio::test]
async fn who_waits_gets_the_slot_and_says_for_how_long() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "waits", 1, HOUR).await;
    let first = site.script(&[], "sleep 1");
    site.until_active(1, LONG).await;
    let second = ended(site.run(&["--max-wait", "1m"], &["echo", "ran"])).await;
    assert_eq!((second.code, second.stdout.as_str()), (Some(0), "ran\n"), "{second:#?}");
    let records: Vec<_> = second.stderr.lines().collect();
    assert!(records[0].starts_with("level=info msg=\"waiting for a slot\" governor=waits"), "{records:#?}");
    assert!(records[1].starts_with("level=info msg=\"slot acquired\" governor=waits slot="), "{records:#?}");
    assert!(records[2].starts_with("level=info msg=\"slot released\" governor=waits slot="), "{records:#?}");
    assert!(records[2].ends_with("exit=0") && records.len() == 3, "{records:#?}");
    assert_eq!(ended(first).await.code, Some(0));
}

#[tokio::test]
async fn so_many_a_period_keep_their_slots() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "period", 2, HOUR).await;
    for (code, active) in [(0, 1), (0, 2), (75, 2)] {
        let told = ended(site.run(&["--max-per-period"], &["true"])).await;
        assert_eq!(told.code, Some(code), "{told:#?}");
        assert_eq!(site.active().await, active);
    }
}

#[tokio::test]
async fn the_slot_stays_taken_until_everything_is_gone() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "rest", 1, HOUR).await;
    let begun = Instant::now();
    let mut child = site.script(&[], "(sleep 1; sleep 1) >/dev/null 2>&1 & echo $!");
    let left = pids(&mut lines(&mut child)).await;
    let told = ended(child).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert!(begun.elapsed() >= Duration::from_secs(2), "it waited for what the command started");
    assert!(!is_alive(left[0]));
    assert!(told.stderr.contains("waiting for what it started"), "{told:#?}");
    assert_eq!(site.active().await, 0);
}

#[tokio::test]
async fn an_unreachable_server_is_waited_for_refused_or_ignored() {
    let run = async |flags: &[&str]| {
        let head = ["governor", "run", "x", "--server", "nats://127.0.0.1:1", "--timeout", "2s"];
        let mut command = crate::tool::tool(&[&head[..], flags, &["--json", "echo", "ran"]].concat());
        ended(command.spawn().unwrap()).await
    };
    for flags in [&["--if-unreachable", "fail"][..], &["--max-wait", "600ms"], &["--no-wait"]] {
        let told = run(flags).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(74), ""), "{flags:?}: {told:#?}");
        assert_eq!(told.error()["code"], "unreachable");
    }
    let told = run(&["--if-unreachable", "run"]).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "ran\n"), "{told:#?}");
    assert!(told.stderr.contains("working without a slot"), "{told:#?}");
}

#[tokio::test]
async fn a_server_that_comes_back_is_found() {
    let server = NatsServer::start().await.unwrap();
    let site = Site::new(&server, "back", 1, HOUR).await;
    server.kill().await.unwrap();
    let mut child = site.run(&["--max-wait", "1m"], &["echo", "ran"]);
    let rest = crate::tool::until_says(&mut child, "trying again").await;
    server.restart().await.unwrap();
    let told = ended(child).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "ran\n"), "{told:#?}\n{}", rest.await.unwrap());
}

#[tokio::test]
async fn what_is_not_there_or_cannot_be_used_is_said() {
    let server = NatsServer::shared().await.unwrap();
    for (name, code, word) in [("nope-4c", 1, "not_found"), ("a.b", 2, "usage")] {
        let told = run_on(server, &["governor", "run", name, "--json", "true"]).await;
        assert_eq!(told.code, Some(code), "{told:#?}");
        assert_eq!(told.error()["code"], word, "{told:#?}");
        assert!(told.error()["message"].as_str().unwrap().contains(name));
    }
    let told = run_on(server, &["governor", "run", "x", "--context", "nowhere", "--json", "true"]).await;
    assert_eq!((told.code, told.error()["code"].as_str()), (Some(78), Some("context_not_found")));
}

#[tokio::test]
async fn nobody_who_reads_stderr_is_no_reason_to_leave_the_command_alone() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "no-stderr", 1, HOUR).await;
    for format in ["human", "logfmt", "json"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        // A shell, too, would die of what it says of a command that was ended by a signal.
        let script = "exec 2>/dev/null; trap 'exit 7' TERM; echo $$; while :; do sleep 0.05; done";
        let args = ["governor", "run", "no-stderr", "-v", "--log-format", format, "sh", "-c", script];
        let mut child = tool_on(server, &args).stderr(writer).spawn().unwrap();
        let running = pids(&mut lines(&mut child)).await;
        signal(&child, "TERM").await;
        assert_eq!(ended(child).await.code, Some(7), "{format}");
        assert!(!is_alive(running[0]));
        assert_eq!(site.active().await, 0);
    }
}

#[tokio::test]
async fn choria_is_told_who_enters_and_leaves() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "lifecycle", 1, HOUR).await;
    let client = site.connection.client();
    let mut events = client.subscribe(LifecycleEvent::SUBJECTS).await.unwrap();
    client.flush().await.unwrap();
    let told = ended(site.run(&["--lifecycle", "--holder", "me"], &["true"])).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    for kind in [LifecycleKind::Enter, LifecycleKind::Exit] {
        let message = timeout(LONG, events.next()).await.unwrap().unwrap();
        let event = LifecycleEvent::parse(&message.payload).unwrap();
        assert_eq!((event.kind, event.governor.as_str(), event.identity.as_str()), (kind, "lifecycle", "me"));
        assert_eq!(message.subject.as_str(), "choria.lifecycle.event.governor.sluicegate");
    }
}
