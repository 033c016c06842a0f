use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_streaming_client::{
    AckMode, Channel, ClientId, DurableName, ErrorKind, Failure, MemoryBroker, MemoryStats, Outcome, Queue,
    Retention, Start,
};
use tokio::time::{Instant, sleep};

use crate::support::{builder, memory_client};

fn orders() -> Channel {
    Channel::new("orders").unwrap()
}

#[tokio::test(start_paused = true)]
async fn ids_and_durables_have_one_owner() {
    let broker = MemoryBroker::new();
    let client = memory_client(&broker, "one").await;
    let again =
        builder("one").backend(sluicegate_streaming_client::Backend::memory(broker.clone())).connect();
    assert_eq!(again.await.unwrap_err().kind(), ErrorKind::Conflict);
    let held = client.subscribe("orders").durable("d").open().await.unwrap();
    let error = client.subscribe("orders").durable("d").open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DurableInUse);
    client.subscribe("other").durable("d").open().await.unwrap();
    held.close().await;
    client.subscribe("orders").durable("d").open().await.unwrap();
    // The client outlives its subscriptions' borrow only as long as somebody holds either.
    drop(client);
    memory_client(&broker, "one").await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_refused() {
    let client = memory_client(&MemoryBroker::new(), "one").await;
    let message = || client.message("orders").payload("x");
    for (message, kind, named) in [
        (message().header("Bad\r\nName", "x"), ErrorKind::InvalidName, "Bad"),
        (message().header("Name", "bad\r\nvalue"), ErrorKind::Invalid, "Name"),
        (message().reply("bad\r\nreply").header("Bad:", "x"), ErrorKind::InvalidName, "reply"),
    ] {
        let error = message.send().await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (kind, Outcome::NotDone), "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
    assert_eq!(message().header("Name", "value").send().await.unwrap().sequence, Some(1));
}

#[tokio::test(start_paused = true)]
async fn never_is_a_duration() {
    let client = memory_client(&MemoryBroker::new(), "one").await;
    client.publish("orders", "x").await.unwrap();
    let subscribe = client.subscribe("orders").start(Start::First).ack_wait(Duration::MAX);
    let subscription = subscribe.open().await.unwrap();
    let handle = subscription.handle();
    let running = tokio::spawn(subscription.for_each(async |_| Ok(())));
    while handle.stats().acked == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(!client.drain(Duration::MAX).await.timed_out);
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn limits_hold() {
    let broker = MemoryBroker::builder()
        .max_channels(2.try_into().unwrap())
        .max_messages(3.try_into().unwrap())
        .max_payload(5)
        .build();
    let client = memory_client(&broker, "one").await;
    for number in 0..5 {
        client.publish("orders", number.to_string()).await.unwrap();
    }
    client.publish("other", "x").await.unwrap();
    assert_eq!(client.publish("third", "x").await.unwrap_err().kind(), ErrorKind::Rejected);
    let error = client.publish("Orders", "x").await.unwrap_err();
    assert!(error.to_string().contains("different cases"), "{error}");
    assert_eq!(client.publish("orders", "123456").await.unwrap_err().kind(), ErrorKind::TooLarge);
    let mut all = client.subscribe("orders").start(Start::First).open().await.unwrap();
    assert_eq!(all.next().await.unwrap().sequence(), 3, "the oldest went");
    assert_eq!(client.publish_counts().not_done, 3);
}

#[tokio::test(start_paused = true)]
async fn the_duplicate_window_ends() {
    let broker = MemoryBroker::builder().duplicate_window(Duration::from_secs(60)).build();
    let client = memory_client(&broker, "one").await;
    let publish = async || client.message("orders").guid("same").send().await.unwrap();
    assert!(!publish().await.duplicate);
    sleep(Duration::from_secs(59)).await;
    assert!(publish().await.duplicate);
    sleep(Duration::from_secs(1)).await;
    let fresh = publish().await;
    assert_eq!((fresh.duplicate, fresh.sequence), (false, Some(2)));
}

/// What an autoscaler sees: a position that exists before anybody reads, and changes that can be awaited.
#[tokio::test(start_paused = true)]
async fn a_position_can_be_watched() {
    let broker = MemoryBroker::builder().retention(Retention::Interest).build();
    let (durable, queue) = (DurableName::new("WORKERS").unwrap(), Queue::new("workers").unwrap());
    assert_eq!(broker.stats(&orders(), "WORKERS"), None);
    broker.ensure_group(&orders(), &durable, &queue, Start::First).unwrap();
    let client = memory_client(&broker, "one").await;
    let stats = || broker.stats(&orders(), "WORKERS").unwrap();
    let mut changes = broker.changes();
    changes.mark_unchanged();
    for number in 0..5 {
        client.publish("orders", number.to_string()).await.unwrap();
    }
    changes.changed().await.unwrap();
    sleep(Duration::from_secs(3)).await;
    let seen = stats();
    assert_eq!((seen.pending, seen.ack_pending, seen.members, seen.last_sequence), (5, 0, 0, 5));
    assert_eq!(seen.oldest, Some(Duration::from_secs(3)));

    let subscribe = client.subscribe("orders").queue(&queue).durable(&durable).max_in_flight(2);
    let mut subscription = subscribe.ack(AckMode::Manual).open().await.unwrap();
    let first = subscription.next().await.unwrap();
    let second = subscription.next().await.unwrap();
    assert_eq!((stats().pending, stats().ack_pending, stats().members), (3, 2, 1));
    second.ack().await.unwrap();
    assert_eq!((stats().ack_floor, stats().acked), (0, 1), "the first is still open");
    first.nak(Duration::from_secs(1)).await.unwrap();
    changes.mark_unchanged();
    let again = loop {
        let message = subscription.next().await.unwrap();
        if message.sequence() == 1 {
            break message;
        }
        message.ack().await.unwrap();
    };
    assert!(changes.has_changed().unwrap());
    assert_eq!(stats().redelivered_pending, 1);
    again.ack().await.unwrap();
    while stats().acked < 5 {
        subscription.next().await.unwrap().ack().await.unwrap();
    }
    subscription.close().await;
    let end = stats();
    let expected = (0, 0, 5, 0, None);
    assert_eq!((end.pending, end.ack_pending, end.ack_floor, end.members, end.oldest), expected);
    assert_eq!((end.delivered, end.redelivered), (6, 1));
    let late = client.subscribe("orders").start(Start::First).open().await.unwrap();
    assert_eq!(late.stats().received, 0, "nothing is kept that nobody waits for");
}

/// Three workers of one group that are slow, fail and panic by rule; everything that happened, with its time.
async fn story() -> (Vec<String>, MemoryStats) {
    let broker = MemoryBroker::new();
    let log = Arc::new(Mutex::new(Vec::new()));
    let begun = Instant::now();
    let publisher = memory_client(&broker, "publisher").await;
    let mut workers = Vec::new();
    for id in ["one", "two", "three"] {
        let client = memory_client(&broker, id).await;
        let subscribe = client.subscribe("orders").queue("workers").durable("d").start(Start::First);
        let subscription = subscribe.max_in_flight(4).ack_wait(Duration::from_secs(1)).open().await.unwrap();
        let log = Arc::clone(&log);
        workers.push((
            subscription.handle(),
            tokio::spawn(subscription.for_each_concurrent(3, move |message| {
                let log = Arc::clone(&log);
                async move {
                    let (sequence, count) = (message.sequence(), message.redelivery_count());
                    let line = format!("{:?} {id} {sequence}/{count}", begun.elapsed());
                    log.lock().unwrap().push(line);
                    sleep(Duration::from_millis(sequence * 37 % 400)).await;
                    match (sequence % 7, count) {
                        (3, 0) => Err(Failure::retry()),
                        (5, 0) => Err(Failure::retry_after(Duration::from_millis(150))),
                        _ => Ok(()),
                    }
                }
            })),
        ));
    }
    for number in 0..60 {
        publisher.publish("orders", number.to_string()).await.unwrap();
        sleep(Duration::from_millis(10)).await;
    }
    let mut changes = broker.changes();
    while broker.stats(&orders(), "d").unwrap().acked < 60 {
        changes.changed().await.unwrap();
    }
    for (handle, worker) in workers {
        handle.drain(Duration::from_secs(10)).await;
        worker.await.unwrap();
    }
    let lines = log.lock().unwrap().clone();
    (lines, broker.stats(&orders(), "d").unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_same_run_gives_the_same_deliveries() {
    let (first, stats) = story().await;
    let (second, again) = story().await;
    assert_eq!(first, second);
    assert_eq!(stats, again);
    assert_eq!((stats.ack_pending, stats.acked, stats.ack_floor), (0, 60, 60));
    assert_eq!(stats.redelivered, first.len() as u64 - 60);
    assert!(["one", "two", "three"].iter().all(|id| first.iter().any(|line| line.contains(id))));
}

#[tokio::test(start_paused = true)]
async fn random_ids_do_not_meet() {
    let broker = MemoryBroker::new();
    let backend = || sluicegate_streaming_client::Backend::memory(broker.clone());
    let connect = |id| sluicegate_streaming_client::Client::builder("test", id).backend(backend()).connect();
    let (one, two) = (connect(ClientId::random()).await.unwrap(), connect(ClientId::random()).await.unwrap());
    assert_ne!(one.id(), two.id());
    assert_ne!(one.publish("orders", "").await.unwrap().guid, two.publish("orders", "").await.unwrap().guid);
}
