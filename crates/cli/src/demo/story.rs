//! The story: orders in two bursts, workers from none to some and back, a governed step, a shared rate.

use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluicegate_autoscaler::{Autoscaler, Decision, Plan, Running, ScalerEvent, Status, Tasks};
use sluicegate_batcher::{Batcher, DrainReport, Share, SharedCapacity, by_value};
use sluicegate_core::{Holder, LeasePool};
use sluicegate_governor::{Cohort, Governor};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::check::Verdict;
use super::ending::Ending;
use super::gauge::Gauge;
use super::narrator::Narrator;
use super::patience::PATIENCE;
use super::payment::Payment;
use super::publisher;
use super::report::{Chapter, Parameters, Report, Scaling};
use super::shop::{DRAIN, HANDS, Shop};
use super::store::Order;
use super::world::{CAPACITY_LEASES, LEASE_UNITS, PAYMENT_SLOTS, World};
use crate::code::Code;
use crate::error::CliError;
use crate::failure;
use crate::output::thousands;

/// Writers, each with a batcher of its own as if it were a process of its own.
pub(super) const WRITERS: u32 = 3;
/// Workers the autoscaler may start.
pub(super) const MAX_WORKERS: u32 = 6;
/// Units a second that all writers share.
pub(super) const CAPACITY: u64 = CAPACITY_LEASES as u64 * LEASE_UNITS as u64;
/// In which time a writer wants to be rid of what it has. Workers have few orders in hand at one time, and wait for
/// each: a writer that planned for a second would never ask for more than it has in hand.
const HORIZON: Duration = Duration::from_millis(10);
/// How long workers are kept for nothing: short, so that the story is.
const QUIET: Duration = Duration::from_secs(2);
const CHAPTERS: usize = 5;
/// The story stands still when nothing at all happened for so long: longer than any outage it is made to bear.
const STILL: Duration = Duration::from_secs(120);

/// Tells the story in a world, until its end or `stop`. Also a story that fails ends with everybody gone home and a
/// report of what was measured, which then holds the error.
pub(super) async fn tell(
    world: Arc<dyn World>,
    parameters: Parameters,
    narrator: &Narrator,
    stop: &CancellationToken,
) -> Result<Report, CliError> {
    let mut cast = Cast::gather(&world, &parameters, narrator.clone()).await?;
    let played = cast.play(parameters.orders, stop).await;
    Ok(cast.end(parameters, stop.is_cancelled(), played.err()).await)
}

/// Everybody who plays a part.
struct Cast {
    world: Arc<dyn World>,
    shop: Arc<Shop>,
    writers: Vec<Writer>,
    /// Stops the writers when it is dropped, wherever that is.
    writing: DropGuard,
    scaler: Running,
    /// Stops the scaler, and its workers, when it is dropped.
    scaling: DropGuard,
    status: watch::Receiver<Status>,
    steps: Arc<Mutex<Vec<Scaling>>>,
    peak_lag: u64,
    acked: u64,
    chapters: Vec<Chapter>,
    narrator: Narrator,
}

/// A batcher, and the task that it works in.
type Writer = (Batcher, JoinHandle<DrainReport>);

impl Cast {
    async fn gather(
        world: &Arc<dyn World>,
        parameters: &Parameters,
        narrator: Narrator,
    ) -> Result<Self, CliError> {
        let writing = CancellationToken::new();
        let guard = writing.clone().drop_guard();
        let (mut writers, mut doors) = (Vec::new(), Vec::new());
        for number in 1..=WRITERS {
            let (batcher, engine) = writer(world.capacity().await?, number, &writing).await?;
            let store = Arc::clone(world);
            let handler = by_value(move |orders: Vec<Order>, _| {
                let store = Arc::clone(&store);
                async move { store.store().write(orders).await }
            });
            let door = batcher.watcher(handler).name("orders").max_batch_size(500).build();
            doors.push(door.map_err(internal)?);
            writers.push((batcher, engine));
        }
        let shop = Arc::new(Shop {
            client: world.client().clone(),
            slots: Governor::builder(world.payment_slots(), holder("demo payment")?)
                .patience(PATIENCE)
                .renew(false)
                .cohort(Cohort::default())
                .build(),
            payment: Payment::default(),
            workers: Gauge::default(),
            writers: doors,
            seed: parameters.seed,
            longest_wait_micros: AtomicU64::new(0),
        });

        let steps: Arc<Mutex<Vec<Scaling>>> = Arc::default();
        let noted = Arc::clone(&steps);
        let voice = narrator.clone();
        let working = Arc::clone(&shop);
        let tasks = Tasks::new(move |cx| Arc::clone(&working).work(cx)).drain_deadline(DRAIN);
        let scaler = Autoscaler::builder(world.load())
            .policy(Plan::default())
            .provisioner(tasks)
            .limits(0..=MAX_WORKERS)
            .slots(NonZeroU32::new(HANDS).unwrap_or(NonZeroU32::MIN))
            .hold(QUIET)
            .zero_after(QUIET)
            .observer(move |event: &ScalerEvent| {
                if let ScalerEvent::Decided(decision) = event
                    && decision.from != decision.to
                {
                    let step = scaling(decision);
                    voice.scaling(&step);
                    noted.lock().unwrap_or_else(PoisonError::into_inner).push(step);
                }
            })
            .build()
            .map_err(internal)?;
        let stop = CancellationToken::new();
        let scaler = scaler.start(stop.clone());
        Ok(Self {
            world: Arc::clone(world),
            shop,
            writers,
            writing: guard,
            status: scaler.status(),
            scaler,
            scaling: stop.drop_guard(),
            steps,
            peak_lag: 0,
            acked: 0,
            chapters: Vec::new(),
            narrator,
        })
    }

    fn chapter(&mut self, name: &'static str, text: String) {
        self.narrator.chapter(self.chapters.len() + 1, CHAPTERS, name, &text);
        self.chapters.push(Chapter { chapter: name, text });
    }

    /// The bursts, one after the other.
    async fn play(&mut self, orders: u64, stop: &CancellationToken) -> Result<(), CliError> {
        self.chapter("stream", "orders, with a durable consumer for the workers".to_owned());
        let half = orders.div_ceil(2);
        for burst in [0..half, half..orders] {
            if stop.is_cancelled() {
                break;
            }
            let mut acked = 0;
            let published = self.burst(burst, stop, &mut acked).await;
            self.acked += acked;
            published?;
            self.until_quiet(stop).await?;
        }
        Ok(())
    }

    /// Publishes a burst while the workers are at it.
    async fn burst(
        &mut self,
        orders: Range<u64>,
        stop: &CancellationToken,
        acked: &mut u64,
    ) -> Result<(), CliError> {
        let client = self.shop.client.clone();
        let publishing = publisher::burst(&client, orders, stop, acked);
        tokio::pin!(publishing);
        loop {
            tokio::select! {
                biased;
                done = &mut publishing => return done.map_err(|error| failure::publish(&error)),
                () = sleep(Duration::from_millis(50)) => self.watch().await?,
            };
        }
    }

    /// Waits until every order acknowledged is in the store and the last worker has gone.
    async fn until_quiet(&mut self, stop: &CancellationToken) -> Result<(), CliError> {
        let acked = self.acked;
        let mut seen = (0, 0, 0);
        let mut moved = Instant::now();
        loop {
            let now = self.watch().await?;
            let (stored, workers, lag) = now;
            if stored >= acked && workers == 0 && lag == 0 {
                return Ok(());
            }
            if now != seen {
                (seen, moved) = (now, Instant::now());
            }
            if moved.elapsed() > STILL {
                let message = format!(
                    "the story stands still: {stored} of {acked} orders stored, {workers} workers, lag {lag}"
                );
                return Err(
                    CliError::new(Code::Timeout, message).help("run it again with -v to see what fails")
                );
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = sleep(Duration::from_millis(50)) => {}
            }
        }
    }

    /// How far it is: orders stored, workers, lag.
    async fn watch(&mut self) -> Result<(u64, u32, u64), CliError> {
        let stored = self.world.store().rows().await.map_err(internal)?;
        let (workers, lag) = {
            let status = self.status.borrow();
            let fleet = &status.fleet;
            // Before the first look nothing is known, which is not the same as nothing.
            let lag = status.load.as_ref().map_or(u64::MAX, |load| load.lag());
            (fleet.count() + fleet.draining, lag)
        };
        self.peak_lag = self.peak_lag.max(if lag == u64::MAX { 0 } else { lag });
        self.narrator.progress(stored, workers, lag);
        Ok((stored, workers, lag))
    }

    /// Everybody goes home, and what was seen is written down.
    async fn end(mut self, parameters: Parameters, interrupted: bool, error: Option<CliError>) -> Report {
        drop(self.scaling);
        let scaled = self.scaler.join().await.map_err(internal);
        let left = scaled.as_ref().map_or(0, |report| report.left.count() + report.left.draining);
        let written = dismiss(self.writers, &self.narrator).await;
        drop(self.writing);
        let slots = self.shop.slots.close(DRAIN).await;
        tracing::debug!(?slots, "the payment's governor is closed");
        self.narrator.finish();

        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let counts: Vec<String> = std::iter::once(0)
            .chain(steps.iter().map(|step| step.to))
            .map(|count| count.to_string())
            .collect();
        let peak_lag = thousands(self.peak_lag);
        let (chapters, narrator) = (&mut self.chapters, &self.narrator);
        let mut chapter = |name, text: String| {
            narrator.chapter(chapters.len() + 1, CHAPTERS, name, &text);
            chapters.push(Chapter { chapter: name, text });
        };
        chapter("autoscaler", format!("{} workers, peak lag {peak_lag}", counts.join(" → ")));
        let wait = Duration::from_micros(self.shop.longest_wait_micros.load(Ordering::Acquire));
        let calls = thousands(self.shop.payment.calls());
        chapter(
            "governor",
            format!("payment: {PAYMENT_SLOTS} slots, {calls} calls, longest wait {} ms", wait.as_millis()),
        );
        let meter = self.world.store().meter();
        let batches = meter.batches();
        let average = meter.units() as f64 / batches.max(1) as f64;
        chapter(
            "batcher",
            format!(
                "{} batches (avg {average:.1}), {}/s shared by {WRITERS} writers as {CAPACITY_LEASES} leases of {LEASE_UNITS}",
                thousands(batches),
                thousands(CAPACITY),
            ),
        );
        let ending = Ending { orders: parameters.orders, acked: self.acked, left: left.into(), interrupted };
        let checks = ending.measure(&*self.world, &self.shop, narrator).await;
        let passed = checks.iter().filter(|check| check.verdict == Verdict::Ok).count();
        chapter("done", format!("{passed} of {} checks ok", checks.len()));
        let error = error.or(scaled.err()).or(written.err());
        Report::new(parameters, self.chapters, steps, checks, error)
    }
}

/// Lets the writers finish, and tells whose work was cut off.
async fn dismiss(writers: Vec<Writer>, narrator: &Narrator) -> Result<(), CliError> {
    let mut outcome = Ok(());
    for (number, (batcher, engine)) in (1..).zip(writers) {
        let report = batcher.drain(DRAIN).await;
        if !report.complete {
            let lost = report.outcomes.shut_down;
            narrator
                .line(&format!("    writer {number} could not finish in time: {lost} orders not written"));
        }
        // Drained, its task ends by itself; a panic in it is a defect.
        outcome = outcome.and(engine.await.map(drop).map_err(internal));
    }
    outcome
}

async fn writer(
    pool: Arc<dyn LeasePool>,
    number: u32,
    token: &CancellationToken,
) -> Result<Writer, CliError> {
    let share = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    let capacity = SharedCapacity::builder(pool, holder(&format!("demo writer {number}"))?)
        .factor(u64::from(LEASE_UNITS))
        .share(Share::Weighted { weight: share(1), of: share(WRITERS) })
        .borrow(false)
        // The demo's pool is made for it.
        .fresh(true)
        .build()
        .await
        .map_err(|error| failure::lease("opening the pool of capacity", &error))?;
    Batcher::builder().capacity(capacity).horizon(HORIZON).start(token.clone()).map_err(internal)
}

fn scaling(decision: &Decision) -> Scaling {
    Scaling {
        // Milliseconds: more would be noise on a server, and in memory time has no more.
        at_seconds: decision.at.as_millis() as f64 / 1e3,
        from: decision.from,
        to: decision.to,
        why: decision.why.to_string(),
    }
}

fn holder(name: &str) -> Result<Holder, CliError> {
    Holder::try_new(name).map_err(internal)
}

pub(super) fn internal(error: impl std::error::Error + 'static) -> CliError {
    CliError::new(Code::Internal, error.to_string()).caused_by(&error).help("run it again with -v")
}
