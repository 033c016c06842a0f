//! Random programs: whatever callers and handlers do, each accepted operation has one outcome, limits hold, and the
//! books are right at every look.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use sluicegate_batcher::{
    Audit, Batch, BatchContext, Batcher, BatcherEvent, DeadLetter, Fixed, OnTimeout, Operation, Retry,
    Ticket, Verdict, Verdicts, Watcher, handler_fn,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::lab::{Diary, settle};

const MAX_SIZE: usize = 5;
const MAX_COST: u64 = 20;
const MAX_BYTES: u64 = 50;
const SLOTS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Hand {
        payload: u32,
        cost: u32,
        bytes: u32,
        alone: bool,
        deadline: Option<u64>,
        how: How,
    },
    Sleep(u64),
    Flush,
    Pause(u64),
    Audit,
    /// Drops the oldest ticket that is kept.
    Forget,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Enqueue,
    Keep,
    Drop,
    Detach,
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![Just(How::Enqueue), Just(How::Keep), Just(How::Drop), Just(How::Detach)];
    let hand = (
        0_u32..1_000,
        0_u32..30,
        0_u32..70,
        prop::bool::weighted(0.1),
        prop::option::weighted(0.2, 0_u64..200),
        how,
    );
    let hand = hand.prop_map(|(payload, cost, bytes, alone, deadline, how)| Step::Hand {
        payload,
        cost,
        bytes,
        alone,
        deadline,
        how,
    });
    prop_oneof![
        12 => hand,
        2 => (0_u64..120).prop_map(Step::Sleep),
        1 => Just(Step::Flush),
        1 => (1_u64..80).prop_map(Step::Pause),
        1 => Just(Step::Audit),
        1 => Just(Step::Forget),
    ]
}

/// What became of it.
#[derive(Debug, Default)]
struct World {
    dead: u64,
    running: usize,
    broken: Vec<String>,
}

/// Some payloads fail, for ever or at first, are throttled, panic, or never end.
fn watcher(batcher: &Batcher, world: &Arc<Mutex<World>>, detach: bool) -> Watcher<u32, u32, &'static str> {
    struct Inside(Arc<Mutex<World>>);
    impl Drop for Inside {
        fn drop(&mut self) {
            self.0.lock().unwrap().running -= 1;
        }
    }
    let (seen, buried) = (Arc::clone(world), Arc::clone(world));
    let tries: Arc<Mutex<BTreeMap<u32, u32>>> = Arc::default();
    let handler = handler_fn(move |batch: &mut Batch<u32>, cx: &BatchContext| {
        let cost: u64 = (0..batch.len()).map(|at| u64::from(batch.cost(at))).sum();
        let mut world = seen.lock().unwrap();
        world.running += 1;
        if world.running > SLOTS {
            let line = format!("{} batches at a time", world.running);
            world.broken.push(line);
        }
        let large = batch.len() > 1 && (cost > MAX_COST || cx.bytes() > MAX_BYTES);
        if batch.len() > MAX_SIZE || large || cost != cx.cost() {
            world.broken.push(format!("a batch of {}, {cost} and {}", batch.len(), cx.bytes()));
        }
        drop(world);
        let inside = Inside(Arc::clone(&seen));
        let tries = Arc::clone(&tries);
        Box::pin(async move {
            let _inside = inside;
            sleep(Duration::from_millis(u64::from(*batch.get(0).unwrap() % 7))).await;
            let word = |payload: u32| {
                let mut tries = tries.lock().unwrap();
                let tried = tries.entry(payload).or_default();
                *tried += 1;
                match payload % 11 {
                    7 => Verdict::Failed("no"),
                    8 => Verdict::Failed("again"),
                    9 if !tried.is_multiple_of(3) => {
                        Verdict::Throttled { retry_after: Some(Duration::from_millis(10)), error: "busy" }
                    }
                    _ => Verdict::Done(payload),
                }
            };
            if batch.iter().any(|payload| payload % 97 == 3) {
                pending::<()>().await;
            }
            assert!(batch.iter().all(|payload| payload % 89 != 5), "five");
            if batch.iter().any(|payload| payload % 83 == 2) {
                // One verdict too few.
                return Verdicts::from(batch.iter().skip(1).copied().map(word).collect::<Vec<_>>());
            }
            Verdicts::from(batch.iter().copied().map(word).collect::<Vec<_>>())
        })
    });
    let retry =
        Retry::exponential().first_delay(Duration::from_millis(20)).retry_unknown(true).max_attempts(3);
    batcher
        .watcher(handler)
        .max_batch_size(MAX_SIZE)
        .max_batch_cost(MAX_COST)
        .max_batch_bytes(MAX_BYTES)
        .max_operation_time(Duration::from_millis(40))
        .on_timeout(if detach { OnTimeout::Detach } else { OnTimeout::Cancel })
        .retry(retry.when(|error: &&str, _| *error == "again"))
        .dead_letter(move |_: DeadLetter<u32, &'static str>| buried.lock().unwrap().dead += 1)
        .build()
        .unwrap()
}

async fn run(steps: Vec<Step>, rate: Option<u64>, detach: bool, timeout: u64) -> Result<(), TestCaseError> {
    let (world, diary) = (Arc::new(Mutex::new(World::default())), Diary::default());
    let mut builder = Batcher::builder()
        .buffer(20)
        .buffer_bytes(300)
        .max_concurrent_batches(SLOTS)
        .audit_interval(Duration::from_millis(15))
        .observer(diary.observer());
    if let Some(rate) = rate {
        builder = builder.capacity(Fixed::per_second(rate));
    }
    let (batcher, _engine) = builder.start(CancellationToken::new()).unwrap();
    let users = watcher(&batcher, &world, detach);
    let mut kept: Vec<Ticket<u32, &str>> = Vec::new();
    let (mut accepted, mut dropped_late) = (0, 0);
    for step in steps {
        match step {
            Step::Hand { payload, cost, bytes, alone, deadline, how } => {
                let mut operation = Operation::new(payload).cost(cost).bytes(bytes);
                if alone {
                    operation = operation.alone();
                }
                if let Some(millis) = deadline {
                    operation = operation.deadline(Instant::now() + Duration::from_millis(millis));
                }
                match how {
                    How::Enqueue => accepted += u64::from(users.try_enqueue(operation).is_ok()),
                    _ => {
                        let Ok(ticket) = users.try_submit(operation) else { continue };
                        accepted += 1;
                        match how {
                            How::Keep => kept.push(ticket),
                            How::Detach => ticket.detach(),
                            _ => drop(ticket),
                        }
                    }
                }
            }
            Step::Sleep(millis) => sleep(Duration::from_millis(millis)).await,
            Step::Flush => batcher.flush(),
            Step::Pause(millis) => batcher.pause_for(Duration::from_millis(millis)),
            Step::Audit => prop_assert!(!matches!(batcher.audit().await, Audit::Failed(_))),
            Step::Forget => {
                if !kept.is_empty() {
                    drop(kept.remove(0));
                    dropped_late += 1;
                }
            }
        }
        settle().await;
    }
    let report = batcher.drain(Duration::from_millis(timeout)).await;
    let waiting = kept.len() as u64;
    let mut told = 0;
    for ticket in kept {
        // Polled once: whatever became of it, it is known by now.
        told += u64::from(futures::FutureExt::now_or_never(ticket).is_some());
    }
    let (stats, world) = (batcher.stats(), world.lock().unwrap());
    prop_assert_eq!((stats.accepted, told), (accepted, waiting));
    prop_assert_eq!(stats.outcomes.total(), accepted, "{:?} {:?}", stats, report);
    prop_assert_eq!((stats.buffered, stats.running, stats.backing_off, stats.target), (0, 0, 0, 0));
    prop_assert_eq!((world.running, stats.callback_panics), (0, 0));
    prop_assert!(world.broken.is_empty(), "{:?}", world.broken);
    let bad = accepted - stats.outcomes.done - stats.outcomes.cancelled;
    prop_assert!(
        world.dead <= bad && bad <= world.dead + waiting + dropped_late,
        "{} dead of {bad}",
        world.dead
    );
    let failed = diary.count(|event| matches!(event, BatcherEvent::AuditFailed { .. }));
    prop_assert_eq!(failed, 0, "the counters were wrong");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn prop_one_outcome(
        steps in prop::collection::vec(step(), 1..60),
        rate in prop::option::of(50_u64..2_000),
        detach in any::<bool>(),
        timeout in prop_oneof![Just(0_u64), 0_u64..300, Just(60_000)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let outcome = runtime.block_on(run(steps, rate, detach, timeout));
        std::panic::set_hook(hook);
        outcome?;
    }
}
