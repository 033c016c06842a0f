//! How holders learn that their lease is gone.

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use sluicegate_core::{Lease, LeasePool, LeasePoolAdmin, LossCause};
use sluicegate_governor::{CampaignPool, NativePool, PoolOptions};
use sluicegate_nats::Connection;
use sluicegate_testkit::server::NatsServer;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::support::{
    LONG, api, config, connection, create_as_choria, info, overhear, request, settles_at, shared, soon,
    stored, unique,
};

/// A pool looks every third of the time to live: this is well before the deadline, and soon.
const TTL: Duration = Duration::from_secs(9);

/// What anybody with the right to delete can do, and no pool of this process knows of.
async fn evict_from_outside(connection: &Connection, stream: &str, sequence: u64) {
    let gone = api(connection, &format!("STREAM.MSG.DELETE.{stream}"), json!({"seq": sequence})).await;
    assert_eq!(gone["success"], json!(true), "{gone}");
}

#[tokio::test]
async fn somebody_elses_eviction_is_found_out_before_the_deadline() {
    let connection = shared().await;
    let campaign = CampaignPool::create(&connection, &config(&unique("gone"), 1, TTL)).await.unwrap();
    let lease = campaign.try_acquire(&request("a")).await.unwrap().expect("free");
    evict_from_outside(&connection, campaign.stream(), lease.id().0).await;
    let cause = timeout(lease.remaining(), campaign.lost(&lease)).await.expect("before the deadline");
    assert_eq!(cause, LossCause::Gone);

    let native = NativePool::create(&connection, &config(&unique("gone"), 1, TTL)).await.unwrap();
    let lease = native.try_acquire(&request("a")).await.unwrap().expect("free");
    let lease = native.renew(&lease).await.unwrap();
    evict_from_outside(&connection, native.stream(), lease.token().0).await;
    let cause = timeout(lease.remaining(), native.lost(&lease)).await.expect("before the deadline");
    assert_eq!(cause, LossCause::Gone);
}

#[tokio::test]
async fn our_own_eviction_reset_and_deletion_are_told_at_once() {
    let connection = shared().await;
    let name = unique("told");
    let pool = CampaignPool::create(&connection, &config(&name, 3, LONG * 5)).await.unwrap();
    let admin = CampaignPool::bind(&connection, &name).await.unwrap();
    let take = async |holder| pool.try_acquire(&request(holder)).await.unwrap().expect("free");
    let (evicted, reset) = (take("evicted").await, take("reset").await);
    let begin = Instant::now();
    admin.evict(evicted.id()).await.unwrap().expect("was held");
    assert_eq!(soon(pool.lost(&evicted)).await, LossCause::Evicted);
    assert_eq!(admin.reset().await.unwrap(), 1);
    assert_eq!(soon(pool.lost(&reset)).await, LossCause::Reset);
    let deleted = take("deleted").await;
    admin.delete().await.unwrap();
    assert_eq!(soon(pool.lost(&deleted)).await, LossCause::Deleted);
    assert!(begin.elapsed() < LONG, "nobody had to look, which takes 100 s here");
    assert!(!pool.release(&deleted).await.unwrap());
}

#[tokio::test]
async fn a_lowered_ttl_ends_older_leases_in_time() {
    let connection = shared().await;
    let name = unique("lowered");
    let pool = CampaignPool::create(&connection, &config(&name, 2, LONG)).await.unwrap();
    let admin = CampaignPool::bind(&connection, &name).await.unwrap();
    let begin = Instant::now();
    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    let ttl = Duration::from_secs(2);
    admin.set_ttl(ttl).await.unwrap();
    assert_eq!(soon(pool.lost(&lease)).await, LossCause::TtlLowered);
    // Found out by looking it would have taken twenty.
    assert!(begin.elapsed() <= ttl + Duration::from_secs(2), "told in time: {:?}", begin.elapsed());
    settles_at(&connection, pool.stream(), 0).await;
    assert!(begin.elapsed() >= ttl, "and the server not earlier: {:?}", begin.elapsed());
    let next = pool.try_acquire(&request("b")).await.unwrap().expect("free");
    assert!(next.remaining() <= ttl, "later leases are as short");
}

#[tokio::test]
async fn a_ttl_lowered_by_somebody_else_is_found_out() {
    let connection = shared().await;
    let pool = CampaignPool::create(&connection, &config(&unique("foreign"), 1, TTL)).await.unwrap();
    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    let mut theirs = info(&connection, pool.stream()).await["config"].clone();
    theirs["max_age"] = json!(4_000_000_000_u64);
    theirs["duplicate_window"] = json!(4_000_000_000_u64);
    let updated = api(&connection, &format!("STREAM.UPDATE.{}", pool.stream()), theirs).await;
    assert!(updated["error"].is_null(), "{updated}");
    let cause = timeout(lease.remaining(), pool.lost(&lease)).await.expect("before the first deadline");
    assert_eq!(cause, LossCause::TtlLowered);
}

#[tokio::test]
async fn a_stream_that_disappears_takes_its_leases_along() {
    let connection = shared().await;
    let pool = CampaignPool::create(&connection, &config(&unique("vanished"), 1, TTL)).await.unwrap();
    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    api(&connection, &format!("STREAM.DELETE.{}", pool.stream()), Value::Null).await;
    assert_eq!(timeout(lease.remaining(), pool.lost(&lease)).await, Ok(LossCause::Deleted));
}

#[tokio::test]
async fn a_stream_made_anew_is_another_one_and_nothing_is_sent_for_the_old() {
    let connection = shared().await;
    let name = unique("anew");
    create_as_choria(&connection, &name, 1, TTL).await;
    let pool = CampaignPool::bind(&connection, &name).await.unwrap();
    let old = pool.try_acquire(&request("old")).await.unwrap().expect("free");
    let before = pool.describe().await.unwrap().incarnation;
    api(&connection, &format!("STREAM.DELETE.{}", pool.stream()), Value::Null).await;
    create_as_choria(&connection, &name, 1, TTL).await;
    // The new stream counts from one again: the same number is somebody else's slot now.
    let subject = pool.subject();
    connection.client().request(subject.to_string(), "somebody".into()).await.unwrap();
    assert_eq!(old.id().0, 1);
    assert_eq!(timeout(old.remaining(), pool.lost(&old)).await, Ok(LossCause::Recreated));
    assert!(!pool.release(&old).await.unwrap());
    assert_eq!(stored(&connection, pool.stream()).await, 1, "somebody's slot is still taken");
    assert!(before.is_some());
}

#[tokio::test]
async fn a_seeded_stream_made_anew_has_larger_tokens_and_another_incarnation() {
    let connection = shared().await;
    let config = config(&unique("seeded"), 1, TTL);
    let pool = CampaignPool::create(&connection, &config).await.unwrap();
    let old = pool.try_acquire(&request("old")).await.unwrap().expect("free");
    let before = pool.describe().await.unwrap().incarnation;
    api(&connection, &format!("STREAM.DELETE.{}", pool.stream()), Value::Null).await;
    let again = CampaignPool::create(&connection, &config).await.unwrap();
    let new = again.try_acquire(&request("new")).await.unwrap().expect("free");
    assert!(new.token() > old.token(), "tokens grow over a recreation");
    assert_ne!(again.describe().await.unwrap().incarnation, before);
    assert_eq!(timeout(old.remaining(), pool.lost(&old)).await, Ok(LossCause::Recreated));
    assert_eq!(pool.describe().await.unwrap().incarnation, again.describe().await.unwrap().incarnation);
}

/// A holder in another process, who learns of nothing but by notes.
async fn far(name: &str) -> CampaignPool {
    let options = PoolOptions::default().advisories(false);
    CampaignPool::bind_with(&shared().await, name, options).await.expect("the server answers")
}

/// Awaits the loss; revocations are heard by now.
async fn awaited(pool: &CampaignPool, lease: &Lease) -> JoinHandle<LossCause> {
    let (waiting, lease) = (pool.clone(), lease.clone());
    let lost = tokio::spawn(async move { waiting.lost(&lease).await });
    let subject = pool.stream().replace("GOVERNOR_", "_GOV.rev.");
    let client = pool.connection().client();
    soon(async {
        // While nobody hears it, the server says so.
        while timeout(Duration::from_millis(200), client.request(subject.clone(), "?".into())).await.is_ok() {
        }
    })
    .await;
    lost
}

#[tokio::test]
async fn an_eviction_reset_or_deletion_by_another_process_is_told_at_once() {
    let name = unique("revoked");
    let admin = CampaignPool::create(&shared().await, &config(&name, 4, LONG * 60)).await.unwrap();
    let pool = far(&name).await;
    let take = async |holder| pool.try_acquire(&request(holder)).await.unwrap().expect("free");
    let (first, second) = (take("first").await, take("second").await);
    let (one, two) = (awaited(&pool, &first).await, awaited(&pool, &second).await);
    // Found out by looking each would take twenty minutes.
    admin.evict(first.id()).await.unwrap().expect("was held");
    assert_eq!(soon(one).await.unwrap(), LossCause::Evicted);
    assert!(!two.is_finished());
    assert_eq!(admin.reset().await.unwrap(), 1);
    assert_eq!(soon(two).await.unwrap(), LossCause::Reset);
    let third = take("third").await;
    let three = awaited(&pool, &third).await;
    admin.delete().await.unwrap();
    assert_eq!(soon(three).await.unwrap(), LossCause::Deleted);
}

#[tokio::test]
async fn a_forged_revocation_costs_a_look_and_ends_nothing() {
    let url = NatsServer::shared().await.unwrap().url();
    let name = unique("forged");
    let admin = CampaignPool::create(&shared().await, &config(&name, 2, LONG * 60)).await.unwrap();
    let pool = far(&name).await;
    let lease = pool.try_acquire(&request("holder")).await.unwrap().expect("free");
    let mut looks = overhear(&url, &format!("$JS.API.STREAM.MSG.GET.{}", pool.stream())).await;
    let lost = awaited(&pool, &lease).await;
    let stranger = connection(&url).await.client();
    let forged = [json!({"all": true}), json!({"seq": lease.id().0}), json!({"seq": lease.id().0 + 1})];
    for (n, forged) in forged.into_iter().enumerate() {
        let subject = format!("_GOV.rev.{name}");
        stranger.publish(subject, forged.to_string().into()).await.unwrap();
        if n < 2 {
            soon(looks.next()).await.unwrap();
        }
    }
    api(&shared().await, "INFO", Value::Null).await;
    assert!(!lost.is_finished());
    admin.evict(lease.id()).await.unwrap().expect("was held all the time");
    assert_eq!(soon(lost).await.unwrap(), LossCause::Evicted);
}

#[tokio::test]
async fn whoever_may_not_look_believes_a_revocation() {
    let users = r#"authorization { users: [
        { user: admin, password: admin }
        { user: worker, password: worker, permissions: { publish: { allow: [">"],
          deny: ["$JS.API.STREAM.MSG.GET.>", "$JS.API.STREAM.INFO.>"] }, subscribe: { allow: [">"] } } }
    ] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let url = |user: &str| server.url().replace("nats://", &format!("nats://{user}:{user}@"));
    let admin =
        CampaignPool::create(&connection(&url("admin")).await, &config("T", 1, LONG * 60)).await.unwrap();
    let worker = connection(&url("worker")).await;
    let pool = CampaignPool::without_info(&worker, "T", None, LONG * 60).unwrap();
    let lease = pool.try_acquire(&request("holder")).await.unwrap().expect("free");
    let lost = awaited(&pool, &lease).await;
    admin.evict(lease.id()).await.unwrap().expect("was held");
    assert_eq!(soon(lost).await.unwrap(), LossCause::Evicted);
}

#[tokio::test]
async fn nothing_is_sent_for_a_lease_of_an_earlier_life_of_the_stream() {
    let connection = shared().await;
    let name = unique("epoch");
    create_as_choria(&connection, &name, 2, LONG).await;
    let pool = CampaignPool::bind(&connection, &name).await.unwrap();
    let old = pool.try_acquire(&request("old")).await.unwrap().expect("free");
    assert_eq!(old.id().0, 1);
    api(&connection, &format!("STREAM.DELETE.{}", pool.stream()), Value::Null).await;
    create_as_choria(&connection, &name, 2, LONG).await;
    // The numbers begin anew, and so show that it is another stream.
    let new = pool.try_acquire(&request("new")).await.unwrap().expect("free");
    assert_eq!((new.id(), stored(&connection, pool.stream()).await), (old.id(), 1));
    assert!(new.epoch() > old.epoch(), "{} after {}", new.epoch(), old.epoch());
    assert!(!pool.release(&old).await.unwrap());
    assert_eq!(stored(&connection, pool.stream()).await, 1, "the slot of the new one");
    assert!(pool.release(&new).await.unwrap());
}
