//! Instances that are tasks: start, drain, deadline, crash, replacement.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_autoscaler::{
    Autoscaler, Exit, Fleet, Instance, InstanceContext, InstanceSpec, Launched, Launcher, Load, LoadSource,
    Order, Provisioner, Reason, ScalerError, ScalerErrorKind, ScalerEvent, Tasks,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::world::until;

async fn scale(provisioner: &impl Provisioner, target: u32) -> Fleet {
    provisioner.scale(&Order::new(target, Reason::Nothing)).await.unwrap()
}

/// Waits until the fleet is as wanted, and tells how long that took.
async fn fleet(provisioner: &impl Provisioner, what: &str, wanted: impl Fn(&Fleet) -> bool) -> Duration {
    let began = Instant::now();
    let waited = timeout(Duration::from_secs(600), async {
        loop {
            let fleet = provisioner.fleet().await.unwrap();
            if wanted(&fleet) {
                return;
            }
            let _ = timeout(Duration::from_millis(100), provisioner.changed()).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn orders_are_idempotent_and_wait_for_nobody() {
    let started = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&started);
    let tasks = Tasks::new(move |cx: InstanceContext| {
        count.fetch_add(1, Ordering::Relaxed);
        async move { cx.draining().await }
    });
    for _ in 0..3 {
        assert_eq!(scale(&tasks, 3).await.count(), 3);
    }
    fleet(&tasks, "three ready", |fleet| fleet.ready == 3).await;
    assert_eq!(started.load(Ordering::Relaxed), 3);
    let fleet_after = scale(&tasks, 1).await;
    assert_eq!((fleet_after.count(), fleet_after.draining), (1, 2));
    fleet(&tasks, "two gone", |fleet| fleet.ready == 1 && fleet.draining == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_finishes_what_it_has() {
    let finished = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&finished);
    let tasks = Tasks::new(move |cx: InstanceContext| {
        let finished = Arc::clone(&count);
        async move {
            cx.draining().await;
            let left = cx.deadline().unwrap().duration_since(Instant::now());
            assert_eq!(left, Duration::from_secs(30));
            sleep(Duration::from_secs(20)).await;
            finished.fetch_add(1, Ordering::Relaxed);
        }
    });
    scale(&tasks, 4).await;
    fleet(&tasks, "ready", |fleet| fleet.ready == 4).await;
    scale(&tasks, 0).await;
    let took = fleet(&tasks, "gone", Fleet::is_empty).await;
    assert_eq!(finished.load(Ordering::Relaxed), 4);
    assert!(took >= Duration::from_secs(20), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_it_is_aborted() {
    let dropped = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&dropped);
    let tasks = Tasks::new(move |cx: InstanceContext| {
        let count = Arc::clone(&count);
        async move {
            struct Counted(Arc<AtomicU32>);
            impl Drop for Counted {
                fn drop(&mut self) {
                    self.0.fetch_add(1, Ordering::Relaxed);
                }
            }
            let _counted = Counted(count);
            cx.draining().await;
            std::future::pending::<()>().await;
        }
    })
    .drain_deadline(Duration::from_secs(3));
    scale(&tasks, 1).await;
    fleet(&tasks, "ready", |fleet| fleet.ready == 1).await;
    scale(&tasks, 0).await;
    let took = fleet(&tasks, "gone", Fleet::is_empty).await;
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(4), "{took:?}");
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_replaced_and_a_crash_loop_backs_off() {
    let births = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&births);
    let tasks = Tasks::new(move |cx: InstanceContext| {
        seen.lock().unwrap().push(Instant::now());
        async move {
            sleep(Duration::from_millis(10)).await;
            assert!(cx.is_draining(), "cannot work");
        }
    });
    scale(&tasks, 1).await;
    sleep(Duration::from_secs(200)).await;
    let births = births.lock().unwrap().clone();
    let pauses: Vec<u64> = births.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(tasks.fleet().await.unwrap().failed, 1);
    scale(&tasks, 0).await;
    fleet(&tasks, "gone", Fleet::is_empty).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_lived_long_is_replaced_at_once() {
    let births = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&births);
    let tasks = Tasks::new(move |_cx: InstanceContext| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            sleep(Duration::from_secs(61)).await;
            Err::<(), _>("connection lost")
        }
    });
    scale(&tasks, 1).await;
    sleep(Duration::from_secs(61 * 5 + 1)).await;
    assert_eq!(births.load(Ordering::Relaxed), 6);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_provisioner_drains() {
    let ended = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&ended);
    let tasks = Tasks::new(move |cx: InstanceContext| {
        let count = Arc::clone(&count);
        async move {
            cx.draining().await;
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    scale(&tasks, 2).await;
    fleet(&tasks, "ready", |fleet| fleet.ready == 2).await;
    drop(tasks);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(ended.load(Ordering::Relaxed), 2);
}

/// Refuses the first starts; what it starts is never ready.
#[derive(Debug, Default)]
struct Stubborn {
    refused: AtomicU32,
    started: AtomicU32,
}

#[derive(Debug)]
struct Deaf(sluicegate_autoscaler::InstanceId, CancellationToken);

#[async_trait]
impl Launcher for Stubborn {
    async fn start(&self, spec: &InstanceSpec) -> Result<Box<dyn Instance>, ScalerError> {
        if self.refused.fetch_add(1, Ordering::Relaxed) < 2 {
            return Err(ScalerError::new(ScalerErrorKind::Provision, "no room"));
        }
        self.started.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Deaf(spec.id.clone(), CancellationToken::new())))
    }
}

#[async_trait]
impl Instance for Deaf {
    fn id(&self) -> &sluicegate_autoscaler::InstanceId {
        &self.0
    }
    async fn ready(&self) {
        std::future::pending().await
    }
    async fn drain(&self, _deadline: Instant) {
        self.1.cancel();
    }
    async fn kill(&self) {
        self.1.cancel();
    }
    async fn ended(&self) -> Exit {
        self.1.cancelled().await;
        Exit::Killed
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_start_or_is_never_ready_is_tried_again() {
    let launcher = Arc::new(Stubborn::default());
    let launched = Launched::over(Arc::clone(&launcher)).ready_timeout(Duration::from_secs(5));
    assert_eq!(scale(&launched, 1).await.starting.len(), 1);
    sleep(Duration::from_secs(30)).await;
    // Refused at 0 and 0 s, never ready from 1 to 6 s, from 8 to 13 s, from 17 to 22 s, then a pause of 8 s.
    assert_eq!(launcher.refused.load(Ordering::Relaxed), 5);
    assert_eq!(launcher.started.load(Ordering::Relaxed), 3);
    let fleet = launched.fleet().await.unwrap();
    assert_eq!((fleet.ready, fleet.failed), (0, 1));
}

/// Panics in the method that its turn names, from 1; from then on it behaves.
#[derive(Debug, Default)]
struct Clumsy(AtomicU32);

#[derive(Debug)]
struct Fragile {
    id: sluicegate_autoscaler::InstanceId,
    turn: u32,
    end: CancellationToken,
}

#[async_trait]
impl Launcher for Clumsy {
    async fn start(&self, spec: &InstanceSpec) -> Result<Box<dyn Instance>, ScalerError> {
        let turn = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(turn != 1, "cannot start");
        Ok(Box::new(Fragile { id: spec.id.clone(), turn, end: CancellationToken::new() }))
    }
}

#[async_trait]
impl Instance for Fragile {
    fn id(&self) -> &sluicegate_autoscaler::InstanceId {
        &self.id
    }
    async fn ready(&self) {
        assert!(self.turn != 2, "cannot become ready");
    }
    async fn drain(&self, _deadline: Instant) {
        assert!(self.turn != 3, "cannot drain");
        self.end.cancel();
    }
    async fn kill(&self) {
        self.end.cancel();
    }
    async fn ended(&self) -> Exit {
        self.end.cancelled().await;
        Exit::Finished
    }
}

#[tokio::test(start_paused = true)]
async fn a_launcher_or_an_instance_that_panics_is_a_crash() {
    let clumsy = Arc::new(Clumsy::default());
    let launched = Launched::over(Arc::clone(&clumsy));
    scale(&launched, 1).await;
    fleet(&launched, "the third works", |fleet| fleet.ready == 1).await;
    assert_eq!(clumsy.0.load(Ordering::Relaxed), 3);
    scale(&launched, 0).await;
    fleet(&launched, "its slot is free though it cannot drain", Fleet::is_empty).await;
    scale(&launched, 1).await;
    fleet(&launched, "another works", |fleet| fleet.ready == 1).await;
    scale(&launched, 0).await;
    fleet(&launched, "gone", Fleet::is_empty).await;
    assert_eq!(clumsy.0.load(Ordering::Relaxed), 4);
}

/// A queue that tasks work off.
#[derive(Debug, Default)]
struct Queue(Mutex<(u64, u64, u64)>);

impl Queue {
    fn take(&self) -> bool {
        let (pending, in_hand, delivered) = &mut *self.0.lock().unwrap();
        let any = *pending > 0;
        if any {
            (*pending, *in_hand, *delivered) = (*pending - 1, *in_hand + 1, *delivered + 1);
        }
        any
    }

    fn settle(&self) {
        self.0.lock().unwrap().1 -= 1;
    }

    fn give_back(&self) {
        let (pending, in_hand, _) = &mut *self.0.lock().unwrap();
        (*pending, *in_hand) = (*pending + 1, *in_hand - 1);
    }

    fn put(&self, messages: u64) {
        self.0.lock().unwrap().0 += messages;
    }
}

#[async_trait]
impl LoadSource for Queue {
    fn name(&self) -> &str {
        "queue"
    }
    async fn observe(&self) -> Result<Load, ScalerError> {
        let (pending, in_hand, delivered) = *self.0.lock().unwrap();
        Ok(Load::new(pending, in_hand, delivered))
    }
    async fn wake(&self, _mark: u64) {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_during_the_last_drain_gets_a_new_instance() {
    for late in [0u64, 500, 1_500, 2_500, 3_000, 3_500] {
        let queue = Arc::new(Queue::default());
        let work = Arc::clone(&queue);
        let tasks = Tasks::new(move |cx: InstanceContext| {
            let queue = Arc::clone(&work);
            async move {
                while !cx.is_draining() {
                    if queue.take() {
                        queue.settle();
                    }
                    sleep(Duration::from_millis(10)).await;
                }
                // Draining takes its time, and takes nothing new.
                sleep(Duration::from_secs(3)).await;
            }
        });
        let token = CancellationToken::new();
        let scaler =
            Autoscaler::builder(Arc::clone(&queue)).provisioner(tasks).limits(0..=5).service_rate(100.0);
        let running = scaler.zero_after(Duration::from_secs(2)).build().unwrap().start(token.clone());
        queue.put(50);
        until(&running, "an instance", |status| status.target > 0).await;
        until(&running, "the zero decision", |status| status.target == 0).await;
        sleep(Duration::from_millis(late)).await;
        queue.put(1);
        until(&running, "a new instance", |status| status.target == 1).await;
        until(&running, "zero again", |status| status.target == 0).await;
        let (pending, in_hand, delivered) = *queue.0.lock().unwrap();
        assert_eq!((pending, in_hand, delivered), (0, 0, 51), "late by {late} ms");
        token.cancel();
        assert!(running.join().await.unwrap().left.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn never_is_a_time() {
    let queue = Arc::new(Queue::default());
    let work = Arc::clone(&queue);
    let tasks = Tasks::new(move |cx: InstanceContext| {
        let queue = Arc::clone(&work);
        async move {
            while !cx.is_draining() {
                if queue.take() {
                    queue.settle();
                }
                sleep(Duration::from_millis(10)).await;
            }
        }
    })
    .drain_deadline(Duration::MAX)
    .kill_after(Duration::MAX)
    .ready_timeout(Duration::MAX);
    let token = CancellationToken::new();
    let running = Autoscaler::builder(Arc::clone(&queue))
        .provisioner(tasks)
        .limits(0..=3)
        .cold_start(Duration::MAX)
        .hold(Duration::MAX)
        .zero_after(Duration::MAX)
        .idle_tick(Duration::MAX)
        .build()
        .unwrap()
        .start(token.clone());
    until(&running, "a look", |status| status.looks == 1).await;
    queue.put(50);
    running.look_now();
    until(&running, "an instance", |status| status.fleet.ready > 0).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(queue.0.lock().unwrap().0, 0, "worked off");
    token.cancel();
    assert!(running.join().await.unwrap().left.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_end_drains_and_reports() {
    let queue = Arc::new(Queue::default());
    let work = Arc::clone(&queue);
    let events = Arc::new(Mutex::new(Vec::<ScalerEvent>::new()));
    let seen = Arc::clone(&events);
    let tasks = Tasks::new(move |cx: InstanceContext| {
        let queue = Arc::clone(&work);
        async move {
            while !cx.is_draining() {
                if !queue.take() {
                    sleep(Duration::from_millis(10)).await;
                    continue;
                }
                sleep(Duration::from_secs(5)).await;
                queue.settle();
            }
        }
    });
    let token = CancellationToken::new();
    let running = Autoscaler::builder(Arc::clone(&queue))
        .provisioner(tasks)
        .limits(0..=3)
        .service_rate(0.2)
        .observer(move |event: &ScalerEvent| seen.lock().unwrap().push(event.clone()))
        .build()
        .unwrap()
        .start(token.clone());
    queue.put(100);
    until(&running, "three", |status| status.fleet.ready == 3).await;
    sleep(Duration::from_secs(2)).await;
    token.cancel();
    let report = running.join().await.unwrap();
    assert!(report.left.is_empty(), "{report:?}");
    assert_eq!(queue.0.lock().unwrap().1, 0, "everything in hand was settled");
    let events = events.lock().unwrap();
    let stopped = events.iter().filter(|event| matches!(event, ScalerEvent::InstanceStopped { .. })).count();
    let ready = events.iter().filter(|event| matches!(event, ScalerEvent::InstanceReady { .. })).count();
    assert_eq!((ready, stopped), (3, 3));
    let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
    assert!(lines.iter().any(|line| line == "scaling: 0 -> 3"), "{lines:#?}");
    assert!(lines.iter().any(|line| line == "instance worker-1 stopped"), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn crashing_workers_lose_nothing() {
    let queue = Arc::new(Queue::default());
    let work = Arc::clone(&queue);
    let handled = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&handled);
    let tasks = Tasks::new(move |cx: InstanceContext| {
        let (queue, handled) = (Arc::clone(&work), Arc::clone(&count));
        async move {
            // What an instance has in hand when it panics is delivered again, as a server would.
            struct Hand(Arc<Queue>, bool);
            impl Drop for Hand {
                fn drop(&mut self) {
                    if self.1 { self.0.settle() } else { self.0.give_back() }
                }
            }
            while !cx.is_draining() {
                sleep(Duration::from_millis(10)).await;
                if queue.take() {
                    let mut hand = Hand(Arc::clone(&queue), false);
                    let turn = handled.fetch_add(1, Ordering::Relaxed);
                    assert!(turn % 97 != 50, "this one is too much");
                    hand.1 = true;
                }
            }
        }
    });
    let token = CancellationToken::new();
    let running = Autoscaler::builder(Arc::clone(&queue))
        .provisioner(tasks)
        .limits(0..=5)
        .service_rate(100.0)
        .build()
        .unwrap()
        .start(token.clone());
    queue.put(2_000);
    until(&running, "an instance", |status| status.target > 0).await;
    until(&running, "zero", |status| status.target == 0).await;
    let (pending, in_hand, _) = *queue.0.lock().unwrap();
    assert_eq!((pending, in_hand), (0, 0));
    let crashes = handled.load(Ordering::Relaxed) - 2_000;
    assert!(crashes >= 20, "{crashes} crashes");
    token.cancel();
    running.join().await.unwrap();
}
