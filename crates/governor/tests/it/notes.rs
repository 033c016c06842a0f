//! Processes tell each other of releases. Here a process is a connection: handles of different connections know
//! nothing of each other but what the server carries.

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use sluicegate_core::{Lease, LeasePool, LeasePoolAdmin, LeasePoolExt, Wait};
use sluicegate_governor::{CampaignPool, GovernorEvent, HintSource, HintState, NativePool, PoolOptions};
use sluicegate_nats::NatsEvent;
use sluicegate_nats::async_nats::{Message, Subscriber};
use sluicegate_testkit::server::{NatsServer, Proxy};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::support::{
    LONG, api, config, connection, overhear, request, settles_at, shared, slots, soon, source_is, standing,
    unique, until, wait, watched,
};

async fn url() -> String {
    NatsServer::shared().await.expect("the shared server starts").url()
}

/// Another process's handle, and what happens in it.
async fn other(url: &str, name: &str) -> (CampaignPool, UnboundedReceiver<GovernorEvent>) {
    let (observer, events) = watched();
    let options = PoolOptions::default().observer(observer);
    let pool =
        CampaignPool::bind_with(&connection(url).await, name, options).await.expect("the server answers");
    (pool, events)
}

/// Completes when the first waiter has subscribed, and has looked at the stream after that.
async fn listening(events: &mut UnboundedReceiver<GovernorEvent>) {
    source_is(events, HintSource::Audits, HintState::Working).await;
}

fn body(message: &Message) -> Value {
    serde_json::from_slice(&message.payload).expect("a note is JSON")
}

async fn next(messages: &mut Subscriber) -> Message {
    soon(messages.next()).await.expect("the connection lives")
}

#[tokio::test]
async fn a_release_wakes_one_waiter_of_one_other_process() {
    let name = unique("note");
    let pool = CampaignPool::create(&shared().await, &config(&name, 1, LONG * 60)).await.unwrap();
    let (first, mut first_events) = other(&url().await, &name).await;
    let (second, mut second_events) = other(&url().await, &name).await;
    let mut lease = pool.try_acquire(&request("holder")).await.unwrap().expect("free");
    let mut waiters = [wait(&first), wait(&second)];
    listening(&mut first_events).await;
    listening(&mut second_events).await;

    let mut campaigns = overhear(&url().await, &pool.subject()).await;
    let mut notes = overhear(&url().await, &format!("_GOV.rel.{name}")).await;
    assert!(pool.release(&lease).await.unwrap());
    assert_eq!(body(&next(&mut notes).await), json!({"seq": lease.id().0, "n": 1}));
    let (one, two) = waiters.split_at_mut(1);
    let winner = soon(async {
        tokio::select! {
            got = &mut one[0] => { lease = got.unwrap(); 0 }
            got = &mut two[0] => { lease = got.unwrap(); 1 }
        }
    })
    .await;
    let releaser = if winner == 0 { &first } else { &second };
    assert!(releaser.release(&lease).await.unwrap());
    let last = soon(&mut waiters[1 - winner]).await.unwrap();
    assert!(last.token() > lease.token());
    // One each: the first note woke nobody in vain.
    for _ in 0..2 {
        assert_eq!(&*next(&mut campaigns).await.payload, b"waiter");
    }
    api(&shared().await, "INFO", Value::Null).await;
    let further = tokio::time::timeout(Duration::from_millis(1), campaigns.next()).await;
    assert!(further.is_err(), "{further:?}");
}

#[tokio::test]
async fn native_pools_tell_each_other_too() {
    let name = unique("native-note");
    let pool = NativePool::create(&shared().await, &config(&name, 1, LONG)).await.unwrap();
    let other = NativePool::bind(&connection(&url().await).await, &name).await.unwrap();
    for _ in 0..5 {
        let lease = soon(pool.acquire(&request("a"), &Wait::new())).await.unwrap().expect("waits");
        let waiter = wait(&other);
        standing(&other, 1).await;
        assert!(pool.release(&lease).await.unwrap());
        let lease = soon(waiter).await.unwrap();
        assert!(other.release(&lease).await.unwrap());
    }
}

#[tokio::test]
async fn a_note_is_answered_by_who_can_use_it_and_passed_on_once_by_who_cannot() {
    let (url, name) = (url().await, unique("passed"));
    let pool = CampaignPool::create(&shared().await, &config(&name, 3, LONG * 60)).await.unwrap();
    for holder in ["1", "2", "3"] {
        let _ = pool.try_acquire(&request(holder)).await.unwrap().expect("free");
    }
    let (waiting, mut events) = other(&url, &name).await;
    let waiter = wait(&waiting);
    listening(&mut events).await;
    let mut notes = overhear(&url, &format!("_GOV.rel.{name}")).await;
    let mut answers = overhear(&url, "reply.*.*").await;
    let mut campaigns = overhear(&url, &pool.subject()).await;
    let stranger = connection(&url).await.client();
    let send = async |note: Value, reply: &str| {
        let subject = format!("_GOV.rel.{name}");
        stranger.publish_with_reply(subject, reply.to_owned(), note.to_string().into()).await.unwrap();
    };

    // Of three slots the one who waits can use one.
    send(json!({"seq": 1, "n": 3}), "reply._gov.7").await;
    assert_eq!(body(&next(&mut notes).await)["n"], json!(3));
    let passed_on = next(&mut notes).await;
    assert_eq!(body(&passed_on), json!({"seq": 1, "n": 2, "hop": 1}));
    assert_eq!(passed_on.reply.as_deref(), Some("reply._gov.7"));
    let answer = next(&mut answers).await;
    assert_eq!((&*answer.subject, body(&answer)), ("reply._gov.7", json!({"waiters": 1})));
    next(&mut campaigns).await;

    // Nothing is sent to a place that is not made for answers.
    send(json!({"seq": 1, "n": 1}), "reply.forged.7").await;
    next(&mut notes).await;
    next(&mut campaigns).await;
    send(json!({"seq": 1, "n": 1}), "reply._gov.8").await;
    next(&mut notes).await;
    assert_eq!(&*next(&mut answers).await.subject, "reply._gov.8");
    next(&mut campaigns).await;

    // Whoever waited is gone, and listens a moment longer.
    waiter.abort();
    soon(async {
        while !waiting.line().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    send(json!({"seq": 2, "n": 1}), "reply._gov.9").await;
    next(&mut notes).await;
    assert_eq!(body(&next(&mut notes).await), json!({"seq": 2, "n": 1, "hop": 1}));
    send(json!({"seq": 3}), "reply._gov.10").await;
    assert_eq!(body(&next(&mut notes).await), json!({"seq": 3}), "and nobody passes on what nobody hears");

    // It ends, however many could not use it.
    let waiter = wait(&waiting);
    standing(&waiting, 1).await;
    next(&mut campaigns).await;
    soon(async {
        // Until it is heard again.
        loop {
            send(json!({"seq": 4}), "reply._gov.11").await;
            if tokio::time::timeout(Duration::from_millis(50), answers.next()).await.is_ok() {
                return;
            }
        }
    })
    .await;
    waiter.abort();
    soon(async {
        while !waiting.line().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    send(json!({"seq": 5, "n": 1, "hop": 8}), "reply._gov.12").await;
    soon(async { while body(&next(&mut notes).await)["seq"] != json!(5) {} }).await;
    api(&shared().await, "INFO", Value::Null).await;
    let further = tokio::time::timeout(Duration::from_millis(1), notes.next()).await;
    assert!(further.is_err(), "{further:?}");
}

#[tokio::test]
async fn malformed_and_forged_notes_cost_requests_at_most() {
    let (url, name) = (url().await, unique("forged"));
    let pool = CampaignPool::create(&shared().await, &config(&name, 1, LONG * 60)).await.unwrap();
    let lease = pool.try_acquire(&request("holder")).await.unwrap().expect("free");
    let (waiting, mut events) = other(&url, &name).await;
    let waiter = wait(&waiting);
    listening(&mut events).await;
    let mut campaigns = overhear(&url, &pool.subject()).await;
    let stranger = connection(&url).await.client();
    let huge = format!(r#"{{"seq":1,"x":"{}"}}"#, "x".repeat(100_000));
    for forged in ["", "{", "null", r#"{"seq":-1}"#, r#"{"seq":1,"n":"x"}"#, "\u{0}\u{ff}", &huge] {
        for subject in [format!("_GOV.rel.{name}"), format!("_GOV.rev.{name}")] {
            stranger.publish(subject, forged.to_owned().into()).await.unwrap();
        }
        let advisory = format!(r#"{{"subject":"x.GOVERNOR_{name}","x":"{forged}"#);
        stranger.publish("$JS.EVENT.ADVISORY.API", advisory.into()).await.unwrap();
    }
    // As many slots as there are not: one campaign of the one who waits.
    let forged = json!({"seq": 1, "n": u64::MAX}).to_string();
    stranger.publish(format!("_GOV.rel.{name}"), forged.into()).await.unwrap();
    assert_eq!(&*next(&mut campaigns).await.payload, b"waiter");
    assert!(!waiter.is_finished());
    assert!(pool.release(&lease).await.unwrap());
    let got = soon(waiter).await.unwrap();
    assert!(got.token() > lease.token());
    assert_eq!(&*next(&mut campaigns).await.payload, b"waiter", "the second one, and no more before it");
}

#[tokio::test]
async fn whoever_releases_and_asks_again_starves_nobody() {
    let (url, name) = (url().await, unique("barging"));
    let pool = CampaignPool::create(&shared().await, &config(&name, 1, LONG * 60)).await.unwrap();
    let (second, _events) = other(&url, &name).await;
    let turns = async |pool: CampaignPool, turns: usize| {
        for _ in 0..turns {
            let lease = pool.acquire(&request("w"), &Wait::new()).await.unwrap().expect("waits without end");
            sleep(Duration::from_millis(1)).await;
            assert!(pool.release(&lease).await.unwrap());
        }
    };
    let greedy = tokio::spawn(turns(pool.clone(), usize::MAX));
    let begin = Instant::now();
    // The greedy one hears within 50 ms that somebody waits: from then on they take turns.
    soon(turns(second, 20)).await;
    greedy.abort();
    drop(greedy.await);
    assert!(begin.elapsed() < Duration::from_secs(15), "20 turns took {:?}", begin.elapsed());
}

/// Three users: `admin` may do all, `worker` and `other` all but what is said.
async fn restricted(denied: &str) -> NatsServer {
    let users = format!(
        r#"authorization {{ users: [
            {{ user: admin, password: admin }}
            {{ user: other, password: other }}
            {{ user: worker, password: worker, permissions: {{ publish: {{ allow: [">"], deny: [{denied}] }},
               subscribe: {{ allow: [">"], deny: [{denied}] }} }} }}
        ] }}"#
    );
    NatsServer::builder().config(&users).start().await.expect("the server starts")
}

fn url_of(server: &NatsServer, user: &str) -> String {
    server.url().replace("nats://", &format!("nats://{user}:{user}@"))
}

fn is_denied(event: &GovernorEvent, subject: &str) -> bool {
    matches!(event, GovernorEvent::PermissionDenied { what } if what.contains(subject))
}

#[tokio::test]
async fn whoever_may_not_send_notes_lets_the_server_send_them() {
    let server = restricted(r#""_GOV.>", "$JS.EVENT.>""#).await;
    CampaignPool::create(&connection(&url_of(&server, "admin")).await, &config("T", 1, LONG * 60))
        .await
        .unwrap();
    let (worker, mut worker_events) = other(&url_of(&server, "worker"), "T").await;
    let (waiting, mut events) = other(&url_of(&server, "other"), "T").await;
    let lease = worker.try_acquire(&request("first")).await.unwrap().expect("free");
    assert!(worker.release(&lease).await.unwrap());
    until(&mut worker_events, |event| is_denied(event, "_GOV.rel.T")).await;
    assert!(!worker.release(&lease).await.unwrap(), "it is not there any more");

    let lease = worker.try_acquire(&request("second")).await.unwrap().expect("free");
    let waiter = wait(&waiting);
    listening(&mut events).await;
    let mut notes = overhear(&url_of(&server, "other"), "_GOV.rel.T").await;
    assert!(worker.release(&lease).await.unwrap());
    assert_eq!(body(&next(&mut notes).await)["success"], json!(true), "the server's answer");
    let got = soon(waiter).await.unwrap();
    assert!(waiting.release(&got).await.unwrap());
    settles_at(&connection(&url_of(&server, "admin")).await, "GOVERNOR_T", 0).await;
}

#[tokio::test]
async fn whoever_hears_nothing_asks_by_itself() {
    let server = restricted(r#""_GOV.>", "$JS.EVENT.>""#).await;
    let admin = connection(&url_of(&server, "admin")).await;
    let pool = CampaignPool::create(&admin, &config("T", 1, LONG * 60)).await.unwrap();
    let (deaf, mut events) = other(&url_of(&server, "worker"), "T").await;
    let lease = pool.try_acquire(&request("first")).await.unwrap().expect("free");
    let waiter = tokio::spawn({
        let deaf = deaf.clone();
        async move { deaf.acquire(&request("deaf"), &Wait::new()).await.unwrap().expect("waits without end") }
    });
    let mut denied =
        ["_GOV.rel.T", "$JS.EVENT.ADVISORY.API", "$JS.EVENT.ADVISORY.STREAM.*.GOVERNOR_T"].to_vec();
    let mut dead = Vec::new();
    while !denied.is_empty() || dead.len() < 3 {
        match soon(events.recv()).await.expect("the observer lives") {
            GovernorEvent::PermissionDenied { what } => {
                denied.retain(|subject| !what.contains(&format!("`{subject}`")));
            }
            GovernorEvent::HintSource { source, state: HintState::Dead } => dead.push(source),
            _ => {}
        }
    }
    dead.sort();
    assert_eq!(dead, [HintSource::Notes, HintSource::Audits, HintSource::StreamAdvisories]);
    assert!(!deaf.line().is_hinted());
    assert!(pool.release(&lease).await.unwrap());
    let got = soon(waiter).await.unwrap();
    // Within one process nothing has to be heard.
    let waiter = wait(&deaf);
    standing(&deaf, 1).await;
    assert!(deaf.release(&got).await.unwrap());
    let _ = soon(waiter).await.unwrap();
}

#[tokio::test]
async fn notes_are_heard_again_after_the_connection_was_lost() {
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let direct = connection(&server.url()).await;
    let pool = CampaignPool::create(&direct, &config("T", 1, LONG * 60)).await.unwrap();
    let (waiting, mut events) = other(&proxy.url(), "T").await;
    let lease = pool.try_acquire(&request("holder")).await.unwrap().expect("free");
    let waiter = wait(&waiting);
    listening(&mut events).await;
    let mut link = waiting.connection().events();
    proxy.reset();
    soon(async { while link.recv().await != Ok(NatsEvent::Reconnected) {} }).await;
    hears_within(&waiting, &pool, lease, waiter).await;
}

#[tokio::test]
async fn notes_are_heard_again_by_a_client_made_anew() {
    let (url, name) = (url().await, unique("anew"));
    let pool = CampaignPool::create(&shared().await, &config(&name, 1, LONG * 60)).await.unwrap();
    let (waiting, mut events) = other(&url, &name).await;
    let lease = pool.try_acquire(&request("holder")).await.unwrap().expect("free");
    let waiter = wait(&waiting);
    listening(&mut events).await;
    let mut link = waiting.connection().events();
    waiting.connection().client().drain().await.unwrap();
    soon(async { while link.recv().await != Ok(NatsEvent::ClientRebuilt) {} }).await;
    hears_within(&waiting, &pool, lease, waiter).await;
}

/// Whoever waits gets the slot, and the one after that: by a note, or by the look that each subscription begins with.
async fn hears_within(waiting: &CampaignPool, pool: &CampaignPool, lease: Lease, waiter: JoinHandle<Lease>) {
    assert!(pool.release(&lease).await.expect("the server answers"));
    let got = soon(waiter).await.expect("the server answers");
    assert!(waiting.release(&got).await.expect("the server answers"));
    let lease = soon(pool.acquire(&request("holder"), &Wait::new()))
        .await
        .expect("the server answers")
        .expect("waits");
    let waiter = wait(waiting);
    standing(waiting, 1).await;
    assert!(pool.release(&lease).await.expect("the server answers"));
    let _ = soon(waiter).await.expect("the server answers");
}

#[tokio::test]
async fn raising_the_limit_elsewhere_lets_those_in_who_wait_here() {
    let (url, name) = (url().await, unique("raised"));
    let pool = CampaignPool::create(&shared().await, &config(&name, 1, LONG * 60)).await.unwrap();
    let (waiting, mut events) = other(&url, &name).await;
    let _first = pool.try_acquire(&request("holder")).await.unwrap().expect("free");
    let waiters = [wait(&waiting), wait(&waiting)];
    listening(&mut events).await;
    standing(&waiting, 2).await;
    pool.resize(slots(3)).await.unwrap();
    for waiter in waiters {
        let _ = soon(waiter).await.unwrap();
    }
}

#[tokio::test]
async fn a_handle_that_waits_for_nothing_asks_for_nothing() {
    let server = NatsServer::start().await.unwrap();
    let ours = connection(&server.url()).await;
    let pool = CampaignPool::create(&ours, &config("T", 1, Duration::from_secs(1))).await.unwrap();
    let lease = pool.try_acquire(&request("holder")).await.unwrap().expect("free");
    assert!(soon(pool.release(&lease)).await.unwrap());
    let mut requests = overhear(&server.url(), "$JS.API.STREAM.>").await;
    // Longer than a ttl, a poll and the time for which subscriptions are kept.
    let idle: Option<Message> =
        tokio::time::timeout(Duration::from_secs(4), requests.next()).await.ok().flatten();
    assert!(idle.is_none(), "{idle:?}");
}
