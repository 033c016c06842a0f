//! On a terminal, which `script` makes: questions, the status line, and Ctrl-C.

use std::time::Duration;

use sluicegate_testkit::server::NatsServer;
use tokio::time::Instant;

use super::{Site, is_alive};
use crate::terminal::Terminal;
use crate::tool::{LONG, kill};

const HOUR: Duration = Duration::from_secs(3600);
const TIDY: Duration = Duration::from_secs(2);

#[tokio::test]
async fn what_takes_something_away_is_asked_for() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "t-ask", 2, HOUR).await;
    let _slot = site.occupy(b"root@web07 1").await;
    for (answer, code, active) in [("n\n", 1, 1), ("\n", 1, 1), ("y\n", 0, 0)] {
        let mut terminal = Terminal::open(server, "$SG governor reset t-ask");
        terminal.until("[y/N]").await;
        assert!(terminal.seen.contains("root@web07 1"), "{}", terminal.seen);
        terminal.press(answer).await;
        let (ended, seen) = terminal.ended().await;
        assert_eq!(ended, Some(code), "{seen}");
        assert_eq!(site.active().await, active);
    }
    let mut terminal = Terminal::open(server, "$SG governor add t-ask 5 1h");
    terminal.until("limit 2 → 5").await;
    terminal.press("yes\n").await;
    let (ended, seen) = terminal.ended().await;
    assert_eq!(ended, Some(0), "{seen}");
    assert!(seen.contains("Capacity: 5"), "{seen}");
}

#[tokio::test]
async fn who_waits_sees_for_what_and_since_when() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "t-status", 1, HOUR).await;
    let _slot = site.occupy(b"root@web03 4411").await;
    let mut terminal = Terminal::open(server, "exec $SG governor run t-status --max-wait 20m echo ran");
    terminal.until("t-status: 1/1 busy, waiting 0:0").await;
    terminal.until(" of 20m").await;
    terminal.until("root@web03 4411 (").await;
    terminal.press("\x03").await;
    let pressed = Instant::now();
    let (ended, seen) = terminal.ended().await;
    assert_eq!(ended, Some(130), "{seen}");
    assert!(pressed.elapsed() < TIDY, "{:?}", pressed.elapsed());
    assert!(!seen.contains("ran\r\n"), "{seen}");
    assert_eq!(site.active().await, 1, "only the other one's");
}

#[tokio::test]
async fn sentences_tell_of_slot_and_end() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "t-told", 1, HOUR).await;
    let (ended, seen) = Terminal::open(server, "$SG governor run t-told sh -c 'exit 3'").ended().await;
    assert_eq!(ended, Some(3), "{seen}");
    assert!(seen.contains(", running sh (lease 1h)"), "{seen}");
    assert!(seen.contains("exit 3 after ") && seen.contains(", slot released"), "{seen}");
    assert_eq!(site.active().await, 0);
}

#[tokio::test]
async fn the_command_reads_the_terminal() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "t-reads", 1, HOUR).await;
    let mut terminal =
        Terminal::open(server, "$SG governor run t-reads sh -c 'echo ready; read x; echo got $x'");
    terminal.until("ready").await;
    terminal.press("something\n").await;
    terminal.until("got something").await;
    assert_eq!(terminal.ended().await.0, Some(0));
    assert_eq!(site.active().await, 0);
}

#[tokio::test]
async fn ctrl_c_reaches_the_command_once() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "t-int", 1, HOUR).await;
    let script = r#"trap "echo int; n=\$((n+1))" INT; echo ready; i=0; while [ $i -lt 20 ]; do sleep 0.1; i=$((i+1)); done; echo heard $n"#;
    let mut terminal =
        Terminal::open(server, &format!("exec $SG governor run t-int --kill-after 1h sh -c '{script}'"));
    terminal.until("ready").await;
    terminal.press("\x03").await;
    terminal.until("heard 1").await;
    assert_eq!(terminal.ended().await.0, Some(0));
    assert_eq!(site.active().await, 0);
}

#[tokio::test]
async fn ctrl_c_ends_a_command_that_lets_it() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "t-end", 1, HOUR).await;
    let mut terminal =
        Terminal::open(server, "exec $SG governor run t-end sh -c 'echo ready $$; exec sleep 100'");
    terminal.until("ready ").await;
    terminal.until("\n").await;
    terminal.press("\x03").await;
    let (ended, seen) = terminal.ended().await;
    assert_eq!(ended, Some(130), "{seen}");
    site.until_active(0, TIDY).await;
}

#[tokio::test]
async fn the_second_ctrl_c_kills() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "t-twice", 1, HOUR).await;
    let script =
        r#"trap "" INT TERM; (while :; do sleep 0.05; done) & echo pid $!; while :; do sleep 0.05; done"#;
    let mut terminal =
        Terminal::open(server, &format!("exec $SG governor run t-twice --kill-after 1h sh -c '{script}'"));
    terminal.until("pid ").await;
    terminal.until("\n").await;
    terminal.press("\x03").await;
    terminal.until("has 1h to end").await;
    let left = terminal.number("pid ");
    terminal.press("\x03").await;
    let (ended, seen) = terminal.ended().await;
    assert_eq!(ended, Some(137), "{seen}");
    site.until_active(0, TIDY).await;
    assert!(!is_alive(left), "what it started is gone too");
}

#[tokio::test]
async fn term_reaches_what_the_command_started() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "t-term", 1, HOUR).await;
    let line = "exec $SG governor run t-term sh -c 'sleep 100 & echo us $PPID pid $!; wait'";
    let mut terminal = Terminal::open(server, line);
    terminal.until("pid ").await;
    terminal.until("\n").await;
    let (us, left) = (terminal.number("us "), terminal.number("pid "));
    kill(us, "TERM").await;
    let (ended, seen) = terminal.ended().await;
    assert_eq!(ended, Some(143), "{seen}");
    assert!(!is_alive(left), "what it started is gone too");
    site.until_active(0, TIDY).await;
}

#[tokio::test]
async fn in_a_pipeline_only_the_command_is_waited_for() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "t-pipe", 1, HOUR).await;
    let line = "$SG governor run t-pipe sh -c 'echo one; (sleep 1; echo two) &' | cat";
    let (ended, seen) = Terminal::open(server, line).ended().await;
    assert_eq!(ended, Some(0), "{seen}");
    assert!(seen.contains("one") && seen.contains("two") && seen.contains("slot released"), "{seen}");
    assert_eq!(site.active().await, 0);
}

#[tokio::test]
async fn stopped_beyond_the_lease_it_ends_the_command_first_thing() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "t-stopped", 1, Duration::from_secs(2)).await;
    let line = "exec $SG governor run t-stopped sh -c 'echo us $PPID pid $$; exec sleep 100'";
    let mut terminal = Terminal::open(server, line);
    terminal.until("pid ").await;
    terminal.until("\n").await;
    let (us, command) = (terminal.number("us "), terminal.number("pid "));
    // As Ctrl-Z would do to both.
    kill(command, "STOP").await;
    kill(us, "STOP").await;
    site.until_active(0, LONG).await;
    // `script` has stopped with them.
    kill(terminal.child.id().unwrap(), "CONT").await;
    kill(us, "CONT").await;
    let continued = Instant::now();
    let (ended, seen) = terminal.ended().await;
    assert_eq!(ended, Some(76), "{seen}");
    assert!(continued.elapsed() < TIDY, "{:?}", continued.elapsed());
    assert!(!is_alive(command));
}

#[tokio::test]
async fn in_the_background_nobody_else_tells_the_command() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "t-background", 1, HOUR).await;
    // With job control a background command has a group of its own, and still the terminal as its stdin.
    let command = "sh -c 'echo pid $$; exec sleep 100'";
    let line =
        format!("set -m; $SG governor run t-background --kill-after 1h {command} & wait $!; echo code $?");
    let mut terminal = Terminal::open(server, &line);
    terminal.until("pid ").await;
    terminal.until("\n").await;
    let command = terminal.number("pid ");
    let stat = std::fs::read_to_string(format!("/proc/{command}/stat")).unwrap();
    let parent: u32 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
    kill(parent, "INT").await;
    terminal.until("code 130").await;
    let (_, seen) = terminal.ended().await;
    assert!(!is_alive(command), "{seen}");
    site.until_active(0, TIDY).await;
}

#[tokio::test]
async fn a_terminal_that_is_gone_ends_the_command() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "t-gone", 1, HOUR).await;
    for script in [
        "echo us $PPID pid $$; exec sleep 100",
        "trap \"\" HUP; echo us $PPID pid $$; while :; do sleep 0.05; done",
    ] {
        let line = format!("exec $SG governor run t-gone --kill-after 500ms sh -c '{script}'");
        let mut terminal = Terminal::open(server, &line);
        terminal.until("pid ").await;
        terminal.until("\n").await;
        let (us, command) = (terminal.number("us "), terminal.number("pid "));
        terminal.child.kill().await.unwrap();
        let closed = Instant::now();
        while is_alive(us) || is_alive(command) {
            assert!(closed.elapsed() < LONG, "{script}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        site.until_active(0, TIDY).await;
    }
}
