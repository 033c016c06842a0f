//! The loop against a resource whose capacity halves and doubles, on the paused clock.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_core::{
    Holder, LeaseId, LeasePool, LeasePoolAdmin, LeasePoolExt, MemoryPool, Random, Request, Wait,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{AdaptiveConfig, AdaptiveEvent, AdaptiveLimit, AdaptiveLimitBuilder, Outcome, Reason, Recorder};

const MS: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_secs(60);
/// How long a capacity lasts, and when counting begins after a step.
const PHASE: Duration = Duration::from_secs(25);
const SETTLED: Duration = Duration::from_secs(10);
/// How long a call takes a resource that is not overloaded, on average.
const SERVICE: Duration = Duration::from_millis(50);

/// What a resource does with more calls at a time than its capacity.
#[derive(Clone, Copy, Debug)]
enum Overload {
    /// It refuses them, in a fiftieth of the time that serving takes; the callers come back at once.
    Refuses,
    /// It serves all of them, each the more slowly, as a processor does.
    SlowsDown,
}

#[derive(Debug, Default)]
struct State {
    capacity: u32,
    running: u32,
    /// Time that the served calls would have taken alone.
    work: Duration,
    served: u64,
    throttled: u64,
}

#[derive(Clone, Debug)]
struct Resource(Arc<Mutex<State>>, Overload);

impl Resource {
    fn new(overload: Overload) -> Self {
        Self(Arc::default(), overload)
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    async fn call(&self, random: &mut Random) -> Outcome {
        let alone = random.jitter(SERVICE, 0.5);
        let over = self.with(|state| {
            let over = f64::from(state.running + 1) / f64::from(state.capacity);
            if over <= 1.0 || matches!(self.1, Overload::SlowsDown) {
                state.running += 1;
                return over.max(1.0);
            }
            state.throttled += 1;
            f64::NAN
        });
        if over.is_nan() {
            sleep(alone / 50).await;
            return Outcome::Throttled;
        }
        sleep(alone.mul_f64(over)).await;
        self.with(|state| {
            state.running -= 1;
            state.served += 1;
            state.work += alone;
        });
        Outcome::Ok
    }

    /// Lets a capacity last for a phase, and tells goodput as a part of the possible, and the part throttled.
    async fn phase(&self, capacity: u32) -> (f64, f64) {
        self.with(|state| state.capacity = capacity);
        sleep(SETTLED).await;
        self.with(|state| (state.work, state.served, state.throttled) = (Duration::ZERO, 0, 0));
        sleep(PHASE - SETTLED).await;
        self.with(|state| {
            let possible = f64::from(capacity) * (PHASE - SETTLED).as_secs_f64();
            let calls = (state.served + state.throttled) as f64;
            (state.work.as_secs_f64() / possible, state.throttled as f64 / calls)
        })
    }
}

fn slots(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn holder(name: &str) -> Holder {
    Holder::try_new(name).unwrap()
}

fn builder(
    config: AdaptiveConfig,
    pool: &MemoryPool,
    leader: &MemoryPool,
    name: &str,
) -> AdaptiveLimitBuilder {
    AdaptiveLimit::builder(config, Arc::new(pool.clone()), Arc::new(leader.handle()), holder(name))
}

fn leadership() -> MemoryPool {
    MemoryPool::new(slots(1), TTL)
}

async fn limit(pool: &MemoryPool) -> u32 {
    pool.describe().await.unwrap().limit.unwrap().get()
}

/// Callers that always have something to do, each through a permit.
fn callers(n: u64, seed: u64, pool: &MemoryPool, resource: &Resource, recorder: &Recorder) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for caller in 0..n {
        let (pool, resource, recorder) = (pool.clone(), resource.clone(), recorder.clone());
        let mut random = Random::seeded(seed * 1_000 + caller);
        tasks.spawn(async move {
            let request = Request::new(holder(&format!("caller {caller}")));
            loop {
                let lease = pool.acquire(&request, &Wait::new()).await.unwrap().unwrap();
                let begin = Instant::now();
                let outcome = resource.call(&mut random).await;
                recorder.record(begin.elapsed(), outcome);
                pool.release(&lease).await.unwrap();
            }
        });
    }
    tasks
}

/// Capacity 40, halved, doubled, doubled, halved.
async fn steps(overload: Overload, config: AdaptiveConfig, seed: u64) {
    let (pool, resource) = (MemoryPool::new(slots(10), TTL), Resource::new(overload));
    resource.with(|state| state.capacity = 40);
    let window = config.window;
    let adaptive = builder(config, &pool, &leadership(), "resizer").start().unwrap();
    let _callers = callers(120, seed, &pool, &resource, &adaptive.recorder());
    sleep(PHASE).await;
    for capacity in [20, 40, 80, 40] {
        let (goodput, throttled) = resource.phase(capacity).await;
        println!(
            "{overload:?}, window {window:?}, seed {seed}, capacity {capacity}: goodput {goodput:.3} of the \
             possible, throttled {:.2} %, limit {}",
            throttled * 100.0,
            limit(&pool).await
        );
        assert!(goodput >= 0.9, "goodput");
        assert!(throttled <= 0.02, "throttled");
    }
    adaptive.stop().await;
}

#[tokio::test(start_paused = true)]
async fn follows_a_resource_that_refuses_through_half_and_double() {
    for (window, seeds) in [(100, 1..=2), (200, 3..=4), (250, 5..=5)] {
        for seed in seeds {
            let config = AdaptiveConfig::new(slots(2), slots(200)).window(MS * window);
            steps(Overload::Refuses, config, seed).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn follows_a_resource_that_slows_down_through_half_and_double() {
    for (window, seed) in [(100, 1), (200, 2)] {
        let config = AdaptiveConfig::new(slots(2), slots(200)).window(MS * window).slow(SERVICE * 2);
        steps(Overload::SlowsDown, config, seed).await;
    }
}

/// What one of two resizers did: who, from, to.
type Moves = Arc<Mutex<Vec<(&'static str, u32, u32)>>>;

fn started(name: &'static str, moves: &Moves, pool: &MemoryPool, leader: &MemoryPool) -> AdaptiveLimit {
    let moves = Arc::clone(moves);
    builder(AdaptiveConfig::new(slots(2), slots(50)), pool, leader, name)
        .observer(move |event: &AdaptiveEvent| {
            if let AdaptiveEvent::Decided { from, to, .. } = event
                && from != to
            {
                moves.lock().unwrap().push((name, from.get(), to.get()));
            }
        })
        .start()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn of_two_resizers_one_acts_and_the_other_follows_it() {
    let leader = leadership();
    let (pool, resource) = (MemoryPool::new(slots(10), TTL), Resource::new(Overload::Refuses));
    resource.with(|state| state.capacity = 30);
    let moves = Moves::default();
    let first = started("first", &moves, &pool, &leader);
    sleep(MS).await;
    let second = started("second", &moves, &pool, &leader);
    let _callers = callers(40, 1, &pool, &resource, &first.recorder());
    let _others = callers(40, 2, &pool, &resource, &second.recorder());
    sleep(PHASE).await;
    let by_first = std::mem::take(&mut *moves.lock().unwrap());
    assert!(by_first.len() > 20 && by_first.iter().all(|(who, ..)| *who == "first"), "{by_first:?}");
    assert!(by_first.windows(2).all(|two| two[0].2 == two[1].1), "nobody else moved it: {by_first:?}");

    first.stop().await;
    sleep(PHASE).await;
    let by_second = std::mem::take(&mut *moves.lock().unwrap());
    assert!(by_second.len() > 20 && by_second.iter().all(|(who, ..)| *who == "second"), "{by_second:?}");
    assert!(limit(&pool).await <= 31);
    second.stop().await;
    assert_eq!(leader.held().await.unwrap(), [], "leadership was given back");
}

#[tokio::test(start_paused = true)]
async fn leadership_goes_on_in_a_pool_that_cannot_renew() {
    let leader = MemoryPool::builder(slots(1), Duration::from_secs(3)).renewable(false).build();
    let (pool, resource) = (MemoryPool::new(slots(10), TTL), Resource::new(Overload::Refuses));
    resource.with(|state| state.capacity = 30);
    let adaptive =
        builder(AdaptiveConfig::new(slots(2), slots(50)), &pool, &leader, "resizer").start().unwrap();
    let _callers = callers(40, 1, &pool, &resource, &adaptive.recorder());
    sleep(PHASE).await;
    assert!((26..=31).contains(&limit(&pool).await), "{}", limit(&pool).await);
    adaptive.stop().await;
    assert_eq!(leader.held().await.unwrap(), [], "leadership was given back");
}

#[tokio::test(start_paused = true)]
async fn who_is_evicted_from_leadership_leads_again_or_another_does() {
    let (pool, leader) = (MemoryPool::new(slots(10), TTL), leadership());
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let config = AdaptiveConfig::new(slots(2), slots(50));
    let adaptive = builder(config, &pool, &leader, "resizer")
        .observer(move |event: &AdaptiveEvent| drop(sender.send(event.clone())))
        .start()
        .unwrap();
    let Some(AdaptiveEvent::LeaderGained { token }) = events.recv().await else { panic!("gained first") };
    leader.evict(LeaseId(token.0)).await.unwrap().expect("was held");
    let lost = timeout(PHASE, events.recv()).await.unwrap();
    assert!(matches!(lost, Some(AdaptiveEvent::LeaderLost { token: whose, .. }) if whose == token));
    let again = timeout(PHASE, events.recv()).await.unwrap();
    assert!(matches!(again, Some(AdaptiveEvent::LeaderGained { token: next }) if next > token));
    drop(adaptive);
    sleep(PHASE).await;
    assert_eq!(leader.held().await.unwrap(), [], "a dropped one gives leadership back, too");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_keeps_nobody_waiting_stays() {
    let (pool, resource) = (MemoryPool::new(slots(10), TTL), Resource::new(Overload::Refuses));
    resource.with(|state| state.capacity = 30);
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let adaptive = builder(AdaptiveConfig::new(slots(2), slots(50)), &pool, &leadership(), "resizer")
        .observer(move |event: &AdaptiveEvent| drop(sender.send(event.clone())))
        .start()
        .unwrap();
    let _callers = callers(5, 1, &pool, &resource, &adaptive.recorder());
    sleep(PHASE).await;
    assert_eq!(limit(&pool).await, 10);
    adaptive.stop().await;
    let mut decided = 0;
    while let Ok(event) = events.try_recv() {
        if let AdaptiveEvent::Decided { reason, .. } = event {
            assert_eq!(reason, Reason::NotConstrained);
            decided += 1;
        }
    }
    assert!(decided > 100, "it did look: {decided}");
}
