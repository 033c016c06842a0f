//! What choria's own tests ask of its governor, asked of ours.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use sluicegate_core::{LeaseErrorKind, LeaseId, LeasePool, LeasePoolAdmin, LeasePoolExt, Wait};
use sluicegate_governor::{CampaignPool, Force, GovernorAdmin, LifecycleEvent, LifecycleKind, PoolOptions};
use sluicegate_nats::Connection;
use sluicegate_nats::async_nats::{Request, Subscriber};
use sluicegate_testkit::server::NatsServer;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    LONG, api, config, connection, create_as_choria, info, overhear, request, server, slots, soon,
};

const VERSION: &str = "2.15.1";
const TTL: Duration = Duration::from_secs(120);

/// A governor TEST for a hundred, on the subject $BOB as it is in most of choria's test.
async fn test_governor() -> (NatsServer, Connection, GovernorAdmin) {
    let server = server(VERSION).await;
    let connection = connection(&server.url()).await;
    let config = config("TEST", 100, TTL).subject("$BOB");
    let admin = GovernorAdmin::create(&connection, &config).await.expect("created");
    (server, connection, admin)
}

#[tokio::test]
async fn choria_01_an_unknown_governor_is_unknown_even_to_those_who_would_change_it() {
    let server = server(VERSION).await;
    let connection = connection(&server.url()).await;
    for error in [
        GovernorAdmin::bind(&connection, "TEST").await.unwrap_err(),
        CampaignPool::bind(&connection, "TEST").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), LeaseErrorKind::NotFound);
        assert!(error.to_string().contains("unknown governor"), "{error}");
    }
    // One that is deleted while somebody is about to change it is not made anew.
    let admin = GovernorAdmin::create(&connection, &config("TEST", 1, TTL)).await.unwrap();
    admin.delete().await.unwrap();
    for error in [
        admin.resize(slots(2)).await.unwrap_err(),
        admin.set_ttl(TTL / 2, Force::Yes).await.unwrap_err(),
        admin.set_subject("$BOB", Force::Yes).await.unwrap_err(),
        admin.evict(LeaseId(1)).await.unwrap_err(),
        admin.reset().await.unwrap_err(),
        admin.view().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), LeaseErrorKind::NotFound, "{error}");
    }
    assert_eq!(api(&connection, "STREAM.NAMES", Value::Null).await["total"], json!(0));
}

#[tokio::test]
async fn choria_02_a_governor_is_made_with_name_limit_ttl_stream_and_subject() {
    let server = server(VERSION).await;
    let connection = connection(&server.url()).await;
    let admin = GovernorAdmin::create(&connection, &config("TEST", 100, TTL)).await.unwrap();
    let view = admin.view().await.unwrap();
    assert_eq!(view.name.as_str(), "TEST");
    assert_eq!((view.limit, view.ttl, view.replicas), (Some(100), Some(TTL), 1));
    assert_eq!(view.stream, "GOVERNOR_TEST");
    assert_eq!(view.subject.as_deref(), Some("$GOVERNOR.campaign.TEST"));
    assert_eq!(info(&connection, "GOVERNOR_TEST").await["config"]["num_replicas"], json!(1));
}

#[tokio::test]
async fn choria_03_the_subject_is_moved_in_place() {
    let server = server(VERSION).await;
    let connection = connection(&server.url()).await;
    let admin = GovernorAdmin::create(&connection, &config("TEST", 100, TTL)).await.unwrap();
    let created = admin.view().await.unwrap().created;
    // Choria does it without a word. Workers on the old subject are refused then, so here it takes more.
    assert!(admin.set_subject("$BOB", Force::No).await.is_err());
    admin.set_subject("$BOB", Force::Yes).await.unwrap();
    let view = admin.view().await.unwrap();
    assert_eq!((view.subject.as_deref(), view.created), (Some("$BOB"), created));
    assert!(admin.pool().unwrap().try_acquire(&request("on $BOB")).await.unwrap().is_some());
}

#[tokio::test]
async fn choria_04_it_was_never_active_before_it_is_used() {
    let (_server, _connection, admin) = test_governor().await;
    assert_eq!(admin.view().await.unwrap().last_active, None);
}

#[tokio::test]
async fn choria_05_an_eviction_tells_whom_it_ended() {
    let (_server, _connection, admin) = test_governor().await;
    let lease = admin.pool().unwrap().try_acquire(&request("testing.eviction")).await.unwrap().expect("free");
    assert!(lease.id().0 > 0);
    let evicted = admin.evict(lease.id()).await.unwrap().expect("held");
    assert_eq!(evicted.holder.to_string(), "testing.eviction");
}

#[tokio::test]
async fn choria_06_a_second_eviction_finds_nothing() {
    let (_server, connection, admin) = test_governor().await;
    let lease = admin.pool().unwrap().try_acquire(&request("testing.eviction")).await.unwrap().expect("free");
    assert!(admin.evict(lease.id()).await.unwrap().is_some());
    assert_eq!(admin.evict(lease.id()).await.unwrap(), None);
    let gone = api(&connection, "STREAM.MSG.GET.GOVERNOR_TEST", json!({"seq": lease.id().0})).await;
    assert_eq!(gone["error"]["err_code"], json!(10037));
}

#[tokio::test]
async fn choria_07_the_release_of_an_evicted_lease_finds_it_gone() {
    let (_server, _connection, admin) = test_governor().await;
    let pool = admin.pool().unwrap();
    let lease = pool.try_acquire(&request("testing.eviction")).await.unwrap().expect("free");
    let other = pool.try_acquire(&request("other")).await.unwrap().expect("free");
    assert!(admin.evict(lease.id()).await.unwrap().is_some());
    assert!(!pool.release(&lease).await.unwrap(), "it was not held any more");
    assert!(pool.release(&other).await.unwrap(), "and nobody else's was freed");
}

/// Defect e of choria's: a manager that was made for looking, with limit and age zero, writes its zeros.
#[tokio::test]
async fn choria_defect_e_a_governor_bound_for_looking_writes_nothing_it_was_not_told() {
    let server = server(VERSION).await;
    let ours = connection(&server.url()).await;
    create_as_choria(&ours, "TEST", 3, LONG).await;
    let mut expected = info(&ours, "GOVERNOR_TEST").await["config"].clone();
    let admin = GovernorAdmin::bind(&ours, "TEST").await.unwrap();
    admin.view().await.unwrap();
    admin.pool().unwrap().describe().await.unwrap();
    assert_eq!(info(&ours, "GOVERNOR_TEST").await["config"], expected);
    // Choria's result of this very change: max_msgs 5, max_age 0, the subject moved to the default.
    admin.resize(slots(5)).await.unwrap();
    expected["max_msgs"] = json!(5);
    assert_eq!(info(&ours, "GOVERNOR_TEST").await["config"], expected);
    // And between look and change somebody else may change something: that stays, too.
    let mut theirs = expected.clone();
    theirs["max_msg_size"] = json!(512);
    api(&ours, "STREAM.UPDATE.GOVERNOR_TEST", theirs).await;
    admin.set_ttl(LONG / 2, Force::No).await.unwrap();
    let now = info(&ours, "GOVERNOR_TEST").await["config"].clone();
    assert_eq!((&now["max_msg_size"], &now["max_msgs"]), (&json!(512), &json!(5)));
    assert_eq!(now["subjects"], json!(["mcollective.governor.TEST"]));
}

/// Defects f and g: replicas that were not given never equal the stored ones, so that every load is an update; and
/// the update's error is dropped.
#[tokio::test]
async fn choria_defect_f_ensuring_what_is_so_already_sends_no_update_and_no_error_is_dropped() {
    let server = server(VERSION).await;
    let ours = connection(&server.url()).await;
    create_as_choria(&ours, "TEST", 3, LONG).await;
    let mut updates = overhear(&server.url(), "$JS.EVENT.ADVISORY.STREAM.*.GOVERNOR_TEST").await;
    for _ in 0..3 {
        let (_, changed) = GovernorAdmin::ensure(&ours, &config("TEST", 3, LONG)).await.unwrap();
        assert!(!changed);
    }
    let wanted = config("TEST", 3, LONG).replicas(NonZeroU8::new(3).unwrap());
    let error = GovernorAdmin::ensure(&ours, &wanted).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Invalid, "a server alone keeps one copy: {error}");
    let (_, changed) = GovernorAdmin::ensure(&ours, &config("TEST", 4, LONG)).await.unwrap();
    assert!(changed);
    let first: Value = serde_json::from_slice(&soon(updates.next()).await.expect("told").payload).unwrap();
    assert_eq!(first["action"], json!("modify"));
    assert_eq!(info(&ours, "GOVERNOR_TEST").await["config"]["max_msgs"], json!(4), "it was the last one");
    GovernorAdmin::bind(&ours, "TEST").await.unwrap().delete().await.unwrap();
    let second: Value = serde_json::from_slice(&soon(updates.next()).await.expect("told").payload).unwrap();
    assert_eq!(second["action"], json!("delete"), "there was one update, not four");
}

/// Defect l: a second manager moves the subject, and workers on the old one are refused from then on.
#[tokio::test]
async fn choria_defect_l_the_subject_is_not_moved_by_those_who_do_not_say_so() {
    let server = server(VERSION).await;
    let ours = connection(&server.url()).await;
    create_as_choria(&ours, "TEST", 3, LONG).await;
    // Made by choria's agents on a collective's subject; the default one is not asked for by leaving it out.
    let (admin, changed) = GovernorAdmin::ensure(&ours, &config("TEST", 3, LONG)).await.unwrap();
    assert!(!changed);
    assert_eq!(admin.view().await.unwrap().subject.as_deref(), Some("mcollective.governor.TEST"));
    for refused in [
        GovernorAdmin::ensure(&ours, &config("TEST", 3, LONG).subject("$BOB")).await.unwrap_err(),
        GovernorAdmin::create(&ours, &config("TEST", 3, LONG).subject("$BOB")).await.unwrap_err(),
        admin.set_subject("$BOB", Force::No).await.unwrap_err(),
    ] {
        assert_eq!(refused.kind(), LeaseErrorKind::Conflict);
        assert!(refused.to_string().contains("mcollective.governor.TEST → $BOB"), "{refused}");
    }
    let go = ours.client().request("mcollective.governor.TEST", "go".into()).await.expect("not refused");
    assert!(String::from_utf8_lossy(&go.payload).contains("\"seq\""), "{go:?}");
    // By force it moves, and our workers follow.
    let pool = CampaignPool::bind(&ours, "TEST").await.unwrap();
    admin.set_subject("$BOB", Force::Yes).await.unwrap();
    assert!(pool.try_acquire(&request("follows")).await.unwrap().is_some());
    assert_eq!(pool.subject().as_ref(), "$BOB");
}

/// A thousand workers on four connections, all of them once; and how many there were at once at most.
async fn storm(server: &NatsServer, workers: usize) -> u32 {
    let (inside, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut tasks = JoinSet::new();
    for process in 0..4 {
        let connection = connection(&server.url()).await;
        let pool = Arc::new(CampaignPool::bind(&connection, "TEST").await.expect("bound"));
        for n in 0..workers / 4 {
            let (pool, inside, most) = (Arc::clone(&pool), Arc::clone(&inside), Arc::clone(&most));
            tasks.spawn(async move {
                let wait = Wait::new().poll_interval(Duration::from_millis(10));
                let request = request(&format!("worker {process}.{n}"));
                let lease = pool.acquire(&request, &wait).await?.expect("waits without end");
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_millis(50)).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                let first = pool.release(&lease).await?;
                let second = pool.release(&lease).await?;
                Ok::<_, sluicegate_core::LeaseError>((first, second))
            });
        }
    }
    let done = timeout(Duration::from_secs(20), tasks.join_all()).await.expect("all ran");
    for outcome in done {
        assert_eq!(
            outcome.expect("no worker fails"),
            (true, false),
            "the second release is none, and no error"
        );
    }
    most.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn choria_08_a_thousand_workers_all_run_and_never_more_than_a_hundred_at_once() {
    let (server, _connection, admin) = test_governor().await;
    let most = storm(&server, 1000).await;
    assert!(most <= 100, "{most} at once");
    assert_eq!(admin.view().await.unwrap().active, 0, "nothing is left");
}

#[tokio::test]
async fn choria_09_a_second_release_is_fine() {
    let (_server, _connection, admin) = test_governor().await;
    let pool = admin.pool().unwrap();
    let lease = pool.try_acquire(&request("twice")).await.unwrap().expect("free");
    assert!(pool.release(&lease).await.unwrap());
    for _ in 0..3 {
        assert!(!pool.release(&lease).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn choria_10_it_was_last_active_when_its_last_slot_was_taken() {
    let (server, _connection, admin) = test_governor().await;
    storm(&server, 100).await;
    let before = Instant::now();
    let lease = admin.pool().unwrap().try_acquire(&request("last")).await.unwrap().expect("free");
    assert!(admin.pool().unwrap().release(&lease).await.unwrap());
    let view = admin.view().await.unwrap();
    let ago = view.now.unwrap().duration_since(view.last_active.expect("used")).expect("not in the future");
    // Choria asks for less than a second. Nothing but the release was between.
    assert!(ago <= before.elapsed() + Duration::from_millis(10), "{ago:?}");
}

#[tokio::test]
async fn choria_11_workers_with_an_inbox_for_each_request_share_it() {
    let server = server(VERSION).await;
    let ours = connection(&server.url()).await;
    create_as_choria(&ours, "TEST", 1, LONG).await;
    let pool = CampaignPool::bind(&ours, "TEST").await.unwrap();
    let other = connection(&server.url()).await.client();
    let ask = async |subject: &str, body: String| -> Value {
        let request = Request::new().payload(body.into()).inbox(other.new_inbox());
        let answer = other.send_request(subject.to_owned(), request).await.expect("answered");
        serde_json::from_slice(&answer.payload).expect("JSON")
    };
    for _ in 0..3 {
        let granted = ask("mcollective.governor.TEST", "go".to_owned()).await;
        let seq = granted["seq"].as_u64().expect("granted");
        assert!(pool.try_acquire(&request("ours")).await.unwrap().is_none(), "taken by the other");
        let deleted = ask("$JS.API.STREAM.MSG.DELETE.GOVERNOR_TEST", json!({"seq": seq}).to_string()).await;
        assert_eq!(deleted["success"], json!(true));
        let lease = pool.try_acquire(&request("ours")).await.unwrap().expect("free again");
        let full = ask("mcollective.governor.TEST", "go".to_owned()).await;
        assert_eq!(full["error"]["err_code"], json!(10077));
        assert!(pool.release(&lease).await.unwrap());
    }
}

async fn next_event(events: &mut Subscriber) -> (String, LifecycleEvent) {
    let message = soon(events.next()).await.expect("an event");
    (message.subject.to_string(), LifecycleEvent::parse(&message.payload).expect("one of choria's"))
}

#[tokio::test]
async fn choria_12_lifecycle_events_tell_of_grants_releases_waits_in_vain_and_evictions() {
    let server = server(VERSION).await;
    let ours = connection(&server.url()).await;
    let made = GovernorAdmin::create(&ours, &config("TEST", 1, LONG)).await.unwrap();
    let mut events = overhear(&server.url(), LifecycleEvent::SUBJECTS).await;
    // Nobody hears of those who did not ask for it.
    let quiet = made.pool().unwrap();
    let lease = quiet.try_acquire(&request("quiet")).await.unwrap().expect("free");
    assert!(quiet.release(&lease).await.unwrap());

    let admin = made.with_options(PoolOptions::default().lifecycle_events("backup agent"));
    let pool = admin.pool().unwrap();
    let lease = pool.try_acquire(&request("web03")).await.unwrap().expect("free");
    let wait = Wait::new().at_most(Duration::from_millis(300)).poll_interval(Duration::from_millis(50));
    assert!(pool.acquire(&request("web04"), &wait).await.unwrap().is_none());
    assert!(pool.release(&lease).await.unwrap());
    let second = pool.try_acquire(&request("web05")).await.unwrap().expect("free");
    assert!(admin.evict(second.id()).await.unwrap().is_some());
    assert!(!pool.release(&second).await.unwrap(), "no exit of one that was evicted");
    let third = pool.try_acquire(&request("web06")).await.unwrap().expect("free");

    let mut ids = Vec::new();
    for (kind, who, slot) in [
        (LifecycleKind::Enter, "web03", lease.id().0),
        (LifecycleKind::Timeout, "web04", 0),
        (LifecycleKind::Exit, "web03", lease.id().0),
        (LifecycleKind::Enter, "web05", second.id().0),
        (LifecycleKind::Eviction, "web05", second.id().0),
        (LifecycleKind::Enter, "web06", third.id().0),
    ] {
        let (subject, event) = next_event(&mut events).await;
        assert_eq!(subject, "choria.lifecycle.event.governor.backup_agent");
        assert_eq!((event.kind, &*event.identity, event.sequence), (kind, who, slot));
        assert_eq!((&*event.governor, &*event.component), ("TEST", "backup_agent"));
        assert!(event.timestamp > 1_700_000_000);
        ids.push(event.id);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6, "each has an id of its own");
}

#[tokio::test]
async fn choria_13_a_worker_that_may_not_publish_lifecycle_events_works_all_the_same() {
    let users = r#"authorization { users: [
        { user: admin, password: admin }
        { user: worker, password: worker, permissions: { publish: ["$GOVERNOR.campaign.TEST", "$JS.API.STREAM.>"] } }
    ] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let url = |user: &str| server.url().replace("nats://", &format!("nats://{user}:{user}@"));
    let admin = connection(&url("admin")).await;
    CampaignPool::create(&admin, &config("TEST", 1, LONG)).await.unwrap();
    let worker = connection(&url("worker")).await;
    let options = PoolOptions::default().lifecycle_events("agent");
    let pool = CampaignPool::bind_with(&worker, "TEST", options).await.unwrap();
    for _ in 0..3 {
        let lease = pool.try_acquire(&request("worker")).await.unwrap().expect("free");
        assert!(pool.release(&lease).await.unwrap());
    }
    assert!(pool.evict(LeaseId(1)).await.unwrap().is_none());
}
