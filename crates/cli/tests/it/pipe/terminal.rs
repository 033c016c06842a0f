//! On a terminal: a line that shows how it goes, and a sentence at the end.

use sluicegate_testkit::server::NatsServer;

use crate::terminal::Terminal;

#[tokio::test]
async fn how_it_goes_is_shown_where_it_tears_nothing() {
    let server = NatsServer::shared().await.unwrap();
    let line = "(seq 500; sleep 2; seq 10) | $SG pipe --to nats:pipe.terminal --retry-max 1s";
    let mut terminal = Terminal::open(server, line);
    terminal.until("500 items delivered, ").await;
    terminal.until(" items/s, ").await;
    let (code, seen) = terminal.ended().await;
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("510 items in 2 batches (avg 255), 0 failed, 0 retried, "), "{seen}");
    for line in
        ["seq 3 | $SG pipe", "seq 3 | CI=1 $SG pipe --to nats:x", "seq 3 | $SG pipe --to nats:x >/dev/null"]
    {
        let (code, seen) = Terminal::open(server, line).ended().await;
        assert_eq!(code, Some(0), "{seen}");
        assert!(seen.contains("3 items in 1 batches") && !seen.contains("items delivered"), "{seen}");
    }
}

#[tokio::test]
async fn ctrl_c_settles_and_a_command_does_not_hear_it() {
    let server = NatsServer::shared().await.unwrap();
    let script = "echo begun; sleep 1; cat; echo finished";
    let line = format!("$SG pipe --linger 0 --to \"exec:sh -c '{script}'\"");
    let mut terminal = Terminal::open(server, &line);
    terminal.press("typed\n").await;
    terminal.until("begun").await;
    terminal.press("\x03").await;
    terminal.until("no more is read, settling 1 items").await;
    let (code, seen) = terminal.ended().await;
    assert_eq!(code, Some(130), "{seen}");
    assert!(seen.contains("finished") && seen.contains("1 items in 1 batches"), "{seen}");
}
