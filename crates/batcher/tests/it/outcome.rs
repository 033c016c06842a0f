use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sluicegate_batcher::{
    Batch, BatchContext, Batcher, BatcherEvent, CallError, OpError, Verdict, Verdicts, Watcher, by_value,
    handler_fn,
};
use sluicegate_core::Random;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::lab::{Diary, Store, assert_books, op, settle, watcher};

/// Payload 0 fails, 1 panics, 2 makes the list of verdicts too short, 3 fails the whole batch; else done.
fn moody(batcher: &Batcher) -> Watcher<u32, u32, &'static str> {
    batcher
        .watcher(handler_fn(|batch: &mut Batch<u32>, _cx: &BatchContext| {
            Box::pin(async move {
                let payloads: Vec<u32> = batch.iter().copied().collect();
                assert!(!payloads.contains(&1), "asked to panic");
                if payloads.contains(&3) {
                    return Verdicts::failed("all");
                }
                let verdicts = payloads.into_iter().take_while(|payload| *payload != 2);
                let verdicts =
                    verdicts.map(
                        |payload| if payload == 0 { Verdict::Failed("zero") } else { Verdict::Done(payload) },
                    );
                verdicts.collect::<Vec<_>>().into()
            })
        }))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn verdict_per_operation() {
    let (batcher, engine) = Batcher::builder().build().unwrap();
    let users = moody(&batcher);
    let good = users.submit(op(7)).await.unwrap();
    let bad = users.submit(op(0)).await.unwrap();
    let also_good = users.submit(op(8)).await.unwrap();
    tokio::spawn(engine.run(CancellationToken::new()));
    assert_eq!(good.await.unwrap(), 7);
    assert!(matches!(bad.await, Err(OpError::Failed(error)) if *error == "zero"));
    assert_eq!(also_good.await.unwrap(), 8);
    let outcomes = batcher.stats().outcomes;
    assert_eq!((outcomes.done, outcomes.failed), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn whole_batch_error_reaches_every_ticket() {
    let (batcher, engine) = Batcher::builder().build().unwrap();
    let users = moody(&batcher);
    let tickets = [users.submit(op(3)).await.unwrap(), users.submit(op(9)).await.unwrap()];
    tokio::spawn(engine.run(CancellationToken::new()));
    let mut errors = Vec::new();
    for ticket in tickets {
        let Err(OpError::Failed(error)) = ticket.await else { panic!("must fail") };
        errors.push(error);
    }
    assert!(Arc::ptr_eq(&errors[0], &errors[1]));
}

#[tokio::test(start_paused = true)]
async fn wrong_length_reaches_the_ticket() {
    let (batcher, engine) = Batcher::builder().build().unwrap();
    let users = moody(&batcher);
    let before = users.submit(op(9)).await.unwrap();
    let after = users.submit(op(2)).await.unwrap();
    tokio::spawn(engine.run(CancellationToken::new()));
    assert_eq!(before.await.unwrap(), 9);
    assert!(matches!(after.await, Err(OpError::NoVerdict)));
    assert_eq!(batcher.stats().outcomes.no_verdict, 1);
}

#[tokio::test(start_paused = true)]
async fn panics_are_contained() {
    let diary = Diary::default();
    let observer = diary.observer();
    let loud = move |event: &BatcherEvent| {
        observer(event);
        assert!(!matches!(event, BatcherEvent::BatchEnded { .. }), "the observer panics too");
    };
    let (batcher, _engine) = Batcher::builder().observer(loud).start(CancellationToken::new()).unwrap();
    let users = moody(&batcher);
    let panicked = users.call(op(1)).await.unwrap_err();
    assert!(matches!(panicked, CallError::Ended(OpError::Panicked(message)) if message.contains("asked to")));
    assert_eq!(users.call(op(9)).await.unwrap(), 9, "the engine and the slot are as good as before");
    settle().await;
    assert_eq!((batcher.stats().outcomes.panicked, batcher.in_flight()), (1, 0));
    assert_eq!(batcher.stats().callback_panics, 2);
    assert_eq!(diary.count(|event| matches!(event, BatcherEvent::HandlerPanicked { .. })), 1);
}

#[tokio::test(start_paused = true)]
async fn drop_before_dispatch_frees_target_and_place() {
    let store = Store::held_up();
    let (batcher, _engine) =
        Batcher::builder().buffer(4).max_concurrent_batches(1).start(CancellationToken::new()).unwrap();
    let users = watcher(&batcher, &store);
    users.enqueue(op(0)).await.unwrap();
    settle().await;
    let kept = users.submit(op(1).cost(10)).await.unwrap();
    let dropped = users.submit(op(2).cost(20)).await.unwrap();
    users.submit(op(3).cost(30)).await.unwrap().detach();
    users.try_enqueue(op(4)).unwrap();
    assert_eq!(batcher.needs_capacity(), 62);
    drop(dropped);
    assert_eq!(batcher.needs_capacity(), 42, "at once");
    settle().await;
    users.try_enqueue(op(5)).expect("a quarter is cancelled, so the place is free");
    assert_books(&batcher);
    store.let_through(2);
    assert_eq!(kept.await.unwrap(), 1);
    assert_eq!(store.payloads(), [vec![0], vec![1, 3, 4, 5]]);
    assert_eq!(batcher.stats().outcomes.cancelled, 1);
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn cancelled_among_many_never_reaches_the_handler() {
    let store = Store::held_up();
    let (batcher, _engine) =
        Batcher::builder().buffer(100).max_concurrent_batches(1).start(CancellationToken::new()).unwrap();
    let users = watcher(&batcher, &store);
    users.enqueue(op(1_000)).await.unwrap();
    settle().await;
    let mut tickets = Vec::new();
    for payload in 0..100 {
        tickets.push(users.submit(op(payload)).await.unwrap());
    }
    drop(tickets.remove(50));
    drop(tickets.remove(0));
    store.let_through(2);
    assert_eq!(tickets.pop().unwrap().await.unwrap(), 99);
    let expected: Vec<u32> = (1..100).filter(|payload| *payload != 50).collect();
    assert_eq!(store.payloads()[1], expected);
    let stats = batcher.stats();
    assert_eq!((stats.outcomes.cancelled, stats.outcomes.done), (2, 99));
    assert_books(&batcher);
    users.try_enqueue(op(0)).unwrap();
    settle().await;
    for payload in 0..100 {
        users.try_enqueue(op(payload)).expect("every place is free again");
    }
    assert!(users.try_enqueue(op(0)).is_err());
}

#[tokio::test(start_paused = true)]
async fn drop_after_dispatch_discards_only_the_result() {
    let store = Store::held_up();
    let (batcher, _engine) = Batcher::builder().start(CancellationToken::new()).unwrap();
    let users = watcher(&batcher, &store);
    let ticket = users.submit(op(1)).await.unwrap();
    settle().await;
    drop(ticket);
    store.let_through(1);
    settle().await;
    let outcomes = batcher.stats().outcomes;
    assert_eq!((outcomes.done, outcomes.cancelled), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn taken_payloads_and_by_value() {
    let (batcher, _engine) = Batcher::builder().start(CancellationToken::new()).unwrap();
    let sum = Arc::new(AtomicU64::new(0));
    let total = Arc::clone(&sum);
    let users: Watcher<u32, (), &str> = batcher
        .watcher(by_value(move |payloads: Vec<u32>, cx: BatchContext| {
            total.fetch_add(
                payloads.iter().map(|payload| u64::from(*payload)).sum::<u64>() + cx.cost(),
                Ordering::Relaxed,
            );
            async { Ok(()) }
        }))
        .build()
        .unwrap();
    users.call(op(40).cost(2)).await.unwrap();
    assert_eq!(sum.load(Ordering::Relaxed), 42);
}

/// Random programs of enqueue, submit, drop, sleep and drain; each accepted operation has exactly one outcome.
#[tokio::test(start_paused = true)]
async fn one_outcome_each() {
    for seed in 0..60 {
        let mut random = Random::seeded(seed);
        let (batcher, _engine) = Batcher::builder()
            .buffer(1 + random.below(40) as usize)
            .max_concurrent_batches(1 + random.below(3) as usize)
            .start(CancellationToken::new())
            .unwrap();
        let users = moody(&batcher);
        let (mut tickets, mut told, mut accepted) = (Vec::new(), 0_u64, 0_u64);
        for _ in 0..300 {
            let payload = random.below(60) as u32;
            match random.below(6) {
                0 => accepted += u64::from(users.try_enqueue(op(payload)).is_ok()),
                1 | 2 => {
                    if let Ok(ticket) = users.try_submit(op(payload).cost(random.below(9) as u32)) {
                        accepted += 1;
                        tickets.push(ticket);
                    }
                }
                3 if !tickets.is_empty() => {
                    drop(tickets.swap_remove(random.below(tickets.len() as u64) as usize));
                }
                4 => sleep(Duration::from_micros(random.below(3_000))).await,
                _ => settle().await,
            }
        }
        let report = batcher.drain(Duration::from_millis(random.below(3))).await;
        for ticket in tickets {
            let _ = ticket.await;
            told += 1;
        }
        let stats = batcher.stats();
        assert_eq!((stats.accepted, stats.outcomes.total()), (accepted, accepted), "seed {seed}: {stats:?}");
        assert_eq!((stats.target, stats.buffered, stats.running), (0, 0, 0), "seed {seed}");
        assert!(told <= accepted && report.outcomes.total() <= accepted, "seed {seed}");
    }
}
