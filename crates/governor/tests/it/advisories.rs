//! What the server tells of the calls of others.

use serde_json::json;
use sluicegate_core::{LeasePool, LeasePoolExt, LossCause, Wait};
use sluicegate_governor::{CampaignPool, GovernorEvent, HintSource, HintState, NativePool, PoolOptions};
use sluicegate_nats::{ConnectArgs, Connection, Settings, connect};
use sluicegate_testkit::server::NatsServer;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::support::{
    LONG, api, config, create_as_choria, info, request, shared, slots, soon, source_is, standing, unique,
    wait, watched,
};

/// Another program: not one of ours, by its name.
async fn stranger() -> Connection {
    let url = NatsServer::shared().await.expect("the shared server starts").url();
    let settings = Settings::from_url(&url).expect("a test's url is one").with_default_name("choria");
    connect(&settings).await.expect("the test's server answers")
}

/// A handle on a governor of choria, and what happens in it.
async fn choria(name: &str, limit: u32) -> (CampaignPool, UnboundedReceiver<GovernorEvent>) {
    let connection = shared().await;
    create_as_choria(&connection, name, limit, LONG * 60).await;
    let (observer, events) = watched();
    let options = PoolOptions::default().observer(observer);
    (CampaignPool::bind_with(&connection, name, options).await.expect("the server answers"), events)
}

async fn working(events: &mut UnboundedReceiver<GovernorEvent>) {
    source_is(events, HintSource::Audits, HintState::Working).await;
}

/// Takes a slot as a Go worker does.
async fn campaign(stranger: &Connection, pool: &CampaignPool) -> u64 {
    let ack =
        stranger.client().request(pool.subject().to_string(), "go".into()).await.expect("the server answers");
    let ack: serde_json::Value = serde_json::from_slice(&ack.payload).expect("the server answers");
    ack["seq"].as_u64().expect("granted")
}

#[tokio::test]
async fn the_release_of_another_program_wakes_a_waiter() {
    let name = unique("foreign");
    let (pool, mut events) = choria(&name, 1).await;
    let stranger = stranger().await;
    let seq = campaign(&stranger, &pool).await;
    let waiter = wait(&pool);
    working(&mut events).await;
    assert!(pool.line().is_hinted());
    let gone = api(&stranger, &format!("STREAM.MSG.DELETE.GOVERNOR_{name}"), json!({"seq": seq})).await;
    assert_eq!(gone["success"], json!(true), "{gone}");
    let _ = soon(waiter).await.unwrap();
}

#[tokio::test]
async fn the_reset_of_another_program_wakes_as_many_as_there_are_slots() {
    let name = unique("purged");
    let (pool, mut events) = choria(&name, 2).await;
    let stranger = stranger().await;
    campaign(&stranger, &pool).await;
    campaign(&stranger, &pool).await;
    let waiters = [wait(&pool), wait(&pool)];
    working(&mut events).await;
    standing(&pool, 2).await;
    api(&stranger, &format!("STREAM.PURGE.GOVERNOR_{name}"), serde_json::Value::Null).await;
    for waiter in waiters {
        let _ = soon(waiter).await.unwrap();
    }
}

#[tokio::test]
async fn a_limit_raised_by_another_program_is_learnt() {
    let name = unique("grown");
    let (pool, mut events) = choria(&name, 1).await;
    let stranger = stranger().await;
    campaign(&stranger, &pool).await;
    let waiters = [wait(&pool), wait(&pool)];
    working(&mut events).await;
    standing(&pool, 2).await;
    let mut theirs = info(&stranger, pool.stream()).await["config"].clone();
    theirs["max_msgs"] = json!(3);
    api(&stranger, &format!("STREAM.UPDATE.GOVERNOR_{name}"), theirs).await;
    for waiter in waiters {
        let _ = soon(waiter).await.unwrap();
    }
    assert_eq!(pool.limit(), Some(slots(3)));
}

#[tokio::test]
async fn the_eviction_by_another_program_is_told_to_the_holder() {
    let name = unique("evicted");
    let (pool, mut events) = choria(&name, 2).await;
    let (lease, kept) = (
        pool.try_acquire(&request("evicted")).await.unwrap().expect("free"),
        pool.try_acquire(&request("kept")).await.unwrap().expect("free"),
    );
    let lost = tokio::spawn({
        let (pool, lease) = (pool.clone(), lease.clone());
        async move { pool.lost(&lease).await }
    });
    working(&mut events).await;
    let stranger = stranger().await;
    api(&stranger, &format!("STREAM.MSG.DELETE.GOVERNOR_{name}"), json!({"seq": lease.id().0})).await;
    // Found out by looking it would take twenty minutes.
    assert_eq!(soon(lost).await.unwrap(), LossCause::Evicted);
    assert!(!pool.release(&lease).await.unwrap());
    assert!(pool.release(&kept).await.unwrap());
}

#[tokio::test]
async fn a_native_lease_that_was_renewed_is_told_of_its_eviction_and_its_own_release_is_none() {
    let connection = shared().await;
    let (observer, mut events) = watched();
    let options = PoolOptions::default().observer(observer);
    let config = config(&unique("native"), 2, LONG * 5);
    let pool = NativePool::create_with(&connection, &config, options).await.unwrap();
    let take = async || pool.try_acquire(&request("a")).await.unwrap().expect("free");
    let (evicted, released) = (take().await, take().await);
    let evicted = pool.renew(&evicted).await.unwrap();
    let spawn = |lease| {
        let pool = pool.clone();
        tokio::spawn(async move { pool.lost(&lease).await })
    };
    let (lost, not_lost) = (spawn(evicted.clone()), spawn(released.clone()));
    working(&mut events).await;
    assert!(pool.release(&released).await.unwrap());
    let stranger = stranger().await;
    let delete = format!("STREAM.MSG.DELETE.{}", pool.stream());
    api(&stranger, &delete, json!({"seq": evicted.token().0})).await;
    assert_eq!(soon(lost).await.unwrap(), LossCause::Evicted);
    assert!(!not_lost.is_finished(), "its holder gave it back");
    not_lost.abort();
}

#[tokio::test]
async fn the_deletion_of_the_stream_by_another_program_is_told_to_holders() {
    let name = unique("deleted");
    let (pool, mut events) = choria(&name, 1).await;
    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    let lost = tokio::spawn({
        let pool = pool.clone();
        async move { pool.lost(&lease).await }
    });
    working(&mut events).await;
    api(&stranger().await, &format!("STREAM.DELETE.GOVERNOR_{name}"), serde_json::Value::Null).await;
    assert_eq!(soon(lost).await.unwrap(), LossCause::Deleted);
}

#[tokio::test]
async fn whoever_wants_no_advisories_does_without() {
    let connection = shared().await;
    let (observer, mut events) = watched();
    let options = PoolOptions::default().observer(observer).advisories(false);
    let pool =
        CampaignPool::create_with(&connection, &config(&unique("quiet"), 1, LONG), options).await.unwrap();
    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(&request("b"), &Wait::new()).await.unwrap().expect("waits without end") }
    });
    standing(&pool, 1).await;
    let delete = format!("STREAM.MSG.DELETE.{}", pool.stream());
    api(&stranger().await, &delete, json!({"seq": lease.id().0})).await;
    let _ = soon(waiter).await.unwrap();
    assert!(!pool.line().is_hinted());
    while let Ok(event) = events.try_recv() {
        let audits = matches!(event, GovernorEvent::HintSource { source: HintSource::Audits, .. });
        assert!(!audits, "{event:?}");
    }
}

#[tokio::test]
async fn advisories_that_cease_to_arrive_are_not_relied_on() {
    // The server tells of nothing there, and nobody says that.
    let url = NatsServer::shared().await.expect("the shared server starts").url();
    let mut elsewhere = ConnectArgs::default();
    elsewhere.js_event_prefix = Some("$ELSEWHERE".to_owned());
    let settings = Settings::builder().args(&elsewhere).server(&url).build().unwrap();
    let connection = connect(&settings).await.unwrap();
    let (observer, mut events) = watched();
    let options = PoolOptions::default().observer(observer);
    let pool =
        CampaignPool::create_with(&connection, &config(&unique("dead"), 1, LONG), options).await.unwrap();
    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    let waiter = wait(&pool);
    source_is(&mut events, HintSource::Audits, HintState::Dead).await;
    assert!(!pool.line().is_hinted());
    assert!(pool.release(&lease).await.unwrap());
    let _ = soon(waiter).await.unwrap();
}
