//! A queue and a fleet in memory: Poisson arrivals, instances that are ready after a cold start and serve first in,
//! first out at a fixed rate. Advanced whenever somebody looks, in steps of 20 ms of the paused clock.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use sluicegate_autoscaler::{
    Autoscaler, AutoscalerBuilder, Decision, Fleet, Load, LoadSource, Order, Provisioner, ScalerError,
    ScalerErrorKind, Status,
};
use sluicegate_core::Random;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const STEP: Duration = Duration::from_millis(20);

type Arrivals = Box<dyn Fn(f64) -> f64 + Send>;

#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

struct State {
    start: Instant,
    now: Instant,
    random: Random,
    arrivals: Arrivals,
    mu: f64,
    cold_start: Duration,
    /// When each waiting message came.
    queue: VecDeque<Instant>,
    /// Messages that were delivered and never settled.
    stuck: u64,
    served: u64,
    credit: f64,
    /// When each instance was ordered, oldest first.
    instances: Vec<Instant>,
    waits: Vec<Duration>,
    instance_time: Duration,
    orders: Vec<Order>,
    failure: Option<ScalerErrorKind>,
    refuse_orders: bool,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

/// A number of events at that mean (Knuth).
fn poisson(random: &mut Random, mean: f64) -> u64 {
    let limit = (-mean).exp();
    let (mut count, mut product) = (0, random.unit());
    while product > limit {
        count += 1;
        product *= random.unit();
    }
    count
}

impl State {
    fn ready(&self) -> usize {
        self.instances.iter().filter(|ordered| **ordered + self.cold_start <= self.now).count()
    }

    fn advance(&mut self) {
        while self.now + STEP <= Instant::now() {
            self.now += STEP;
            let rate = (self.arrivals)(self.now.duration_since(self.start).as_secs_f64());
            let came = poisson(&mut self.random, rate * STEP.as_secs_f64());
            self.queue.extend((0..came).map(|_| self.now));
            self.credit += self.mu * STEP.as_secs_f64() * self.ready() as f64;
            while self.credit >= 1.0 {
                let Some(came) = self.queue.pop_front() else {
                    self.credit = 0.0;
                    break;
                };
                self.credit -= 1.0;
                self.served += 1;
                self.waits.push(self.now.duration_since(came));
            }
            self.instance_time += STEP * self.instances.len() as u32;
        }
    }

    fn load(&self) -> Load {
        let queued = self.queue.len() as u64;
        let in_hand = queued.min(self.ready() as u64);
        Load::new(queued - in_hand, in_hand + self.stuck, self.served + in_hand + self.stuck)
    }

    fn fleet(&self) -> Fleet {
        let ready = self.ready();
        let mut fleet = Fleet::new(ready as u32);
        fleet.starting = self.instances[ready..].to_vec();
        fleet.took = vec![self.cold_start];
        fleet
    }
}

impl World {
    /// `arrivals` is the rate per second at a time in seconds.
    pub(crate) fn new(
        mu: f64,
        cold_start: Duration,
        seed: u64,
        arrivals: impl Fn(f64) -> f64 + Send + 'static,
    ) -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State {
            start: now,
            now,
            random: Random::seeded(seed),
            arrivals: Box::new(arrivals),
            mu,
            cold_start,
            queue: VecDeque::new(),
            stuck: 0,
            served: 0,
            credit: 0.0,
            instances: Vec::new(),
            waits: Vec::new(),
            instance_time: Duration::ZERO,
            orders: Vec::new(),
            failure: None,
            refuse_orders: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap();
        state.advance();
        state
    }

    /// A scaler for this queue and this fleet, with what an instance can do set.
    pub(crate) fn scaler(&self) -> AutoscalerBuilder {
        let mu = self.lock().mu;
        Autoscaler::builder(self.clone()).provisioner(self.clone()).limits(0..=40).service_rate(mu)
    }

    pub(crate) fn put(&self, messages: u64) {
        let mut state = self.lock();
        let now = state.now;
        state.queue.extend((0..messages).map(|_| now));
    }

    /// So many messages are in hands that will never settle them.
    pub(crate) fn stick(&self, messages: u64) {
        self.lock().stuck = messages;
    }

    pub(crate) fn fail(&self, failure: Option<ScalerErrorKind>) {
        self.lock().failure = failure;
    }

    pub(crate) fn refuse_orders(&self, refuse: bool) {
        self.lock().refuse_orders = refuse;
    }

    pub(crate) fn orders(&self) -> Vec<Order> {
        self.lock().orders.clone()
    }

    pub(crate) fn left(&self) -> usize {
        self.lock().queue.len()
    }

    pub(crate) fn outcome(&self, decisions: Vec<Decision>) -> Outcome {
        let state = self.lock();
        let mut waits = state.waits.clone();
        waits.sort_unstable();
        Outcome {
            decisions,
            p99: waits.get(waits.len() * 99 / 100).copied().unwrap_or_default(),
            served: waits.len(),
            left: state.queue.len(),
            instance_seconds: state.instance_time.as_secs_f64(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) decisions: Vec<Decision>,
    pub(crate) p99: Duration,
    pub(crate) served: usize,
    pub(crate) left: usize,
    pub(crate) instance_seconds: f64,
}

impl Outcome {
    pub(crate) fn changes_after(&self, at: Duration) -> usize {
        self.decisions.iter().filter(|decision| decision.at > at).count()
    }

    pub(crate) fn peak(&self) -> u32 {
        self.decisions.iter().map(|decision| decision.to).max().unwrap_or(0)
    }
}

/// Runs a scaler for so many seconds.
pub(crate) async fn run(world: &World, builder: AutoscalerBuilder, seconds: u64) -> Outcome {
    let token = CancellationToken::new();
    let running = builder.build().unwrap().start(token.clone());
    sleep(Duration::from_secs(seconds)).await;
    token.cancel();
    world.outcome(running.join().await.unwrap().decisions)
}

/// Waits for a status.
pub(crate) async fn until(
    running: &sluicegate_autoscaler::Running,
    what: &str,
    wanted: impl FnMut(&Status) -> bool,
) -> Status {
    let mut status = running.status();
    let got = tokio::time::timeout(Duration::from_secs(600), status.wait_for(wanted)).await;
    got.unwrap_or_else(|_| panic!("never: {what}")).unwrap().clone()
}

#[async_trait]
impl LoadSource for World {
    fn name(&self) -> &str {
        "world"
    }

    async fn observe(&self) -> Result<Load, ScalerError> {
        let state = self.lock();
        match state.failure {
            Some(kind) => Err(ScalerError::new(kind, "as the test wants it")),
            None => Ok(state.load()),
        }
    }

    async fn wake(&self, _mark: u64) {
        std::future::pending().await
    }
}

#[async_trait]
impl Provisioner for World {
    async fn fleet(&self) -> Result<Fleet, ScalerError> {
        Ok(self.lock().fleet())
    }

    async fn scale(&self, order: &Order) -> Result<Fleet, ScalerError> {
        let mut state = self.lock();
        if state.refuse_orders {
            return Err(ScalerError::new(ScalerErrorKind::Provision, "as the test wants it"));
        }
        let now = Instant::now();
        state.instances.resize(order.target as usize, now);
        state.orders.push(order.clone());
        Ok(state.fleet())
    }

    async fn changed(&self) {
        std::future::pending().await
    }

    fn is_local(&self) -> bool {
        false
    }
}
