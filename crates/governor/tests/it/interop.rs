//! Choria's own package, in Go, and ours on one governor.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::json;
use sluicegate_core::{LeasePool, LeasePoolAdmin, LeasePoolExt, LossCause, Wait};
use sluicegate_governor::{CampaignPool, Filter, GovernorAdmin};
use sluicegate_nats::Connection;
use sluicegate_testkit::server::NatsServer;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::peer::{self, Peer};
use crate::support::{LONG, config, connection, info, request, settles_at, slots, soon, unique};
use crate::turns::{Turn, most_at_once, now};

const MINUTE: Duration = Duration::from_secs(60);
/// Well above what is waited for; ours look after a lease every third of it where nobody tells them.
const TTL: Duration = Duration::from_secs(9);

/// A server, and ours on it.
struct Place {
    url: String,
    connection: Connection,
}

async fn place() -> Place {
    // Building it may take longer than leases last.
    peer::choria().await;
    let url = NatsServer::shared().await.expect("the shared server starts").url();
    Place { connection: connection(&url).await, url }
}

/// Takes turns, with as long a rest after each, until told to stop.
async fn work(pool: CampaignPool, worker: String, stop: CancellationToken) -> Vec<Turn> {
    let mut turns = Vec::new();
    // As often as choria here: neither of them shall have to wait for the other to be done.
    let wait = Wait::new().poll_interval(Duration::from_millis(10));
    while !stop.is_cancelled() {
        let asked = now();
        let lease = pool.acquire(&request(&worker), &wait).await.expect("answers").expect("no limit");
        let granted = now();
        sleep(Duration::from_millis(5)).await;
        let leaving = now();
        assert!(pool.release(&lease).await.expect("answers"), "still ours");
        let worker = worker.clone();
        turns.push(Turn { worker, seq: lease.id().0, asked, granted, leaving, left: now() });
        sleep(Duration::from_millis(5)).await;
    }
    turns
}

/// Go workers of one process, who take 25 turns each, and ours, who take turns as long as they do.
async fn together(place: &Place, go_governor: &str, subject: &str, pool: &CampaignPool) -> [Vec<Turn>; 2] {
    let flags = ["-workers", "4", "-turns", "25", "-hold", "5ms", "-interval", "10ms", "-subject", subject];
    let mut go = peer::start("worker", &place.url, go_governor, &flags).await;
    assert_eq!(go.line().await["event"], "ready");
    let stop = CancellationToken::new();
    let mut ours = JoinSet::new();
    for n in 0..4 {
        ours.spawn(work(pool.clone(), format!("rust-{n}"), stop.clone()));
    }
    let theirs = timeout(MINUTE, go.turns()).await.expect("in time");
    stop.cancel();
    let ours = timeout(MINUTE, ours.join_all()).await.expect("in time").concat();
    [theirs, ours]
}

/// Both had slots at the same time, and never more than there are.
fn assert_shared([theirs, ours]: [Vec<Turn>; 2], limit: usize) {
    assert_eq!(theirs.len(), 100);
    assert!(!ours.is_empty());
    let mixed = theirs
        .iter()
        .any(|go| ours.iter().any(|rust| rust.granted < go.leaving && go.granted < rust.leaving));
    assert!(mixed, "they worked one after the other");
    let all = [theirs, ours].concat();
    assert_eq!(most_at_once(&all), limit, "as many as there are slots, and not one more");
    let mut sequences: Vec<u64> = all.iter().map(|turn| turn.seq).collect();
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences.len(), all.len(), "no slot was granted twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn go_and_rust_share_a_governor_of_the_library_kind() {
    let place = place().await;
    let name = unique("both");
    let pool = CampaignPool::create(&place.connection, &config(&name, 3, LONG)).await.unwrap();
    // Choria's library finds the same subject by itself.
    assert_shared(together(&place, &name, "", &pool).await, 3);
    settles_at(&place.connection, pool.stream(), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go_and_rust_share_a_governor_of_the_command_line_kind() {
    let place = place().await;
    let name = unique("collective");
    let subject = format!("choria.governor.{name}");
    let made =
        peer::ask("manager", &place.url, &name, &["-limit", "3", "-ttl", "60s", "-subject", &subject]).await;
    assert!(made["error"].is_null(), "{made}");
    // Ours is told nothing but the name.
    let pool = CampaignPool::bind(&place.connection, &name).await.unwrap();
    assert_eq!(*pool.subject(), *subject);
    assert_shared(together(&place, &name, &subject, &pool).await, 3);
    settles_at(&place.connection, pool.stream(), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_on_two_governors_are_seen_to_be_more_than_one_allows() {
    let place = place().await;
    let (here, there) = (unique("here"), unique("there"));
    let pool = CampaignPool::create(&place.connection, &config(&here, 3, LONG)).await.unwrap();
    CampaignPool::create(&place.connection, &config(&there, 3, LONG)).await.unwrap();
    let all = together(&place, &there, "", &pool).await.concat();
    assert!(most_at_once(&all) > 3, "or nothing is proven where it is 3");
}

#[tokio::test]
async fn choria_sees_what_ours_made_and_holds() {
    let place = place().await;
    let name = unique("seen");
    let pool = CampaignPool::create(&place.connection, &config(&name, 7, MINUTE)).await.unwrap();
    let look = async || peer::ask("view", &place.url, &name, &[]).await;
    let before = look().await;
    assert_eq!(before["ever_active"], json!(false), "{before}");
    let lease = pool.try_acquire(&request("rust")).await.unwrap().expect("free");
    let view = look().await;
    for (field, value) in [
        ("error", json!(null)),
        ("name", json!(name)),
        ("limit", json!(7)),
        ("max_age", json!(60_000_000_000_u64)),
        ("subject", json!(format!("$GOVERNOR.campaign.{name}"))),
        ("stream", json!(pool.stream())),
        ("replicas", json!(1)),
        ("active", json!(1)),
        ("ever_active", json!(true)),
    ] {
        assert_eq!(view[field], value, "{field}: {view}");
    }
    assert!(pool.release(&lease).await.unwrap());
    assert_eq!(look().await["active"], json!(0));

    let nobody = peer::ask("view", &place.url, &unique("nobody"), &[]).await;
    assert_eq!(nobody["error"], json!("unknown governor"));
}

#[tokio::test]
async fn choria_lists_ours_by_the_collective_of_its_subject() {
    let place = place().await;
    let (name, collective) = (unique("listed"), unique("collective"));
    let mut ours = config(&name, 2, MINUTE);
    ours.subject = Some(format!("{collective}.governor.{name}"));
    CampaignPool::create(&place.connection, &ours).await.unwrap();
    let listed = peer::ask("list", &place.url, "", &["-collective", &collective]).await;
    assert_eq!(listed["names"], json!([name]), "{listed}");
}

#[tokio::test]
async fn ours_sees_and_evicts_what_choria_holds() {
    let place = place().await;
    let name = unique("guest");
    let pool = CampaignPool::create(&place.connection, &config(&name, 1, MINUTE)).await.unwrap();
    let mut go = peer::start("hold", &place.url, &name, &["-name", "go on web03"]).await;
    let granted = go.line().await;
    let held = pool.held().await.unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(
        (held[0].id.0, held[0].holder.as_bytes()),
        (granted["seq"].as_u64().unwrap(), &b"go on web03"[..])
    );
    assert!(pool.try_acquire(&request("rust")).await.unwrap().is_none(), "full");

    let evicted = pool.evict(held[0].id).await.unwrap().expect("was held");
    assert_eq!(evicted.holder, held[0].holder);
    let lease = pool.try_acquire(&request("rust")).await.unwrap().expect("free");
    go.go_on().await;
    let left = go.line().await;
    assert!(left["error"].is_string(), "what was evicted cannot be given back: {left}");
    assert!(left["again"].is_null(), "{left}");
    assert!(pool.release(&lease).await.unwrap(), "and it did not give back ours");
    go.end().await;
}

#[tokio::test]
async fn operators_of_ours_see_evict_and_reset_what_choria_made_and_holds() {
    let place = place().await;
    let (name, collective) = (unique("theirs"), unique("theirs"));
    let subject = format!("{collective}.governor.{name}");
    let made =
        peer::ask("manager", &place.url, &name, &["-limit", "2", "-ttl", "60s", "-subject", &subject]).await;
    assert!(made["error"].is_null(), "{made}");
    let mut workers = Vec::new();
    for who in ["one", "two"] {
        let mut go = peer::start("hold", &place.url, &name, &["-name", who, "-subject", &subject]).await;
        assert!(go.line().await["error"].is_null());
        workers.push(go);
    }
    let of_it = Filter::all().collective(&collective);
    let listed = GovernorAdmin::list(&place.connection, &of_it).await.unwrap();
    assert_eq!(listed.iter().map(|governor| governor.name.as_str()).collect::<Vec<_>>(), [name.as_str()]);

    let admin = GovernorAdmin::bind(&place.connection, &name).await.unwrap();
    let view = admin.view().await.unwrap();
    assert_eq!((view.limit, view.ttl, view.active), (Some(2), Some(MINUTE), 2));
    assert_eq!(view.subject.as_deref(), Some(subject.as_str()));
    assert!(!view.seeded, "choria's streams count from one");
    let holders: Vec<&[u8]> = view.holders.iter().map(|held| held.holder.as_bytes()).collect();
    assert_eq!(holders, [&b"one"[..], b"two"]);

    let evicted = admin.evict(view.holders[0].id).await.unwrap().expect("was held");
    assert_eq!(evicted.holder.as_bytes(), b"one");
    assert_eq!(admin.evict(view.holders[0].id).await.unwrap(), None);
    assert_eq!(admin.reset().await.unwrap(), 1);
    for mut go in workers {
        go.go_on().await;
        let left = go.line().await;
        assert!(left["error"].is_string() && left["again"].is_null(), "{left}");
        go.end().await;
    }
}

#[tokio::test]
async fn choria_evicts_what_ours_holds() {
    let place = place().await;
    let name = unique("evicted");
    let pool = CampaignPool::create(&place.connection, &config(&name, 2, TTL)).await.unwrap();
    let evicted = pool.try_acquire(&request("a at b")).await.unwrap().expect("free");
    let kept = pool.try_acquire(&request("other")).await.unwrap().expect("free");
    let id = evicted.id().to_string();
    let answer = peer::ask("evict", &place.url, &name, &["-seq", &id]).await;
    assert_eq!(answer, json!({"error": null, "name": "a at b"}));
    let again = peer::ask("evict", &place.url, &name, &["-seq", &id]).await;
    assert!(again["error"].as_str().is_some_and(|error| error.contains("no message found")), "{again}");
    let cause = timeout(evicted.remaining(), pool.lost(&evicted)).await.expect("before its deadline");
    assert!(matches!(cause, LossCause::Evicted | LossCause::Gone), "{cause}");
    assert!(!pool.release(&evicted).await.unwrap());
    assert!(pool.release(&kept).await.unwrap());
}

#[tokio::test]
async fn a_reset_by_either_ends_the_turns_of_both() {
    let place = place().await;
    let name = unique("reset");
    let pool = CampaignPool::create(&place.connection, &config(&name, 3, TTL)).await.unwrap();
    let mut go = peer::start("hold", &place.url, &name, &[]).await;
    go.line().await;
    assert_eq!(pool.reset().await.unwrap(), 1);
    go.go_on().await;
    let left = go.line().await;
    assert!(left["error"].is_string(), "{left}");

    go.go_on().await;
    go.line().await;
    let lease = pool.try_acquire(&request("rust")).await.unwrap().expect("free");
    let answer = peer::ask("reset", &place.url, &name, &[]).await;
    assert!(answer["error"].is_null(), "{answer}");
    let cause = timeout(lease.remaining(), pool.lost(&lease)).await.expect("before its deadline");
    assert!(matches!(cause, LossCause::Reset | LossCause::Gone), "{cause}");
    settles_at(&place.connection, pool.stream(), 0).await;
    go.end().await;
}

#[tokio::test]
async fn a_release_by_choria_lets_a_waiter_of_ours_in_and_the_reverse() {
    let place = place().await;
    let name = unique("turns");
    let pool = CampaignPool::create(&place.connection, &config(&name, 1, MINUTE)).await.unwrap();
    let mut go: Peer = peer::start("hold", &place.url, &name, &[]).await;
    let first = go.line().await["seq"].as_u64().unwrap();
    let waiter = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.acquire(&request("rust"), &Wait::new()).await })
    };
    soon(async {
        while pool.line().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    go.go_on().await;
    assert!(go.line().await["error"].is_null());
    let lease = soon(waiter).await.unwrap().unwrap().expect("waits without end");
    assert!(lease.token().0 > first, "tokens grow over both");

    // Now choria waits, and polls.
    go.go_on().await;
    assert!(pool.release(&lease).await.unwrap());
    let granted = soon(go.line()).await;
    assert!(granted["seq"].as_u64().unwrap() > lease.token().0, "{granted}");
    go.end().await;
}

#[tokio::test]
async fn a_change_by_choria_keeps_what_is_ours() {
    let place = place().await;
    let name = unique("changed");
    let pool = CampaignPool::create(&place.connection, &config(&name, 2, LONG)).await.unwrap();
    let lease = pool.try_acquire(&request("rust")).await.unwrap().expect("free");
    let before = info(&place.connection, pool.stream()).await;
    let incarnation = pool.describe().await.unwrap().incarnation;

    let changed = peer::ask("manager", &place.url, &name, &["-update", "-limit", "5", "-ttl", "90s"]).await;
    assert!(changed["error"].is_null(), "{changed}");
    let after = info(&place.connection, pool.stream()).await;
    assert_eq!(after["config"]["max_msgs"], json!(5));
    assert_eq!(after["config"]["max_age"], json!(90_000_000_000_u64));
    for field in ["metadata", "first_seq", "subjects", "allow_direct", "discard", "storage"] {
        assert_eq!(after["config"][field], before["config"][field], "{field}");
    }
    assert!(before["config"]["metadata"]["sluicegate.incarnation"].is_string(), "{before}");

    let description = pool.describe().await.unwrap();
    assert_eq!(description.limit, NonZeroU32::new(5));
    assert_eq!(description.ttl, Duration::from_secs(90));
    assert_eq!(description.incarnation, incarnation, "still the same governor");
    assert!(timeout(Duration::from_millis(100), pool.lost(&lease)).await.is_err(), "nothing was lost by it");
    let next = pool.try_acquire(&request("rust")).await.unwrap().expect("free");
    assert!(next.token() > lease.token());
    assert!(pool.release(&lease).await.unwrap());

    // And the other way round: choria goes on with what ours has changed.
    pool.resize(slots(4)).await.unwrap();
    assert_eq!(peer::ask("view", &place.url, &name, &[]).await["limit"], json!(4));
    let limit = ["-limit", "6", "-ttl", "90s"];
    assert_eq!(peer::ask("limit", &place.url, &name, &limit).await["limit"], json!(6));
    assert_eq!(pool.describe().await.unwrap().limit, NonZeroU32::new(6));
}
