//! A real consumer, worked off by tasks that pull.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_autoscaler::{Autoscaler, ConsumerLoad, Exit, InstanceContext, Running, ScalerEvent, Tasks};
use sluicegate_nats::Connection;
use sluicegate_nats::async_nats::jetstream::consumer::pull;
use sluicegate_nats::async_nats::jetstream::stream::{RetentionPolicy, Stream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::nats::{durable, fetch, publish, shared, stream};
use crate::world::until;

const BURST: usize = 2_000;

/// How often each message was worked on to its end, and how often it was delivered again.
#[derive(Debug, Default)]
struct Ledger {
    settled: BTreeMap<u64, u32>,
    redelivered: u64,
}

struct Story {
    connection: Connection,
    stream: Stream,
    ledger: Arc<Mutex<Ledger>>,
    /// Set to make the next worker panic with messages in hand.
    poison: Arc<AtomicBool>,
    events: Arc<Mutex<Vec<ScalerEvent>>>,
    running: Running,
    token: CancellationToken,
}

impl Story {
    async fn begin(name: &'static str, ack_wait: Duration) -> Self {
        let connection = shared().await;
        let stream = stream(&connection, name, RetentionPolicy::Interest).await;
        stream.create_consumer(pull::Config { ack_wait, ..durable("worker") }).await.unwrap();
        let (ledger, poison) = (Arc::new(Mutex::new(Ledger::default())), Arc::new(AtomicBool::new(false)));
        let (of_worker, poisoned, workers) = (Arc::clone(&ledger), Arc::clone(&poison), connection.clone());
        let tasks = Tasks::new(move |cx: InstanceContext| {
            let (ledger, poison, connection) =
                (Arc::clone(&of_worker), Arc::clone(&poisoned), workers.clone());
            async move { work(cx, connection, name, ledger, poison).await }
        });
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let token = CancellationToken::new();
        let running = Autoscaler::builder(ConsumerLoad::bind(&connection, name, "worker").await.unwrap())
            .provisioner(tasks)
            .limits(0..=6)
            .service_rate(300.0)
            .hold(Duration::from_secs(1))
            .observer(move |event: &ScalerEvent| seen.lock().unwrap().push(event.clone()))
            .build()
            .unwrap()
            .start(token.clone());
        until(&running, "a first look", |status| status.load.is_some()).await;
        Self { connection, stream, ledger, poison, events, running, token }
    }

    async fn up_and_down(&mut self, name: &str) {
        publish(&self.connection, name, BURST).await;
        until(&self.running, "several instances", |status| status.fleet.ready > 1).await;
        until(&self.running, "zero", |status| status.target == 0 && status.fleet.is_empty()).await;
        let left = self.stream.info().await.unwrap().state.messages;
        assert_eq!(left, 0, "an interest stream keeps what was not acknowledged");
    }

    fn count(&self, wanted: impl Fn(&ScalerEvent) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|event| wanted(event)).count()
    }
}

/// Pulls five at a time until told to drain, and works on each for 3 ms.
async fn work(
    cx: InstanceContext,
    connection: Connection,
    stream: &'static str,
    ledger: Arc<Mutex<Ledger>>,
    poison: Arc<AtomicBool>,
) -> Result<(), String> {
    let consumer = connection.jetstream().get_consumer_from_stream("worker", stream).await;
    let consumer: sluicegate_nats::async_nats::jetstream::consumer::PullConsumer =
        consumer.map_err(|error| error.to_string())?;
    while !cx.is_draining() {
        // A pull is never abandoned: what it was given would be in nobody's hands.
        for message in fetch(&consumer, 5, Duration::from_millis(200)).await {
            sleep(Duration::from_millis(3)).await;
            assert!(!poison.swap(false, Ordering::Relaxed), "a poisoned message");
            let info = message.info().map_err(|error| error.to_string())?;
            message.double_ack().await.map_err(|error| error.to_string())?;
            let mut ledger = ledger.lock().unwrap();
            *ledger.settled.entry(info.stream_sequence).or_default() += 1;
            ledger.redelivered += u64::from(info.delivered > 1);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_burst_scales_up_and_to_zero_and_the_next_one_wakes_it_again() {
    let mut story = Story::begin("BURST", Duration::from_secs(30)).await;
    for burst in 1..=2 {
        story.up_and_down("BURST").await;
        let ledger = story.ledger.lock().unwrap();
        assert_eq!(ledger.settled.len(), burst * BURST);
        assert!(ledger.settled.values().all(|times| *times == 1), "settled more than once");
        assert_eq!(ledger.redelivered, 0, "a drained instance left something behind");
    }
    story.stream.consumer_info("worker").await.expect("the consumer outlives its idle time");
    story.token.cancel();
    let count = |wanted: fn(&ScalerEvent) -> bool| story.count(wanted);
    assert!(count(|event| matches!(event, ScalerEvent::Woken)) >= 1, "the probe woke it");
    assert_eq!(count(|event| matches!(event, ScalerEvent::InstanceCrashed { .. })), 0);
    assert_eq!(count(|event| matches!(event, ScalerEvent::InstanceKilled { .. })), 0);
    let report = story.running.join().await.unwrap();
    assert!(report.peak > 1 && report.left.is_empty());
    for decision in &report.decisions {
        println!("{:7.3}s  {decision}\n          {}", decision.at.as_secs_f64(), decision.terms);
    }
}

#[tokio::test]
async fn a_worker_that_panics_with_messages_in_hand_loses_none() {
    let mut story = Story::begin("CRASH", Duration::from_secs(2)).await;
    story.poison.store(true, Ordering::Relaxed);
    story.up_and_down("CRASH").await;
    let crashed = |event: &ScalerEvent| matches!(event, ScalerEvent::InstanceCrashed { exit: Exit::Panicked(why), .. } if why.contains("poisoned"));
    assert_eq!(story.count(crashed), 1);
    {
        let ledger = story.ledger.lock().unwrap();
        assert_eq!(ledger.settled.len(), BURST, "lost");
        assert!(ledger.redelivered >= 1, "what it had in hand was delivered again");
    }
    story.token.cancel();
    assert!(story.running.join().await.unwrap().left.is_empty());
}
