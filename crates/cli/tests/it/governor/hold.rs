//! `hold` and `wait`.

use std::process::Stdio;
use std::time::Duration;

use sluicegate_testkit::server::NatsServer;
use tokio::process::Child;
use tokio::time::timeout;

use super::{LONG, Site, line, lines};
use crate::tool::{ended, run_on, signal, tool_on};

const HOUR: Duration = Duration::from_secs(3600);
const TIDY: Duration = Duration::from_secs(2);

/// `governor hold`, with somebody at the other end of its stdin.
fn hold(site: &Site<'_>, flags: &[&str]) -> Child {
    let head = ["governor", "hold", site.name.as_str()];
    tool_on(site.server, &[&head[..], flags].concat()).stdin(Stdio::piped()).spawn().unwrap()
}

#[tokio::test]
async fn it_is_held_until_stdin_closes() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "hold-stdin", 1, HOUR).await;
    let mut child = hold(&site, &[]);
    let said = line(&mut lines(&mut child)).await;
    let columns: Vec<_> = said.split('\t').collect();
    assert_eq!(columns.len(), 3, "{said}");
    assert!(
        columns[0].parse::<u64>().is_ok() && columns[0] == columns[1] && columns[2].ends_with('Z'),
        "{said}"
    );
    assert_eq!(site.active().await, 1);
    drop(child.stdin.take());
    let told = timeout(LONG, ended(child)).await.unwrap();
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert_eq!(site.active().await, 0);
}

#[tokio::test]
async fn or_until_a_signal_comes() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "hold-signal", 1, HOUR).await;
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let mut child = hold(&site, &["--json"]);
        let said: serde_json::Value = serde_json::from_str(&line(&mut lines(&mut child)).await).unwrap();
        assert_eq!(said["type"], "sluicegate.v1.governor_hold");
        assert!(said["slot"].is_u64() && said["token"].is_u64() && said["epoch"].is_u64(), "{said:#}");
        signal(&child, name).await;
        let stdin = child.stdin.take();
        let told = timeout(LONG, ended(child)).await.unwrap();
        drop(stdin);
        assert_eq!(told.code, Some(code), "{told:#?}");
        site.until_active(0, TIDY).await;
    }
}

#[tokio::test]
async fn a_lost_slot_is_76() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "hold-lost", 1, Duration::from_secs(2)).await;
    let mut child = hold(&site, &["--json"]);
    line(&mut lines(&mut child)).await;
    let stdin = child.stdin.take();
    let told = timeout(LONG, ended(child)).await.unwrap();
    drop(stdin);
    assert_eq!((told.code, told.error()["code"].as_str()), (Some(76), Some("lease_lost")));
}

#[tokio::test]
async fn nobody_to_tell_is_no_reason_to_keep_it() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "hold-closed", 1, HOUR).await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = tool_on(server, &["governor", "hold", &site.name]);
    let mut child = command.stdin(Stdio::piped()).stdout(writer).spawn().unwrap();
    let stdin = child.stdin.take();
    let told = timeout(LONG, ended(child)).await.unwrap();
    drop(stdin);
    assert_eq!(told.code, Some(141), "{told:#?}");
    site.until_active(0, TIDY).await;
}

#[tokio::test]
async fn waiting_takes_nothing_and_says_when_slots_look_free() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "wait", 2, HOUR).await;
    let free = run_on(server, &["governor", "wait", "wait", "--count", "2", "--json"]).await;
    assert_eq!((free.code, free.document()["free"].as_u64()), (Some(0), Some(2)), "{free:#?}");

    let first = hold(&site, &[]);
    let mut second = hold(&site, &[]);
    site.until_active(2, LONG).await;
    let busy = run_on(server, &["governor", "wait", "wait", "--max-wait", "300ms", "--json"]).await;
    assert_eq!((busy.code, busy.error()["code"].as_str()), (Some(75), Some("no_slot")), "{busy:#?}");

    let waiting = tool_on(server, &["governor", "wait", "wait", "--max-wait", "1m"]).spawn().unwrap();
    drop(second.stdin.take());
    let told = timeout(LONG, ended(waiting)).await.unwrap();
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert!(told.stdout.starts_with("name\twait\nfree\t1\nwaited_seconds\t"), "{told:#?}");
    assert_eq!(site.active().await, 1, "it took none");
    drop(first);

    let never = run_on(server, &["governor", "wait", "wait", "--count", "3"]).await;
    assert_eq!(never.code, Some(2), "more than there are: {never:#?}");
    let nowhere = run_on(server, &["governor", "wait", "nope-8e", "--json"]).await;
    assert_eq!((nowhere.code, nowhere.error()["code"].as_str()), (Some(1), Some("not_found")));
}
