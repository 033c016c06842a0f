use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::{Fixture, LONG, SOON, connect, durable, fill, member, next, numbers, quiet, take, until};
use crate::{AckMode, ErrorKind, Failure, Start};

/// 5: payload, headers, reply, sequence and time arrive as they were.
pub async fn clause_05_everything_published_survives(fixture: &impl Fixture) {
    let client = connect(fixture, "publisher").await;
    let bytes: Vec<u8> = (0..=255).collect();
    let message = client.message("orders.eu").payload(bytes.clone()).reply("answers").header("Kind", "test");
    message.send().await.unwrap();
    client.publish("orders.eu", "").await.unwrap();
    let mut reader = client.subscribe("orders.eu").start(Start::First).open().await.unwrap();
    let first = next(&mut reader).await;
    assert_eq!(first.channel().as_str(), "orders.eu");
    assert_eq!((first.sequence(), &first.data()[..]), (1, &bytes[..]));
    assert_eq!(first.reply(), Some("answers"));
    let kind = first.headers().and_then(|headers| headers.get("Kind")).map(|value| value.as_str().to_owned());
    assert_eq!(kind.as_deref(), Some("test"));
    assert_eq!((first.redelivered(), first.redelivery_count()), (false, 0));
    let second = next(&mut reader).await;
    assert_eq!((second.sequence(), second.data().len(), second.reply()), (2, 0, None));
    assert!(second.timestamp() >= first.timestamp());
}

/// 6: in automatic mode a message is acknowledged after its handler said `Ok`; errors and panics bring it back.
pub async fn clause_06_automatic_ack_only_after_ok(fixture: &impl Fixture) {
    let client = connect(fixture, "worker").await;
    fill(&client, 1, 4).await;
    let seen = Arc::new(Mutex::new(BTreeMap::<u64, u32>::new()));
    let subscription =
        client.subscribe("orders").durable("auto").start(Start::First).ack_wait(LONG).open().await.unwrap();
    let handle = subscription.handle();
    let tally = Arc::clone(&seen);
    let running = tokio::spawn(subscription.for_each_concurrent(2, move |message| {
        let tally = Arc::clone(&tally);
        async move {
            let before = message.redelivery_count();
            *tally.lock().unwrap().entry(message.sequence()).or_default() += 1;
            match (message.sequence(), before) {
                (2, 0) => Err(Failure::retry_after(Duration::from_millis(100))),
                (3, 0) => panic!("on purpose"),
                (4, _) => Err(Failure::reject("on purpose")),
                _ => Ok(()),
            }
        }
    }));
    until("all are settled", async || {
        let stats = handle.stats();
        stats.acked == 3 && stats.rejected == 1
    })
    .await;
    handle.drain(LONG).await;
    let stats = running.await.unwrap();
    assert_eq!((stats.naked, stats.redelivered), (2, 2));
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen, BTreeMap::from([(1, 1), (2, 2), (3, 2), (4, 1)]));

    // A raw stream: acknowledged when the next one is asked for.
    fill(&client, 5, 6).await;
    let mut raw = client.subscribe("orders").durable("auto").ack_wait(SOON).open().await.unwrap();
    let fifth = next(&mut raw).await;
    assert_eq!((fifth.sequence(), raw.stats().acked), (5, 0));
    next(&mut raw).await;
    assert_eq!(raw.stats().acked, 1);
    assert_eq!(fifth.ack().await.unwrap_err().kind(), ErrorKind::AlreadySettled);
}

/// 7: an acknowledged message does not come again, another one does after its ack wait, flagged and counted.
pub async fn clause_07_ack_stops_redelivery_and_none_brings_it_about(fixture: &impl Fixture) {
    let client = connect(fixture, "worker").await;
    fill(&client, 1, 2).await;
    let mut subscription = durable(&client, SOON).await;
    let begun = Instant::now();
    let messages = take(&mut subscription, 2).await;
    messages[0].ack().await.unwrap();
    assert_eq!(messages[0].ack().await.unwrap_err().kind(), ErrorKind::AlreadySettled);
    for count in 1..=2 {
        let again = next(&mut subscription).await;
        assert_eq!((again.sequence(), again.redelivery_count()), (2, count));
        assert!(again.redelivered());
        assert!(begun.elapsed() >= SOON * count, "not before its time");
        if count == 2 {
            again.ack_confirmed().await.unwrap();
        }
    }
    quiet(&mut subscription, SOON * 2).await;
    assert_eq!(subscription.stats().acked, 2);
}

/// 8: no more than `max_in_flight` unsettled messages at a time.
pub async fn clause_08_max_in_flight_holds(fixture: &impl Fixture) {
    let client = connect(fixture, "worker").await;
    fill(&client, 1, 10).await;
    let subscribe = client.subscribe("orders").durable("position").start(Start::First).max_in_flight(3);
    let mut subscription = subscribe.ack(AckMode::Manual).ack_wait(LONG).open().await.unwrap();
    let mut held = take(&mut subscription, 3).await;
    quiet(&mut subscription, Duration::from_millis(300)).await;
    for expected in 4..=10 {
        held.remove(0).ack().await.unwrap();
        held.push(next(&mut subscription).await);
        assert_eq!(held[2].sequence(), expected);
    }
    quiet(&mut subscription, Duration::from_millis(300)).await;
    assert_eq!(subscription.stats().in_hand, 3);
}

/// 9: each message goes to one member of a group; what a failed member held goes to the others.
pub async fn clause_09_each_message_goes_to_one_member_and_on_when_it_fails(fixture: &impl Fixture) {
    let one = connect(fixture, "one").await;
    let two = connect(fixture, "two").await;
    fill(&one, 1, 20).await;
    let mut doomed = member(&one, SOON).await;
    let held = take(&mut doomed, 5).await;
    let held_numbers = numbers(&held);
    let mut survivor = member(&two, SOON).await;
    // As if its process had died, with whatever had arrived there.
    drop((held, doomed));
    let mut seen = BTreeMap::<u64, u32>::new();
    while seen.len() < 20 {
        let message = next(&mut survivor).await;
        message.ack().await.unwrap();
        let count = seen.entry(message.sequence()).or_default();
        *count += 1;
        if held_numbers.contains(&message.sequence()) {
            assert!(message.redelivered(), "{message:?}");
        }
    }
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");
    quiet(&mut survivor, SOON * 2).await;
}

/// 14: a message handed back comes after its delay, one in progress does not come, one rejected never comes.
pub async fn clause_14_nak_with_delay_in_progress_and_term(fixture: &impl Fixture) {
    let client = connect(fixture, "worker").await;
    fill(&client, 1, 3).await;
    let mut subscription = durable(&client, SOON).await;
    let messages = take(&mut subscription, 3).await;
    let begun = Instant::now();
    messages[0].nak(SOON * 3 / 2).await.unwrap();
    messages[1].term("on purpose").await.unwrap();
    // Longer than the ack wait, said to be in progress all the while.
    while begun.elapsed() < SOON * 2 {
        messages[2].in_progress().await.unwrap();
        let step = timeout(SOON / 3, subscription.next()).await;
        if let Ok(Some(message)) = step {
            assert_eq!((message.sequence(), message.redelivery_count()), (1, 1));
            assert!(begun.elapsed() >= SOON * 3 / 2, "not before its delay");
            message.ack_confirmed().await.unwrap();
        }
    }
    messages[2].ack_confirmed().await.unwrap();
    quiet(&mut subscription, SOON * 2).await;
    let stats = subscription.stats();
    assert_eq!((stats.received, stats.acked, stats.naked, stats.rejected), (4, 2, 1, 1));
}

/// 16: drain finishes what is in hand, hands back the rest, and nothing is lost or comes twice.
pub async fn clause_16_drain_loses_nothing_and_redelivers_nothing(fixture: &impl Fixture) {
    let client = connect(fixture, "one").await;
    fill(&client, 1, 50).await;
    let handled = Arc::new(Mutex::new(Vec::new()));
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let subscribe = client.subscribe("orders").queue("workers").durable("position").start(Start::First);
    let subscription = subscribe.ack_wait(LONG).max_in_flight(20).open().await.unwrap();
    let handle = subscription.handle();
    let running = tokio::spawn(subscription.for_each_concurrent(2, {
        let (handled, entered, release) = (Arc::clone(&handled), Arc::clone(&entered), Arc::clone(&release));
        move |message| {
            let (handled, entered, release) =
                (Arc::clone(&handled), Arc::clone(&entered), Arc::clone(&release));
            async move {
                entered.notify_one();
                if message.sequence() > 4 {
                    release.notified().await;
                }
                handled.lock().unwrap().push(message.sequence());
                Ok(())
            }
        }
    }));
    until("two are in hand for good", async || handle.stats().acked == 4 && handle.stats().in_hand == 2)
        .await;
    let draining = tokio::spawn(async move { handle.drain(LONG).await });
    until("it takes nothing more", async || {
        release.notify_waiters();
        draining.is_finished()
    })
    .await;
    let report = draining.await.unwrap();
    assert_eq!((report.handled, report.left, report.timed_out), (2, 0, false), "{report:?}");
    let stats = timeout(LONG, running).await.expect("the loop ends").unwrap();
    assert_eq!((stats.acked, stats.in_hand), (6, 0));

    let mut rest = member(&client, LONG).await;
    let begun = Instant::now();
    let mut all = handled.lock().unwrap().clone();
    for message in take(&mut rest, 44).await {
        all.push(message.sequence());
        message.ack_confirmed().await.unwrap();
    }
    assert!(begun.elapsed() < LONG, "none had to wait for its ack wait");
    all.sort_unstable();
    assert!(all.into_iter().eq(1..=50));

    let report = client.drain(LONG).await;
    assert!(!report.timed_out, "{report:?}");
    assert_eq!(client.publish("orders", "late").await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(client.subscribe("orders").open().await.unwrap_err().kind(), ErrorKind::Closed);
}
