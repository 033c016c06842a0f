//! What happens to the command when its lease is lost.

use std::time::Duration;

use sluicegate_governor::GovernorAdmin;
use sluicegate_testkit::server::NatsServer;
use tokio::time::{Instant, sleep, timeout};

use super::{LONG, Site, is_alive, line, lines, pids};
use crate::tool::{ended, run_on, signal, until_says};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn before_the_lease_ends_the_command_is_gone() {
    let server = NatsServer::shared().await.unwrap();
    let ttl = Duration::from_secs(3);
    let site = Site::new(server, "lost-ttl", 1, ttl).await;
    let begun = Instant::now();
    let mut child = site.script(&["--json"], "echo $$; exec sleep 100");
    let running = pids(&mut lines(&mut child)).await;
    let acquired = Instant::now();
    let told = timeout(LONG, ended(child)).await.unwrap();
    assert!(acquired.elapsed() < ttl, "stopped while the slot was still ours: {:?}", acquired.elapsed());
    assert!(begun.elapsed() >= ttl / 2, "and not much too early");
    assert_eq!(told.code, Some(76), "{told:#?}");
    let error = told.error();
    assert_eq!((error["code"].as_str(), error["exit"].as_u64()), (Some("lease_lost"), Some(76)));
    assert!(told.stderr.contains("lease ends soon"), "it was warned: {told:#?}");
    assert!(!is_alive(running[0]));
    assert_eq!(site.active().await, 0);
}

#[tokio::test]
async fn a_command_that_ignores_term_is_killed_before_the_lease_ends() {
    let server = NatsServer::shared().await.unwrap();
    let ttl = Duration::from_secs(3);
    let site = Site::new(server, "lost-stubborn", 1, ttl).await;
    let mut child =
        site.script(&["--kill-after", "1h"], "trap '' TERM; echo $$; while :; do sleep 0.05; done");
    let running = pids(&mut lines(&mut child)).await;
    let acquired = Instant::now();
    let told = timeout(LONG, ended(child)).await.unwrap();
    assert_eq!(told.code, Some(76), "{told:#?}");
    assert!(!is_alive(running[0]));
    // Killed as the lease ended, by our clock; then the slot was given back.
    assert!(acquired.elapsed() < ttl + Duration::from_secs(1), "{:?}", acquired.elapsed());
    assert_eq!(site.active().await, 0);
}

#[tokio::test]
async fn killing_and_warning_are_other_ways() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "lost-ways", 1, Duration::from_secs(2)).await;
    let script = "trap 'exit 3' TERM; for i in 1 2 3 4 5 6; do sleep 0.5; done; exit 9";
    let killed = ended(site.script(&["--on-lost", "kill"], script)).await;
    assert_eq!(killed.code, Some(76), "{killed:#?}");
    assert!(killed.stderr.contains("exit=137"), "{killed:#?}");
    let warned = ended(site.script(&["--on-lost", "warn"], script)).await;
    assert_eq!(warned.code, Some(9), "the command's own: {warned:#?}");
    assert!(
        warned.stderr.contains("lease lost") && warned.stderr.contains("slot gone before"),
        "{warned:#?}"
    );
    let stopped = ended(site.script(&["--on-lost", "term"], script)).await;
    assert_eq!(stopped.code, Some(76), "{stopped:#?}");
    assert!(stopped.stderr.contains("exit=3"), "{stopped:#?}");
}

#[tokio::test]
async fn evicted_reset_and_removed_are_told() {
    let server = NatsServer::shared().await.unwrap();
    for verb in ["evict", "reset", "rm"] {
        let site = Site::new(server, &format!("lost-{verb}"), 1, HOUR).await;
        let mut child = site.script(&[], "echo $$; exec sleep 100");
        let running = pids(&mut lines(&mut child)).await;
        let begun = Instant::now();
        let mut args = vec!["governor", verb, site.name.as_str(), "--force"];
        if verb == "evict" {
            args.extend(["--holder", "*"]);
        }
        let done = run_on(server, &args).await;
        assert_eq!(done.code, Some(0), "{done:#?}");
        let told = timeout(LONG, ended(child)).await.unwrap();
        assert_eq!(told.code, Some(76), "{verb}: {told:#?}");
        assert!(told.stderr.contains("lease lost"), "{told:#?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "told, not found out: {:?}", begun.elapsed());
        assert!(!is_alive(running[0]));
    }
}

#[tokio::test]
async fn stopped_beyond_the_lease_it_stops_the_command_first_thing() {
    let server = NatsServer::shared().await.unwrap();
    let ttl = Duration::from_secs(2);
    let site = Site::new(server, "lost-stopped", 1, ttl).await;
    let mut child = site.script(&["--kill-after", "10s"], "echo $$; exec sleep 100");
    let running = pids(&mut lines(&mut child)).await;
    signal(&child, "STOP").await;
    site.until_active(0, LONG).await;
    let other = site.occupy(b"somebody else").await;
    signal(&child, "CONT").await;
    let continued = Instant::now();
    let told = timeout(LONG, ended(child)).await.unwrap();
    assert_eq!(told.code, Some(76), "{told:#?}");
    assert!(continued.elapsed() < Duration::from_secs(2), "{:?}", continued.elapsed());
    assert!(!is_alive(running[0]));
    let admin = GovernorAdmin::bind(&site.connection, &site.name).await.unwrap();
    let held = admin.view().await.unwrap().holders;
    assert_eq!(
        held.iter().map(|lease| lease.id).collect::<Vec<_>>(),
        [other.id()],
        "the new holder's slot is his"
    );
}

#[tokio::test]
async fn native_leases_are_renewed_for_as_long_as_the_work_lasts() {
    let server = NatsServer::shared().await.unwrap();
    let made = run_on(server, &["governor", "add", "lost-native", "1", "1s", "--wire", "native"]).await;
    assert_eq!(made.code, Some(0), "{made:#?}");
    let run = ["governor", "run", "lost-native", "sh", "-c", "echo $SLUICEGATE_RENEWED; sleep 4"];
    let told = run_on(server, &run).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "1\n"), "{told:#?}");
    let run = ["governor", "run", "lost-native", "--no-renew", "sleep", "4"];
    let told = run_on(server, &run).await;
    assert_eq!(told.code, Some(76), "{told:#?}");
}

#[tokio::test]
async fn without_the_server_the_deadline_decides() {
    let server = NatsServer::start().await.unwrap();
    let ttl = Duration::from_secs(4);
    let site = Site::new(&server, "lost-server", 1, ttl).await;
    let mut child = site.script(&[], "echo $$; exec sleep 100");
    let running = pids(&mut lines(&mut child)).await;
    let acquired = Instant::now();
    let said = until_says(&mut child, "slot acquired").await;
    server.kill().await.unwrap();
    while is_alive(running[0]) {
        assert!(acquired.elapsed() < ttl, "the command outlives the lease");
        sleep(Duration::from_millis(20)).await;
    }
    server.restart().await.unwrap();
    let told = timeout(LONG, ended(child)).await.unwrap();
    assert_eq!(told.code, Some(76), "{told:#?}\n{}", said.await.unwrap());
}

#[tokio::test]
async fn a_server_that_is_back_in_time_costs_nothing() {
    let server = NatsServer::start().await.unwrap();
    let site = Site::new(&server, "lost-not", 1, HOUR).await;
    let mut child = site.script(&[], "echo ready; read line; exit 5");
    let mut said = lines(&mut child);
    // stdin is empty: it ends at once, unless the shell has not come so far.
    assert_eq!(line(&mut said).await, "ready");
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let told = timeout(LONG, ended(child)).await.unwrap();
    assert_eq!(told.code, Some(5), "{told:#?}");
    site.until_active(0, LONG).await;
}
