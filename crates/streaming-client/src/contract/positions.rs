use std::collections::BTreeMap;
use std::time::Duration;

use super::{Fixture, LONG, SOON, connect, durable, fill, member, next, quiet, take, take_acked};
use crate::{Client, ErrorKind, Start, Subscription};

async fn from(client: &Client, start: Start) -> Subscription {
    client.subscribe("orders").start(start).open().await.unwrap()
}

/// 4: the six start positions, on a channel with messages and on one without.
pub async fn clause_04_start_positions(fixture: &impl Fixture) {
    let client = connect(fixture, "reader").await;
    let everywhere = [
        Start::New,
        Start::LastReceived,
        Start::First,
        Start::Sequence(1),
        Start::Sequence(7),
        Start::Ago(Duration::from_secs(1)),
    ];
    let mut on_empty = Vec::new();
    for start in everywhere {
        on_empty.push(from(&client, start).await);
    }
    fill(&client, 1, 1).await;
    for (reader, start) in on_empty.iter_mut().zip(everywhere) {
        assert_eq!(next(reader).await.sequence(), 1, "{start:?} on an empty channel");
    }
    drop(on_empty);

    fill(&client, 2, 3).await;
    let mut all = from(&client, Start::First).await;
    let times: Vec<_> = take(&mut all, 3).await.iter().map(crate::Message::timestamp).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    fill(&client, 4, 5).await;
    let fourth = next(&mut all).await.timestamp();
    assert!(times.is_sorted() && times[2] < fourth);
    for (start, first) in [
        (Start::LastReceived, 5),
        (Start::First, 1),
        (Start::Sequence(0), 1),
        (Start::Sequence(3), 3),
        (Start::Time(fourth), 4),
        (Start::Time(times[0]), 1),
        (Start::Ago(LONG * 100), 1),
    ] {
        let mut reader = from(&client, start).await;
        assert_eq!(next(&mut reader).await.sequence(), first, "{start:?}");
    }
    let mut new = from(&client, Start::New).await;
    let mut beyond = from(&client, Start::Sequence(99)).await;
    fill(&client, 6, 6).await;
    assert_eq!(next(&mut new).await.sequence(), 6);
    assert_eq!(next(&mut beyond).await.sequence(), 6, "it does not wait for that number");
}

/// 10: a durable goes on after what was acknowledged, gaps included.
pub async fn clause_10_durable_resumes_and_out_of_order_acks_are_kept(fixture: &impl Fixture) {
    let client = connect(fixture, "owner").await;
    fill(&client, 1, 6).await;
    let mut first = durable(&client, SOON).await;
    let messages = take(&mut first, 4).await;
    for message in [&messages[0], &messages[2]] {
        message.ack_confirmed().await.unwrap();
    }
    first.close().await;
    drop(messages);
    drop(client);

    let client = connect(fixture, "owner").await;
    let mut second = durable(&client, SOON).await;
    let mut back = BTreeMap::new();
    while back.len() < 4 {
        let message = next(&mut second).await;
        message.ack_confirmed().await.unwrap();
        let before = back.insert(message.sequence(), message.redelivered());
        assert_eq!(before, None, "{message:?} had been acknowledged");
    }
    assert!(back.keys().copied().eq([2, 4, 5, 6]));
    assert!(back[&2] && back[&4], "they had been handed over before");
    quiet(&mut second, SOON * 2).await;
}

/// 11: a durable group keeps its place without members, for clients of any id.
pub async fn clause_11_durable_group_survives_its_last_member(fixture: &impl Fixture) {
    let one = connect(fixture, "one").await;
    fill(&one, 1, 3).await;
    let mut first = member(&one, SOON).await;
    assert_eq!(take_acked(&mut first, 2).await, [1, 2]);
    first.close().await;
    let two = connect(fixture, "two").await;
    fill(&two, 4, 4).await;
    let mut second = member(&two, SOON).await;
    let rest = take_acked(&mut second, 2).await;
    assert_eq!(rest, [3, 4]);
    quiet(&mut second, SOON).await;
}

/// 12: `close` keeps the position, `unsubscribe` forgets it.
pub async fn clause_12_close_keeps_and_unsubscribe_forgets(fixture: &impl Fixture) {
    let client = connect(fixture, "owner").await;
    fill(&client, 1, 3).await;
    let mut first = durable(&client, SOON).await;
    assert_eq!(take_acked(&mut first, 2).await, [1, 2]);
    let handle = first.handle();
    first.close().await;
    assert!(!handle.is_subscribed());
    handle.close().await;
    let mut second = durable(&client, SOON).await;
    assert_eq!(take_acked(&mut second, 1).await, [3], "kept");
    second.unsubscribe().await;
    let mut third = durable(&client, SOON).await;
    assert_eq!(take_acked(&mut third, 3).await, [1, 2, 3], "forgotten");
    if client.capabilities().exclusive_durables {
        let error = client.subscribe("orders").durable("position").open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DurableInUse);
    }
}
