//! What becomes of operations that fail, are throttled, or are too late.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_batcher::{
    Batch, BatchContext, Batcher, BatcherEvent, DeadLetter, EnqueueErrorKind, Handler, OpError, Operation,
    Retry, ThrottleScope, Verdict, Verdicts, Watcher, by_value, handler_fn,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::lab::{Diary, TestWatcher, assert_books, op, settle};

/// What the store says of each attempt, with the payload and how often it has been tried.
type Said = Verdict<u32, String>;
/// When which payloads came.
type Log = Arc<Mutex<Vec<(Duration, Vec<u32>)>>>;
type Letters = Arc<Mutex<Vec<(Option<u32>, u32, String)>>>;

fn says(
    log: &Log,
    word: impl Fn(u32, u32) -> Said + Send + Sync + 'static,
) -> impl Handler<u32, u32, String> {
    let (log, start) = (Arc::clone(log), Instant::now());
    handler_fn(move |batch: &mut Batch<u32>, _cx: &BatchContext| {
        log.lock().unwrap().push((start.elapsed(), batch.iter().copied().collect()));
        let words = (0..batch.len()).map(|at| word(*batch.get(at).unwrap(), batch.attempts(at)));
        let words: Vec<_> = words.collect();
        Box::pin(async move { Verdicts::from(words) })
    })
}

fn failed(text: &str) -> Said {
    Verdict::Failed(text.to_owned())
}

fn throttled(after: u64) -> Said {
    Verdict::Throttled { retry_after: Some(Duration::from_millis(after)), error: "busy".to_owned() }
}

fn sink(letters: &Letters) -> impl Fn(DeadLetter<u32, String>) + Send + Sync + 'static {
    let letters = Arc::clone(letters);
    move |letter: DeadLetter<u32, String>| {
        let line = (letter.payload().copied(), letter.attempts(), letter.cause().to_string());
        letters.lock().unwrap().push(line);
    }
}

fn start() -> (Batcher, Diary) {
    let diary = Diary::default();
    let builder = Batcher::builder().observer(diary.observer());
    (builder.start(CancellationToken::new()).unwrap().0, diary)
}

fn steady() -> Retry<String> {
    Retry::exponential().jitter(0.0).when(|error: &String, _| error == "again")
}

#[tokio::test(start_paused = true)]
async fn verdict_per_operation() {
    let (batcher, _) = start();
    let word = |payload, _| if payload == 1 { failed("no") } else { Verdict::Done(payload * 10) };
    let users: TestWatcher = batcher.watcher(says(&Log::default(), word)).build().unwrap();
    let tickets = [users.submit(op(0)).await, users.submit(op(1)).await, users.submit(op(2)).await];
    let [a, b, c] = tickets.map(Result::unwrap);
    assert_eq!(a.await.unwrap(), 0);
    assert!(matches!(b.await, Err(OpError::Failed(error)) if *error == "no"));
    assert_eq!(c.await.unwrap(), 20);
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn retry_backoff_times() {
    let (batcher, diary) = start();
    let log = Log::default();
    let word = |payload, attempts| if attempts < 4 { failed("again") } else { Verdict::Done(payload) };
    let users: TestWatcher = batcher.watcher(says(&log, word)).retry(steady()).build().unwrap();
    assert_eq!(users.call(op(7).cost(5)).await.unwrap(), 7);
    let times: Vec<_> = log.lock().unwrap().iter().map(|(at, _)| at.as_millis()).collect();
    // A timer may be a millisecond late.
    let early = times.iter().zip([0, 100, 300, 700]).all(|(at, due)| (due..due + 5).contains(at));
    assert!(early && times.len() == 4, "{times:?}");
    assert_eq!(batcher.stats().retried, 3);
    assert_eq!(diary.count(|event| matches!(event, BatcherEvent::OperationRetried { .. })), 3);
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_another_attempt_needs_no_capacity_and_keeps_its_place() {
    let diary = Diary::default();
    let (batcher, _engine) =
        Batcher::builder().buffer(2).observer(diary.observer()).start(CancellationToken::new()).unwrap();
    let word = |payload, attempts| if attempts == 1 { failed("again") } else { Verdict::Done(payload) };
    let users: TestWatcher = batcher.watcher(says(&Log::default(), word)).retry(steady()).build().unwrap();
    let first = users.submit(op(1).cost(5)).await.unwrap();
    let second = users.submit(op(2).cost(5)).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    let stats = batcher.stats();
    assert_eq!((stats.target, stats.buffered, stats.backing_off), (0, 2, 2));
    // Both places are taken still.
    assert_eq!(users.try_enqueue(op(3)).unwrap_err().kind(), EnqueueErrorKind::Full);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (1, 2));
    settle().await;
    users.try_enqueue(op(3)).unwrap();
    users.try_enqueue(op(4)).unwrap();
    assert_eq!(diary.count(|event| matches!(event, BatcherEvent::AuditFailed { .. })), 0);
}

#[tokio::test(start_paused = true)]
async fn retry_exhausted_to_dead_letter() {
    let (batcher, diary) = start();
    let letters = Letters::default();
    let users: TestWatcher = batcher
        .watcher(says(&Log::default(), |_, _| failed("again")))
        .retry(steady().max_attempts(3))
        .dead_letter(sink(&letters))
        .build()
        .unwrap();
    users.enqueue(op(7)).await.unwrap();
    users.submit(op(8)).await.unwrap().detach();
    let heard = users.submit(op(9)).await.unwrap();
    assert!(matches!(heard.await, Err(OpError::Exhausted { attempts: 3, .. })));
    settle().await;
    let mut dead = letters.lock().unwrap().clone();
    dead.sort();
    let text = "the handler failed the operation 3 times".to_owned();
    assert_eq!(dead, [(Some(7), 3, text.clone()), (Some(8), 3, text)], "a ticket is told instead");
    assert_eq!(batcher.stats().outcomes.failed, 3);
    assert_eq!(diary.count(|event| matches!(event, BatcherEvent::DeadLettered { .. })), 2);
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn retry_predicate_decides() {
    let (batcher, _) = start();
    let log = Log::default();
    let users: TestWatcher =
        batcher.watcher(says(&log, |_, _| failed("never"))).retry(steady()).build().unwrap();
    assert!(matches!(users.submit(op(1)).await.unwrap().await, Err(OpError::Failed(_))));
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_ticket_ends_retries() {
    let (batcher, _) = start();
    let log = Log::default();
    let users: TestWatcher =
        batcher.watcher(says(&log, |_, _| failed("again"))).retry(steady()).build().unwrap();
    let ticket = users.submit(op(1).cost(3)).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    drop(ticket);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(log.lock().unwrap().len(), 1);
    assert_eq!((batcher.stats().outcomes.cancelled, batcher.stats().backing_off), (1, 0));
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn taken_payload_not_retried() {
    let (batcher, _) = start();
    let calls = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&calls);
    let handler = by_value(move |_: Vec<u32>, _| {
        *counter.lock().unwrap() += 1;
        async { Verdicts::throttled(None, "again".to_owned()) }
    });
    let users: TestWatcher = batcher.watcher(handler).retry(steady()).build().unwrap();
    assert!(matches!(users.submit(op(1)).await.unwrap().await, Err(OpError::Failed(_))));
    assert_eq!(*calls.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn unknown_not_retried_by_default() {
    for again in [false, true] {
        let (batcher, _) = start();
        let calls = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&calls);
        let users: Watcher<u32, (), String> = batcher
            .watcher(handler_fn(move |_: &mut Batch<u32>, _: &BatchContext| {
                let mut calls = counter.lock().unwrap();
                *calls += 1;
                let first = *calls == 1;
                drop(calls);
                assert!(!first, "the first call");
                Box::pin(async { Verdicts::done() })
            }))
            .retry(Retry::exponential().retry_unknown(again))
            .build()
            .unwrap();
        let ended = users.submit(op(1)).await.unwrap().await;
        assert_eq!((ended.is_ok(), *calls.lock().unwrap()), (again, 1 + i32::from(again)), "{ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn panic_in_predicate_and_dead_letter() {
    let (batcher, _) = start();
    let retry = Retry::exponential().when(|_: &String, _| panic!("predicate"));
    let users: TestWatcher = batcher
        .watcher(says(&Log::default(), |_, _| failed("no")))
        .retry(retry)
        .dead_letter(|_: DeadLetter<u32, String>| panic!("sink"))
        .build()
        .unwrap();
    users.enqueue(op(1)).await.unwrap();
    settle().await;
    let stats = batcher.stats();
    assert_eq!((stats.callback_panics, stats.outcomes.failed), (2, 1));
    assert!(users.call(op(2)).await.is_err(), "it goes on");
}

#[tokio::test(start_paused = true)]
async fn throttled_blocks_lane_for_retry_after() {
    for (scope, other) in [(ThrottleScope::Watcher, 0), (ThrottleScope::Batcher, 300)] {
        let (batcher, _engine) =
            Batcher::builder().throttle_scope(scope).adaptive(false).start(CancellationToken::new()).unwrap();
        let (log, others) = (Log::default(), Log::default());
        let seen = Arc::new(Mutex::new(0));
        let tries = Arc::clone(&seen);
        let word = move |payload, attempts| {
            assert_eq!(attempts, 1, "a throttled attempt is not counted");
            let mut tries = tries.lock().unwrap();
            *tries += 1;
            if *tries == 1 { throttled(300) } else { Verdict::Done(payload) }
        };
        let users: TestWatcher = batcher.watcher(says(&log, word)).max_attempts(1).build().unwrap();
        let bystanders: TestWatcher =
            batcher.watcher(says(&others, |payload, _| Verdict::Done(payload))).build().unwrap();
        let first = users.submit(op(1)).await.unwrap();
        settle().await;
        let second = users.submit(op(2)).await.unwrap();
        bystanders.call(op(3)).await.unwrap();
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (1, 2));
        let log = log.lock().unwrap();
        assert_eq!(log[1].1, [1, 2], "it is at the head");
        let waited = log[1].0.as_millis();
        assert!((300..=362).contains(&waited), "{waited}: up to a fifth longer");
        let waited = others.lock().unwrap()[0].0.as_millis();
        assert!((other..=other + 62).contains(&waited), "{scope:?}: {waited}");
        assert_eq!(batcher.stats().throttled, 1);
        assert_books(&batcher);
    }
}

#[tokio::test(start_paused = true)]
async fn deadline_before_dispatch() {
    let (batcher, diary) = start();
    let letters = Letters::default();
    let users: TestWatcher = batcher
        .watcher(says(&Log::default(), |payload, _| Verdict::Done(payload)))
        .dead_letter(sink(&letters))
        .build()
        .unwrap();
    let now = Instant::now();
    let refused = users.try_enqueue(op(0).deadline(now)).unwrap_err();
    assert_eq!(refused.kind(), EnqueueErrorKind::DeadlinePassed);
    settle().await;
    batcher.pause_indefinitely();
    users.enqueue(op(1).cost(2).deadline(now + Duration::from_millis(50))).await.unwrap();
    let late = users.submit(op(2).deadline(now + Duration::from_millis(20))).await.unwrap();
    let kept = users.submit(op(3).deadline(now + Duration::from_secs(60))).await.unwrap();
    assert!(matches!(late.await, Err(OpError::DeadlinePassed)));
    assert!((20..25).contains(&now.elapsed().as_millis()));
    sleep(Duration::from_millis(40)).await;
    assert_eq!((batcher.needs_capacity(), batcher.operations_in_buffer()), (1, 1));
    batcher.resume();
    assert_eq!(kept.await.unwrap(), 3);
    assert_eq!(letters.lock().unwrap()[0].0, Some(1));
    assert_eq!((batcher.stats().outcomes.deadline_passed, batcher.stats().spent), (2, 1));
    assert_eq!(diary.count(|event| matches!(event, BatcherEvent::DeadlinePassed { .. })), 2);
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn deadline_cuts_backoff() {
    let (batcher, _) = start();
    let users: TestWatcher =
        batcher.watcher(says(&Log::default(), |_, _| failed("again"))).retry(steady()).build().unwrap();
    let start = Instant::now();
    let deadline = start + Duration::from_millis(250);
    let ended = users.submit(op(1).deadline(deadline)).await.unwrap().await;
    assert!(matches!(ended, Err(OpError::DeadlinePassed)), "{ended:?}");
    assert!((250..255).contains(&start.elapsed().as_millis()));
    assert_books(&batcher);
}

#[tokio::test(start_paused = true)]
async fn three_attempts_then_too_many_attempts() {
    let (batcher, _) = start();
    let users: TestWatcher = batcher
        .watcher(says(&Log::default(), |_, _| failed("no")))
        .max_attempts(3)
        .max_batch_size(1)
        .build()
        .unwrap();
    let mut operation = Operation::new(1);
    for _ in 0..3 {
        // As a user would who is given it back: a drain hands back what was not started.
        let probe: TestWatcher =
            batcher.watcher(says(&Log::default(), |_, _| throttled(60_000))).build().unwrap();
        probe.enqueue(operation).await.unwrap();
        settle().await;
        operation = probe.drain(Duration::ZERO).await.left.remove(0);
        assert_eq!(operation.attempts(), 0, "throttled attempts do not count");
    }
    assert!(users.submit(operation).await.unwrap().await.is_err());
    assert_books(&batcher);
}
