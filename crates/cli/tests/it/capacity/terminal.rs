//! On a terminal: tables and questions.

use sluicegate_testkit::server::NatsServer;

use super::Site;
use crate::terminal::Terminal;

#[tokio::test]
async fn what_takes_something_away_is_asked_for() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "ct-ask", 1_000, 100).await;
    let _held = site.occupy(b"root@web07 1", 3).await;
    for (answer, code, held) in [("n\n", 1, 3), ("\n", 1, 3), ("y\n", 0, 0)] {
        let mut terminal = Terminal::open(server, "$SG capacity reset ct-ask");
        terminal.until("[y/N]").await;
        assert!(terminal.seen.contains("held by root@web07 1 (3 leases)"), "{}", terminal.seen);
        terminal.press(answer).await;
        let (ended, seen) = terminal.ended().await;
        assert_eq!(ended, Some(code), "{seen}");
        assert_eq!(site.held().await, held);
    }
}

#[tokio::test]
async fn another_factor_is_asked_for_and_shown_as_a_block() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "ct-factor", 1_000, 100).await;
    let _held = site.occupy(b"root@web07 1", 3).await;
    let mut terminal = Terminal::open(server, "$SG capacity edit ct-factor --factor 50");
    terminal.until("factor 100 → 50 while 3 of 10 leases are held").await;
    terminal.until("[y/N]").await;
    terminal.press("y\n").await;
    let (ended, seen) = terminal.ended().await;
    assert_eq!(ended, Some(0), "{seen}");
    assert!(seen.contains("leases 10 → 20"), "{seen}");

    let mut terminal = Terminal::open(server, "$SG capacity add ct-factor --total 2000 --factor 100");
    terminal.until("total 1000 → 2000").await;
    terminal.press("yes\n").await;
    let (ended, seen) = terminal.ended().await;
    assert_eq!(ended, Some(0), "{seen}");
    assert!(seen.contains("Leases: 20"), "{seen}");
    let (ended, seen) = Terminal::open(server, "$SG capacity view ct-factor").ended().await;
    assert!(ended == Some(0) && seen.contains("Held units/s: 300") && seen.contains('╭'), "{seen}");
}
