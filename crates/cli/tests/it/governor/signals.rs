//! Signals, while a slot is waited for and while the command runs, without a terminal.

use std::process::Stdio;
use std::time::Duration;

use sluicegate_testkit::server::{Direction, Fault, NatsServer, Proxy};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::{LONG, Site, is_alive, line, lines, pids};
use crate::tool::{Ended, ended, kill, signal, tool_on, until_says};

const HOUR: Duration = Duration::from_secs(3600);
/// In which time everything has to be tidy.
const TIDY: Duration = Duration::from_secs(2);

const SIGNALS: [(&str, i32); 4] = [("INT", 130), ("TERM", 143), ("HUP", 129), ("QUIT", 131)];

async fn ended_soon(child: Child) -> Ended {
    timeout(LONG, ended(child)).await.expect("it ends")
}

#[tokio::test]
async fn who_waits_leaves_at_once_and_leaves_nothing() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "sig-waiting", 1, HOUR).await;
    let _slot = site.occupy(b"somebody").await;
    for (name, code) in SIGNALS {
        for times in [1, 2] {
            let mut child = site.run(&["--max-wait", "1m"], &["echo", "ran"]);
            let said = until_says(&mut child, "waiting for a slot").await;
            let begun = Instant::now();
            signal(&child, name).await;
            if times == 2 {
                // It may have ended already.
                let pid = child.id().unwrap().to_string();
                let _ = tokio::process::Command::new("kill").args(["-s", name, &pid]).output().await;
            }
            let told = ended_soon(child).await;
            assert_eq!((told.code, told.stdout.as_str()), (Some(code), ""), "{name}: {told:#?}");
            assert!(begun.elapsed() < TIDY, "{name} {times}: after {:?}", begun.elapsed());
            assert!(said.await.unwrap().contains("interrupted while waiting"), "{name}");
            assert_eq!(site.active().await, 1, "{name}: only the other one's");
        }
    }
}

#[tokio::test]
async fn the_command_gets_it_and_its_end_counts() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "sig-running", 1, HOUR).await;
    for (name, code) in SIGNALS {
        let mut child = site.script(&["--kill-after", "500ms"], "ulimit -c 0; sleep 100 & echo $$ $!; wait");
        let mut said = lines(&mut child);
        let running = pids(&mut said).await;
        signal(&child, name).await;
        let told = ended_soon(child).await;
        assert_eq!(told.code, Some(code), "{name}: {told:#?}");
        site.until_active(0, TIDY).await;
        // A background command of a shell without job control ignores INT and QUIT: it is killed with the group.
        assert!(running.iter().all(|pid| !is_alive(*pid)), "{name}: {running:?}");
    }
}

#[tokio::test]
async fn a_command_that_handles_it_ends_as_it_likes() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "sig-handled", 1, HOUR).await;
    let mut child = site.script(&[], "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done");
    assert_eq!(line(&mut lines(&mut child)).await, "ready");
    signal(&child, "TERM").await;
    let told = ended_soon(child).await;
    assert_eq!(told.code, Some(7), "{told:#?}");
    assert!(told.stderr.contains("msg=\"signal handed on\""), "{told:#?}");
    site.until_active(0, TIDY).await;
}

#[tokio::test]
async fn users_signals_are_handed_on_and_end_nothing() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "sig-users", 1, HOUR).await;
    let script =
        "trap 'echo one' USR1; trap 'echo two; exit 0' USR2; echo ready; while :; do sleep 0.05; done";
    let mut child = site.script(&["--kill-after", "1s"], script);
    let mut said = lines(&mut child);
    assert_eq!(line(&mut said).await, "ready");
    signal(&child, "USR1").await;
    assert_eq!(line(&mut said).await, "one");
    signal(&child, "USR2").await;
    assert_eq!(line(&mut said).await, "two");
    assert_eq!(ended_soon(child).await.code, Some(0));
}

const STUBBORN: &str =
    "trap '' INT TERM HUP QUIT; (while :; do sleep 0.05; done) & echo $$ $!; while :; do sleep 0.05; done";

#[tokio::test]
async fn a_command_that_ignores_it_is_killed_later_with_all_it_started() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "sig-stubborn", 1, HOUR).await;
    for (name, _) in SIGNALS {
        let mut child = site.script(&["--kill-after", "500ms"], STUBBORN);
        let mut said = lines(&mut child);
        let running = pids(&mut said).await;
        let begun = Instant::now();
        signal(&child, name).await;
        let told = ended_soon(child).await;
        assert_eq!(told.code, Some(137), "{name}: {told:#?}");
        assert!(begun.elapsed() >= Duration::from_millis(500), "it had its time");
        assert!(running.iter().all(|pid| !is_alive(*pid)), "{running:?}");
        site.until_active(0, TIDY).await;
    }
}

#[tokio::test]
async fn the_second_signal_kills_at_once() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "sig-twice", 1, HOUR).await;
    for (name, _) in SIGNALS {
        let mut child = site.script(&["--kill-after", "1h"], STUBBORN);
        let mut said = lines(&mut child);
        let running = pids(&mut said).await;
        signal(&child, name).await;
        let rest = until_says(&mut child, "signal handed on").await;
        signal(&child, name).await;
        let told = ended_soon(child).await;
        assert_eq!(told.code, Some(137), "{name}: {told:#?}");
        assert!(rest.await.unwrap().contains("asked again"));
        assert!(running.iter().all(|pid| !is_alive(*pid)), "{running:?}");
        site.until_active(0, TIDY).await;
    }
}

#[tokio::test]
async fn a_signal_that_comes_while_the_slot_is_given_back_keeps_nothing() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "sig-late", 1, HOUR).await;
    let proxy = Proxy::start(server.addr()).await.unwrap();
    for times in [1, 2] {
        let mut command =
            tool_on(server, &["governor", "run", "sig-late", "sh", "-c", "echo $$; read x; exit 4"]);
        let mut child = command.env("NATS_URL", proxy.url()).stdin(Stdio::piped()).spawn().unwrap();
        let running = pids(&mut lines(&mut child)).await;
        proxy.set_one_way(Direction::ToServer, Fault::Hold);
        drop(child.stdin.take());
        while is_alive(running[0]) || proxy.held(Direction::ToServer) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        for _ in 0..times {
            signal(&child, "INT").await;
        }
        // Time enough for a process that would leave at once.
        sleep(Duration::from_millis(300)).await;
        proxy.set(Fault::Pass);
        let told = ended_soon(child).await;
        assert_eq!(told.code, Some(4), "{told:#?}");
        assert!(told.stderr.contains("msg=\"slot released\""), "{told:#?}");
        assert_eq!(site.active().await, 0);
    }
}

#[tokio::test]
async fn a_slot_that_is_granted_as_one_leaves_is_given_back() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "sig-granted", 1, HOUR).await;
    let proxy = Proxy::start(server.addr()).await.unwrap();
    proxy.set_one_way(Direction::ToClient, Fault::Delay(Duration::from_millis(400)));
    let mut command = tool_on(server, &["governor", "run", "sig-granted", "echo", "ran"]);
    let child = command.env("NATS_URL", proxy.url()).spawn().unwrap();
    site.until_active(1, LONG).await;
    let granted = Instant::now();
    signal(&child, "TERM").await;
    let told = ended_soon(child).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(143), ""), "it never knew of its slot: {told:#?}");
    assert!(granted.elapsed() < TIDY, "{:?}", granted.elapsed());
    site.until_active(0, TIDY).await;
}

#[tokio::test]
async fn a_stopped_command_ends_too() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "sig-stopped", 1, HOUR).await;
    let mut child = site.script(&["--kill-after", "1h"], "echo $$; exec sleep 100");
    let running = pids(&mut lines(&mut child)).await;
    kill(running[0], "STOP").await;
    signal(&child, "TERM").await;
    assert_eq!(ended_soon(child).await.code, Some(143));
    site.until_active(0, TIDY).await;
}

#[tokio::test]
async fn killed_outright_its_slot_returns_with_the_time_to_live() {
    let server = NatsServer::shared().await.unwrap();
    let ttl = Duration::from_secs(2);
    let site = Site::new(server, "sig-kill", 1, ttl).await;
    let mut child = site.script(&[], "echo $$; exec sleep 100");
    let running = pids(&mut lines(&mut child)).await;
    let acquired = Instant::now();
    signal(&child, "KILL").await;
    // Its output is not waited for: the command still holds the other end.
    assert_eq!(child.wait().await.unwrap().code(), None);
    assert!(is_alive(running[0]), "as the help says, the command goes on");
    site.until_active(0, LONG).await;
    let freed = acquired.elapsed();
    kill(running[0], "KILL").await;
    assert!(freed <= ttl + Duration::from_secs(1), "{freed:?}");
}

#[tokio::test]
async fn what_nohup_ignores_stays_ignored() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "sig-nohup", 1, HOUR).await;
    let tool = env!("CARGO_BIN_EXE_sluicegate");
    let run =
        format!("trap '' HUP; exec {tool} governor run {} sh -c 'echo ready; sleep 1; echo done'", site.name);
    let mut command = tool_on(server, &[]);
    let environment: Vec<_> =
        command.as_std().get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
    command = tokio::process::Command::new("sh");
    command.args(["-c", &run]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut child = command.spawn().unwrap();
    let mut said = lines(&mut child);
    assert_eq!(line(&mut said).await, "ready");
    signal(&child, "HUP").await;
    assert_eq!(line(&mut said).await, "done");
    assert_eq!(ended_soon(child).await.code, Some(0));
}
