//! Servers, connections, names, and a look at the server from outside.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_core::{Holder, Lease, LeasePool, LeasePoolExt, Request, Wait};
use sluicegate_governor::{GovernorConfig, GovernorEvent, HintSource, HintState};
use sluicegate_nats::async_nats::Subscriber;
use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_testkit::server::NatsServer;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything that is waited for here takes.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Nothing expires within a test.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A name that no other test of this process has.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) async fn server(version: &str) -> NatsServer {
    NatsServer::builder().version(version).start().await.expect("the server starts")
}

pub(crate) async fn shared() -> Connection {
    connection(&NatsServer::shared().await.expect("the shared server starts").url()).await
}

pub(crate) async fn connection(url: &str) -> Connection {
    let settings = Settings::from_url(url).expect("a test's url is one");
    connect(&settings).await.expect("the test's server answers")
}

pub(crate) fn slots(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("tests ask for at least one slot")
}

pub(crate) fn config(name: &str, limit: u32, ttl: Duration) -> GovernorConfig {
    GovernorConfig::try_new(name, slots(limit), ttl).expect("tests use proper names")
}

pub(crate) fn request(holder: &str) -> Request {
    Request::new(Holder::try_new(holder).expect("tests use proper names"))
}

/// A waiter that asks by itself only after ages.
pub(crate) fn wait(pool: &(impl LeasePool + Clone)) -> JoinHandle<Lease> {
    let pool = pool.clone();
    tokio::spawn(async move {
        let wait = Wait::new().poll_interval(LONG * 60);
        pool.acquire(&request("waiter"), &wait).await.expect("waiting answers").expect("waits without end")
    })
}

pub(crate) async fn standing(pool: &impl LeasePool, waiters: usize) {
    soon(async {
        while pool.line().len() < waiters {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// The next event for which the test holds.
pub(crate) async fn until(
    events: &mut mpsc::UnboundedReceiver<GovernorEvent>,
    wanted: impl Fn(&GovernorEvent) -> bool,
) -> GovernorEvent {
    soon(async {
        loop {
            let event = events.recv().await.expect("the observer lives");
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

/// The next time that this source of hints is in that state.
pub(crate) async fn source_is(
    events: &mut mpsc::UnboundedReceiver<GovernorEvent>,
    source: HintSource,
    state: HintState,
) {
    until(events, |event| *event == GovernorEvent::HintSource { source, state }).await;
}

/// An API call as any other client would make it.
pub(crate) async fn api(connection: &Connection, verb: &str, body: Value) -> Value {
    let payload = if body.is_null() { String::new() } else { body.to_string() };
    let client = connection.client();
    let answer = client.request(format!("$JS.API.{verb}"), payload.into()).await.expect("the API answers");
    serde_json::from_slice(&answer.payload).expect("the API answers JSON")
}

pub(crate) async fn info(connection: &Connection, stream: &str) -> Value {
    api(connection, &format!("STREAM.INFO.{stream}"), Value::Null).await
}

pub(crate) async fn stored(connection: &Connection, stream: &str) -> u64 {
    info(connection, stream).await["state"]["messages"].as_u64().expect("the stream exists")
}

/// Waits until that many messages are stored.
pub(crate) async fn settles_at(connection: &Connection, stream: &str, messages: u64) {
    let begin = Instant::now();
    loop {
        let now = stored(connection, stream).await;
        if now == messages {
            return;
        }
        assert!(begin.elapsed() < SOON, "{now} messages stored, {messages} expected");
        sleep(Duration::from_millis(20)).await;
    }
}

/// What is published to that subject from now on, seen by somebody else.
pub(crate) async fn overhear(url: &str, subject: &str) -> Subscriber {
    let onlooker = connection(url).await;
    let seen = onlooker.client().subscribe(subject.to_owned()).await.expect("subscribed");
    // Once this is answered the server knows of the subscription.
    api(&onlooker, "INFO", Value::Null).await;
    seen
}

/// Makes a governor's stream as choria does, field by field.
pub(crate) async fn create_as_choria(connection: &Connection, name: &str, limit: u32, ttl: Duration) {
    let stream = format!("GOVERNOR_{name}");
    let nanos = u64::try_from(ttl.as_nanos()).expect("a short time");
    let config = json!({
        "name": stream, "description": format!("Concurrency Governor {name}"),
        "subjects": [format!("mcollective.governor.{name}")], "retention": "limits", "max_consumers": -1,
        "max_msgs": limit, "max_bytes": -1, "max_age": nanos, "max_msgs_per_subject": -1, "max_msg_size": -1,
        "discard": "new", "storage": "file", "num_replicas": 1, "sealed": false, "deny_delete": false,
        "deny_purge": false, "allow_rollup_hdrs": false, "allow_direct": false, "mirror_direct": false,
        "consumer_limits": {},
    });
    let made = api(connection, &format!("STREAM.CREATE.{stream}"), config).await;
    assert!(made["error"].is_null(), "{made}");
}

/// An observer, and what it has seen.
pub(crate) fn watched()
-> (impl Fn(&GovernorEvent) + Send + Sync + 'static, mpsc::UnboundedReceiver<GovernorEvent>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let observer = move |event: &GovernorEvent| drop(sender.send(event.clone()));
    (observer, receiver)
}

pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(SOON, future).await.expect("happens soon")
}
