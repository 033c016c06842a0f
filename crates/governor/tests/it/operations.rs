//! What operators and accidents do to governors that are at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use sluicegate_core::{LeaseErrorKind, LeasePool, LeasePoolAdmin, LossCause};
use sluicegate_governor::{
    CampaignPool, Force, Governor, GovernorAdmin, GovernorErrorKind, Grant, NativePool, Permit, PoolOptions,
    Released,
};
use sluicegate_nats::Connection;
use sluicegate_testkit::server::{Direction, Fault, NatsServer, Proxy};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::{
    LONG, SOON, api, config, connection, create_as_choria, info, overhear, request, server, settles_at,
    shared, soon, stored, unique,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn governor(pool: impl LeasePool) -> Governor {
    Governor::builder(pool, request("worker").holder().clone()).build()
}

/// What the permits protect: it counts who is inside, by itself.
#[derive(Clone, Debug)]
struct Resource {
    inside: watch::Sender<u32>,
    most: Arc<AtomicU32>,
    turns: Arc<AtomicU32>,
}

impl Resource {
    fn new() -> Self {
        Self { inside: watch::Sender::new(0), most: Arc::default(), turns: Arc::default() }
    }

    /// Inside for that long. Whether the permit was still good at the end.
    async fn enter(&self, permit: &Permit, long: Duration) -> bool {
        self.inside.send_modify(|inside| {
            *inside += 1;
            self.most.fetch_max(*inside, Ordering::SeqCst);
        });
        self.turns.fetch_add(1, Ordering::SeqCst);
        let kept = timeout(long, permit.lost()).await.is_err();
        self.inside.send_modify(|inside| *inside -= 1);
        kept
    }

    async fn holds(&self, wanted: impl FnMut(&u32) -> bool) {
        drop(soon(self.inside.subscribe().wait_for(wanted)).await.expect("we have the sender"));
    }

    /// The most that were inside at a time since the last call.
    fn most(&self) -> u32 {
        self.most.swap(*self.inside.borrow(), Ordering::SeqCst)
    }

    async fn turns(&self, more: u32) {
        let (begin, wanted) = (Instant::now(), self.turns.load(Ordering::SeqCst) + more);
        while self.turns.load(Ordering::SeqCst) < wanted {
            assert!(begin.elapsed() < SOON, "the work goes on");
            sleep(MS * 5).await;
        }
    }
}

/// Workers that take turns until they are told to end, and fail at the first error or loss.
fn at_work(governors: &[Governor], workers: usize, resource: &Resource, turn: Duration) -> Work {
    let (end, mut tasks) = (CancellationToken::new(), JoinSet::new());
    for worker in 0..workers {
        let (governor, resource) = (governors[worker % governors.len()].clone(), resource.clone());
        let end = end.clone();
        tasks.spawn(async move {
            while !end.is_cancelled() {
                let permit = governor.acquire().await.expect("waits without end");
                assert!(resource.enter(&permit, turn).await, "nobody loses a permit here");
                permit.release().await.expect("released");
            }
        });
    }
    Work { end, tasks }
}

struct Work {
    end: CancellationToken,
    tasks: JoinSet<()>,
}

impl Work {
    async fn end(mut self) {
        self.end.cancel();
        while let Some(worker) = soon(self.tasks.join_next()).await {
            worker.expect("no worker fails");
        }
    }
}

/// Changes a stream's configuration as somebody who knows nothing of us.
async fn update(connection: &Connection, stream: &str, change: impl FnOnce(&mut Value)) {
    let mut theirs = info(connection, stream).await["config"].clone();
    change(&mut theirs);
    let updated = api(connection, &format!("STREAM.UPDATE.{stream}"), theirs).await;
    assert!(updated["error"].is_null(), "{updated}");
}

#[expect(clippy::print_stdout, reason = "the figure")]
async fn resized_under_load(pool: impl LeasePool + Clone, other: impl LeasePool, stream: &str) {
    let admin = connection(&NatsServer::shared().await.expect("runs").url()).await;
    let limit = async |limit: u32| update(&admin, stream, |config| config["max_msgs"] = json!(limit)).await;
    let resource = Resource::new();
    let governors = [governor(pool), governor(other)];
    let work = at_work(&governors, 16, &resource, MS * 200);
    resource.holds(|inside| *inside == 2).await;
    assert_eq!(resource.most(), 2);

    limit(8).await;
    let begin = Instant::now();
    resource.holds(|inside| *inside == 8).await;
    println!("grown from 2 to 8 in {:?}", begin.elapsed());
    assert!(begin.elapsed() <= SECOND, "growing takes effect at once: {:?}", begin.elapsed());
    assert_eq!(resource.most(), 8);

    // All of those inside stay to the end of their turn, or `at_work` complains.
    limit(3).await;
    resource.holds(|inside| *inside <= 3).await;
    resource.most();
    resource.turns(30).await;
    assert_eq!(resource.most(), 3, "the lower limit holds");
    work.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resizing_under_load_grows_within_a_second_and_evicts_nobody() {
    let (here, there) = (shared().await, shared().await);
    let name = unique("resize");
    let pool = CampaignPool::create(&here, &config(&name, 2, LONG)).await.expect("created");
    let other = CampaignPool::bind(&there, &name).await.expect("bound");
    resized_under_load(pool.clone(), other, pool.stream()).await;

    let pool = NativePool::create(&here, &config(&name, 2, LONG)).await.expect("created");
    let other = NativePool::bind(&there, &name).await.expect("bound");
    resized_under_load(pool.clone(), other, pool.stream()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ttl_lowered_under_a_permit_ends_it_before_another_gets_in() {
    let (here, there) = (shared().await, shared().await);
    let name = unique("lowered");
    let pool = CampaignPool::create(&here, &config(&name, 1, LONG)).await.unwrap();
    let (first, second) = (governor(pool), governor(CampaignPool::bind(&there, &name).await.unwrap()));
    let resource = Resource::new();
    let begin = Instant::now();
    let permit = first.acquire().await.unwrap();
    let working = {
        let resource = resource.clone();
        async move { resource.enter(&permit, LONG).await }
    };
    let waiting = async {
        let admin = GovernorAdmin::bind(&there, &name).await.unwrap();
        admin.set_ttl(SECOND * 2, Force::Yes).await.unwrap();
        let permit = soon(second.acquire()).await.unwrap();
        let waited = begin.elapsed();
        assert!(resource.enter(&permit, MS * 50).await);
        waited
    };
    let (kept, waited) = tokio::join!(working, waiting);
    assert!(!kept, "the first was told to stop");
    assert!(waited >= SECOND * 2, "the slot was free no earlier than it said: {waited:?}");
    assert_eq!(resource.most(), 1, "one after the other");
}

#[tokio::test]
async fn a_ttl_raised_under_a_permit_keeps_the_slot_taken_and_the_promise_as_it_was() {
    let connection = shared().await;
    let name = unique("raised");
    let pool = CampaignPool::create(&connection, &config(&name, 1, SECOND * 2)).await.unwrap();
    let governor = governor(pool.clone());
    let permit = governor.acquire().await.unwrap();
    let (deadline, end) = (permit.deadline(), permit.lease().deadline());
    pool.set_ttl(LONG).await.unwrap();
    assert!(permit.deadline() >= deadline, "no earlier than was promised");
    tokio::time::sleep_until(end + SECOND).await;
    assert_eq!(stored(&connection, pool.stream()).await, 1, "the server has the new time");
    assert!(pool.try_acquire(&request("other")).await.unwrap().is_none());
    assert_eq!(permit.release().await.unwrap(), Released::Freed);
    let next = governor.acquire().await.unwrap();
    assert!(next.lease().remaining() > LONG / 2, "later leases last as long");
    next.release().await.unwrap();
}

#[tokio::test]
async fn nothing_is_sent_for_the_leases_of_a_stream_that_was_made_anew() {
    let server = server("2.15.1").await;
    let around = connection(&server.url()).await;
    create_as_choria(&around, "T", 5, LONG).await;
    let pool = CampaignPool::bind(&connection(&server.url()).await, "T").await.unwrap();
    let governor = governor(pool.clone());
    let mut permits = Vec::new();
    for sequence in 1..=4 {
        let permit = governor.acquire().await.unwrap();
        assert_eq!(permit.token().0, sequence, "an unseeded stream");
        permits.push(permit);
    }

    let told: Vec<_> = permits
        .iter()
        .map(|permit| {
            let grant = Grant::clone(permit);
            tokio::spawn(async move { grant.lost().await })
        })
        .collect();
    let mut deletions = overhear(&server.url(), "$JS.API.STREAM.MSG.DELETE.GOVERNOR_T").await;
    api(&around, "STREAM.DELETE.GOVERNOR_T", Value::Null).await;
    create_as_choria(&around, "T", 5, LONG).await;
    for _ in 0..4 {
        around.client().request("mcollective.governor.T", "somebody".into()).await.unwrap();
    }
    for cause in told {
        let cause = timeout(LONG / 2, cause).await.expect("told before the deadline").unwrap();
        assert!(matches!(cause, LossCause::Recreated | LossCause::Deleted), "{cause}");
    }
    let released = permits.pop().unwrap().release().await.unwrap();
    assert_eq!(released, Released::Gone);
    drop(permits);

    let newer = soon(governor.acquire()).await.unwrap();
    assert_eq!(newer.token().0, 5, "the numbers of the new stream");
    assert_eq!(newer.release().await.unwrap(), Released::Freed);
    assert_eq!(governor.close(SECOND * 5).await.abandoned, 0);
    let only = soon(deletions.next()).await.unwrap();
    let body: Value = serde_json::from_slice(&only.payload).unwrap();
    assert_eq!(body["seq"], json!(5), "the first deletion that was asked for is of the new stream");
    assert!(deletions.next().now_or_never().is_none());
    assert_eq!(stored(&around, "GOVERNOR_T").await, 4, "somebody's slots are still taken");
}

#[tokio::test]
async fn who_finds_a_stream_made_anew_tells_the_others_also_where_nobody_hears_of_it() {
    let deaf = "permissions: { subscribe: { deny: [\"$JS.EVENT.>\", \"_GOV.>\"] } }";
    let users = format!(
        "authorization {{ users: [ {{ user: admin, password: admin }}, {{ user: deaf, password: deaf, {deaf} }} ] }}"
    );
    let server = NatsServer::builder().config(&users).start().await.unwrap();
    let url = |user: &str| server.url().replace("nats://", &format!("nats://{user}:{user}@"));
    let around = connection(&url("admin")).await;
    create_as_choria(&around, "T", 5, SECOND * 9).await;
    let pool = CampaignPool::bind(&connection(&url("deaf")).await, "T").await.unwrap();
    let governor = governor(pool.clone());
    let (watched, other) = (governor.acquire().await.unwrap(), governor.acquire().await.unwrap());

    let mut deletions = overhear(&url("admin"), "$JS.API.STREAM.MSG.DELETE.GOVERNOR_T").await;
    api(&around, "STREAM.DELETE.GOVERNOR_T", Value::Null).await;
    create_as_choria(&around, "T", 5, SECOND * 9).await;
    for _ in 0..4 {
        around.client().request("mcollective.governor.T", "somebody".into()).await.unwrap();
    }
    assert_eq!(soon(watched.lost()).await, LossCause::Recreated, "found by a look, before the deadline");
    assert_eq!(other.loss(), Some(LossCause::Recreated), "which is of all");
    assert_eq!(other.release().await.unwrap(), Released::Gone);
    drop(watched);
    assert_eq!(governor.close(SECOND * 5).await.abandoned, 0);
    api(&around, "INFO", Value::Null).await;
    assert!(deletions.next().now_or_never().is_none(), "nothing is sent for the old stream");
    assert_eq!(stored(&around, "GOVERNOR_T").await, 4, "somebody's slots are still taken");
}

#[tokio::test]
async fn a_repeated_release_frees_nobody_in_a_stream_that_was_made_anew_meanwhile() {
    let server = server("2.15.1").await;
    let around = connection(&server.url()).await;
    create_as_choria(&around, "T", 5, LONG).await;
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let through = connection(&proxy.url()).await;
    let options = PoolOptions::default().request_timeout(SECOND / 2);
    let pool = CampaignPool::bind_with(&through, "T", options).await.unwrap();
    let lease = pool.try_acquire(&request("old")).await.unwrap().expect("free");
    assert_eq!(lease.id().0, 1, "an unseeded stream");

    // The first request for the deletion never arrives.
    proxy.set_one_way(Direction::ToServer, Fault::Hold);
    let releasing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.release(&lease).await }
    });
    let begin = Instant::now();
    while proxy.held(Direction::ToServer) == 0 {
        assert!(begin.elapsed() < SOON, "the request is on its way");
        sleep(MS).await;
    }
    let mut deletions = overhear(&server.url(), "$JS.API.STREAM.MSG.DELETE.GOVERNOR_T").await;
    api(&around, "STREAM.DELETE.GOVERNOR_T", Value::Null).await;
    create_as_choria(&around, "T", 5, LONG).await;
    around.client().request("mcollective.governor.T", "somebody".into()).await.unwrap();
    proxy.set(Fault::Close);
    sleep(SECOND / 4).await;
    proxy.set(Fault::Pass);

    assert!(!soon(releasing).await.unwrap().unwrap(), "it was gone");
    api(&around, "INFO", Value::Null).await;
    assert!(deletions.next().now_or_never().is_none(), "nothing is sent for the old stream");
    assert_eq!(stored(&around, "GOVERNOR_T").await, 1, "somebody's slot is still taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_follow_a_subject_that_is_moved_while_they_work() {
    let (here, there) = (shared().await, shared().await);
    let name = unique("moved");
    let pool = CampaignPool::create(&here, &config(&name, 3, LONG)).await.unwrap();
    let other = CampaignPool::bind(&there, &name).await.unwrap();
    let resource = Resource::new();
    let work = at_work(&[governor(pool.clone()), governor(other.clone())], 12, &resource, MS * 20);
    let admin = GovernorAdmin::bind(&there, &name).await.unwrap();
    for round in 0..3 {
        resource.turns(20).await;
        let elsewhere = format!("collective{round}.governor.{name}");
        admin.set_subject(&elsewhere, Force::Yes).await.unwrap();
        resource.turns(40).await;
        assert_eq!((pool.subject().as_ref(), other.subject().as_ref()), (&*elsewhere, &*elsewhere));
    }
    work.end().await;
    assert_eq!(resource.most(), 3);
    assert_eq!(stored(&here, pool.stream()).await, 0, "nobody left a slot behind on the way");
}

#[tokio::test]
async fn who_may_not_look_is_told_of_the_subject_that_nobody_listens_to() {
    let users = "authorization { users: [ { user: admin, password: admin }, { user: blind, password: blind, \
                 permissions: { publish: { deny: \"$JS.API.STREAM.INFO.>\" } } } ] }";
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let as_user = async |user: &str| {
        connection(&server.url().replace("nats://", &format!("nats://{user}:{user}@"))).await
    };
    let connection = as_user("admin").await;
    let pool = CampaignPool::create(&connection, &config("T", 1, LONG)).await.unwrap();
    let blind = CampaignPool::without_info(&as_user("blind").await, "T", None, LONG).unwrap();
    let patience = SECOND;
    let worker = Governor::builder(blind, request("blind").holder().clone()).patience(patience).build();
    soon(worker.acquire()).await.unwrap().release().await.unwrap();
    let before = pool.subject();
    let elsewhere = "elsewhere";
    update(&connection, pool.stream(), |config| config["subjects"] = json!([elsewhere])).await;
    let begin = Instant::now();
    let error = soon(worker.acquire()).await.unwrap_err();
    assert!(begin.elapsed() >= patience, "it may have been an election: {:?}", begin.elapsed());
    assert_eq!(error.kind(), GovernorErrorKind::Pool(LeaseErrorKind::Transient), "{error}");
    assert!(error.to_string().contains(&*before), "{error}");
}

/// What choria does to a governor that is viewed with an update (limit 0, age 0).
fn zeroed(config: &mut Value) {
    (config["max_msgs"], config["max_age"]) = (json!(-1), json!(0));
}

#[tokio::test]
async fn a_governor_without_limit_or_end_is_refused_also_to_those_at_work() {
    let connection = shared().await;
    let campaign = CampaignPool::create(&connection, &config(&unique("zeroed"), 1, LONG)).await.unwrap();
    update(&connection, campaign.stream(), zeroed).await;
    let error = campaign.describe().await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Misconfigured, "{error}");
    let name = campaign.stream().trim_start_matches("GOVERNOR_").to_owned();
    let error = CampaignPool::bind(&connection, &name).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Misconfigured, "{error}");

    let native = NativePool::create(&connection, &config(&unique("zeroed"), 1, LONG)).await.unwrap();
    update(&connection, native.stream(), |config| config["max_msgs"] = json!(-1)).await;
    let name = native.stream().trim_start_matches("GOVERNOR2_").to_owned();
    let error = NativePool::bind(&connection, &name).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("limit"), "{error}");
}

#[tokio::test]
async fn foreign_bytes_are_leases_of_unknown_holders() {
    let connection = shared().await;
    let name = unique("foreign");
    let pool = CampaignPool::create(&connection, &config(&name, 6, LONG)).await.unwrap();
    let strange: [&[u8]; 5] =
        [b"", &[0xff, 0xfe, 0x00], b"\x1b[2J\r\nroot", &[b'x'; 100_000], b"{\"seq\":1}"];
    for payload in strange {
        let subject = pool.subject().to_string();
        let answer = connection.client().request(subject, payload.to_vec().into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert!(answer["seq"].is_u64(), "{answer}");
    }
    let ours = pool.try_acquire(&request("ours")).await.unwrap().expect("one is left");
    assert!(pool.try_acquire(&request("none")).await.unwrap().is_none(), "they count");

    let held = pool.held().await.unwrap();
    let payloads: Vec<_> = held.iter().map(|held| held.holder.as_bytes()).collect();
    assert_eq!(payloads[..5], strange, "as they are");
    for held in &held {
        let shown = held.holder.to_string();
        assert!(!shown.contains(|c: char| c.is_control()), "escaped: {shown:?}");
    }
    let view = GovernorAdmin::bind(&connection, &name).await.unwrap().view().await.unwrap();
    assert_eq!(
        view.holders.iter().map(|held| held.id).collect::<Vec<_>>(),
        held.iter().map(|held| held.id).collect::<Vec<_>>()
    );
    for foreign in &held[..5] {
        let evicted = pool.evict(foreign.id).await.unwrap().expect("was held");
        assert_eq!(evicted.holder, foreign.holder);
    }
    assert!(pool.release(&ours).await.unwrap());
    assert_eq!(stored(&connection, pool.stream()).await, 0);
}

#[tokio::test]
async fn foreign_bytes_on_a_native_governor_take_slots_too_and_can_be_evicted() {
    let connection = shared().await;
    let name = unique("foreign");
    let pool = NativePool::create(&connection, &config(&name, 2, LONG)).await.unwrap();
    let subject = format!("$GOVERNOR2.{name}.somebody");
    connection.client().request(subject, vec![0xff, 0x1b].into()).await.unwrap();
    let ours = pool.try_acquire(&request("ours")).await.unwrap().expect("one is left");
    assert!(pool.try_acquire(&request("none")).await.unwrap().is_none(), "it counts");
    let held = pool.held().await.unwrap();
    let theirs = held.iter().find(|held| held.id != ours.id()).expect("it is shown");
    assert_eq!(theirs.holder.as_bytes(), [0xff, 0x1b]);
    assert!(pool.evict(theirs.id).await.unwrap().is_some());
    assert!(pool.release(&ours).await.unwrap());
    settles_at(&connection, pool.stream(), 0).await;
}

#[tokio::test]
async fn a_lease_that_ends_while_the_server_is_down_is_lost_in_time_and_its_slot_free_at_once() {
    let server = server("2.15.1").await;
    let connection = connection(&server.url()).await;
    let ttl = SECOND * 2;
    let pool = CampaignPool::create(&connection, &config("T", 1, ttl)).await.unwrap();
    let governor = governor(pool.clone());
    let began = Instant::now();
    let old = governor.acquire().await.unwrap();
    server.kill().await.unwrap();
    let cause = timeout(ttl, old.lost()).await.expect("by its own clock");
    assert_eq!(cause, LossCause::Expired);
    assert!(began.elapsed() <= ttl);
    let token = old.token();
    drop(old);
    sleep(ttl.saturating_sub(began.elapsed()) + SECOND / 2).await;
    server.restart().await.unwrap();
    // The first answer is a lease: nobody has to wait for the server to notice what has run out.
    let lease = soon(async {
        loop {
            match pool.try_acquire(&request("next")).await {
                Ok(lease) => break lease.expect("the slot is free"),
                Err(error) => assert!(error.is_transient() || error.is_unknown(), "{error}"),
            }
        }
    })
    .await;
    assert!(lease.token() > token);
    settles_at(&connection, pool.stream(), 1).await;
    assert!(pool.release(&lease).await.unwrap());
    assert_eq!(governor.close(SECOND * 5).await.abandoned, 0, "the late release found it gone");
}
