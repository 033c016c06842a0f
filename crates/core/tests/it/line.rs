//! The line of waiters: first in, first out, whatever becomes of hints; and how newcomers and outages are met.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use sluicegate_core::{
    HeldLease, Holder, Lease, LeaseError, LeasePool, LeasePoolAdmin, LeasePoolExt, LossCause, MemoryPool,
    PoolDescription, Request, Wait, WaitQueue,
};
use sluicegate_testkit::lease::{Fault, Faulty, Switch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const TTL: Duration = Duration::from_secs(3600);

fn slots(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn request(n: usize) -> Request {
    Request::new(Holder::try_new(format!("waiter {n}")).unwrap())
}

fn waiter<P: LeasePool>(pool: &Arc<P>, n: usize, wait: &Wait) -> JoinHandle<Result<Lease, LeaseError>> {
    let (pool, wait) = (Arc::clone(pool), wait.clone());
    tokio::spawn(async move { pool.acquire(&request(n), &wait).await.map(|lease| lease.expect("waits on")) })
}

#[tokio::test(start_paused = true)]
async fn as_many_ask_at_the_same_time_as_slots_became_free() {
    let slow = Duration::from_millis(50);
    let pool = Arc::new(Faulty::new(MemoryPool::new(slots(8), TTL), Fault::Slow(slow)));
    for n in 0..8 {
        let _ = pool.try_acquire(&request(n)).await.unwrap().unwrap();
    }
    let patient = Wait::new().poll_interval(TTL);
    let waiters: Vec<_> = (10..18).map(|n| waiter(&pool, n, &patient)).collect();
    sleep(slow * 20).await;
    assert_eq!(pool.line().len(), 8);
    let begin = Instant::now();
    assert_eq!(pool.reset().await.unwrap(), 8);
    for waiter in waiters {
        let _ = waiter.await.unwrap().unwrap();
    }
    assert!(begin.elapsed() < slow * 6, "not one after the other: {:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_that_is_held_back_waits_for_a_hint_or_for_the_end_of_that() {
    let pool = Arc::new(MemoryPool::new(slots(3), TTL));
    let patient = Wait::new().poll_interval(TTL);
    let held = pool.try_acquire(&request(0)).await.unwrap().unwrap();
    let minute = Duration::from_secs(60);

    pool.line().hold_back(minute);
    assert!(!pool.line().is_open());
    let begin = Instant::now();
    let _ = waiter(&pool, 1, &patient).await.unwrap().unwrap();
    assert_eq!(begin.elapsed(), minute, "the slot was free all the time, and nobody said so");

    pool.line().hold_back(minute);
    let begin = Instant::now();
    let hinted = waiter(&pool, 2, &patient);
    sleep(minute / 4).await;
    assert!(pool.release(&held).await.unwrap());
    let _ = hinted.await.unwrap().unwrap();
    assert_eq!(begin.elapsed(), minute / 4);

    pool.line().open();
    let begin = Instant::now();
    let _ = waiter(&pool, 3, &patient).await.unwrap().unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_releases_and_asks_again_goes_behind_those_who_wait() {
    let pool = Arc::new(MemoryPool::new(slots(1), TTL));
    let mut lease = pool.try_acquire(&request(0)).await.unwrap().unwrap();
    let others: Vec<_> = (1..4).map(|n| waiter(&pool, n, &Wait::new())).collect();
    sleep(Duration::from_millis(1)).await;
    for other in others {
        pool.release(&lease).await.unwrap();
        let greedy = waiter(&pool, 0, &Wait::new());
        lease = other.await.unwrap().unwrap();
        greedy.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_waited_through_an_outage_together_do_not_bear_with_it_one_after_the_other() {
    let switch = Switch::new();
    let pool = Arc::new(Faulty::new(MemoryPool::new(slots(1), TTL), Fault::CutOff(switch.clone())));
    let _held = pool.try_acquire(&request(0)).await.unwrap().unwrap();
    let patience = Duration::from_secs(10);
    let waiters: Vec<_> = (1..20).map(|n| waiter(&pool, n, &Wait::new().patience(patience))).collect();
    sleep(Duration::from_secs(1)).await;
    switch.cut();
    let begin = Instant::now();
    for waiter in waiters {
        assert!(waiter.await.unwrap().unwrap_err().is_transient());
    }
    assert!(begin.elapsed() >= patience, "{:?}", begin.elapsed());
    assert!(begin.elapsed() < patience * 2, "{:?}", begin.elapsed());
    assert!(pool.line().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_poll_is_rare_where_hints_arrive_and_grows_where_one_asks_for_it() {
    let pool = Arc::new(Counting::new(MemoryPool::new(slots(1), TTL), Vec::new()));
    let _held = pool.try_acquire(&request(0)).await.unwrap().unwrap();
    let tries = |wait: Wait| {
        let pool = Arc::clone(&pool);
        async move {
            let before = pool.tries();
            let got = pool.acquire(&request(1), &wait.at_most(Duration::from_secs(60))).await.unwrap();
            assert!(got.is_none());
            sleep(Duration::from_secs(2)).await;
            pool.tries() - before
        }
    };
    let plain = tries(Wait::new()).await;
    assert!((190..=310).contains(&plain), "every 250 ms or so for a minute: {plain}");
    let growing = tries(Wait::new().poll_backoff(Duration::from_secs(10))).await;
    assert!((8..=16).contains(&growing), "from 250 ms to 10 s: {growing}");
    pool.line().set_hinted(true);
    let hinted = tries(Wait::new()).await;
    assert!((24..=40).contains(&hinted), "every 2 s or so: {hinted}");
}

#[tokio::test(start_paused = true)]
async fn slots_that_no_hint_tells_of_are_found_although_other_hints_keep_coming() {
    let pool = Arc::new(Counting::new(MemoryPool::new(slots(2), TTL), vec![Fate::Cut; 1000]));
    let turn = Duration::from_millis(100);
    for n in 0..20 {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move {
            loop {
                let lease = pool.acquire(&request(n), &Wait::new()).await.unwrap().expect("waits on");
                sleep(turn).await;
                pool.release(&lease).await.unwrap();
            }
        });
    }
    sleep(turn * 10).await;
    pool.pool.resize(slots(8)).await.unwrap();
    let begin = Instant::now();
    while pool.held().await.unwrap().len() < 8 {
        assert!(begin.elapsed() < Duration::from_millis(350), "found by the poll, 250 ms or so later");
        sleep(Duration::from_millis(1)).await;
    }
    let before = pool.tries();
    sleep(Duration::from_secs(10)).await;
    let tries = pool.tries() - before;
    assert!(tries <= 800 + 60, "800 turns, and a look every 250 ms or so: {tries}");
}

/// What becomes of a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Told,
    Lost,
    Doubled,
    Late,
    /// Of several slots it tells of one.
    Cut,
}

/// A pool that counts tries and mangles hints.
#[derive(Debug)]
struct Counting {
    pool: MemoryPool,
    tries: Mutex<usize>,
    fates: Mutex<Vec<Fate>>,
}

impl Counting {
    fn new(pool: MemoryPool, fates: Vec<Fate>) -> Self {
        Self { pool, tries: Mutex::new(0), fates: Mutex::new(fates) }
    }

    fn tries(&self) -> usize {
        *self.tries.lock().unwrap()
    }
}

#[async_trait]
impl LeasePool for Counting {
    async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        self.pool.describe().await
    }

    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError> {
        *self.tries.lock().unwrap() += 1;
        self.pool.try_acquire(request).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.pool.renew(lease).await
    }

    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.pool.release(lease).await
    }

    async fn held(&self) -> Result<Vec<HeldLease>, LeaseError> {
        self.pool.held().await
    }

    async fn freed(&self) -> NonZeroU32 {
        loop {
            let slots = self.pool.freed().await;
            let fate = self.fates.lock().unwrap().pop();
            match fate.unwrap_or(Fate::Told) {
                Fate::Told => return slots,
                Fate::Lost => {}
                Fate::Doubled => return slots.saturating_mul(NonZeroU32::new(2).unwrap()),
                Fate::Cut => return NonZeroU32::MIN,
                Fate::Late => {
                    sleep(Duration::from_millis(40)).await;
                    return slots;
                }
            }
        }
    }

    async fn lost(&self, lease: &Lease) -> LossCause {
        self.pool.lost(lease).await
    }

    fn line(&self) -> &WaitQueue {
        self.pool.line()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arrive,
    /// One of those who wait gives up.
    Cancel(prop::sample::Index),
    /// One of those who hold a slot gives it back.
    Release(prop::sample::Index),
    Pause(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Arrive),
        1 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        3 => any::<prop::sample::Index>().prop_map(Step::Release),
        2 => (0u64..600).prop_map(Step::Pause),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![3 => Just(Fate::Told), 1 => Just(Fate::Lost), 1 => Just(Fate::Doubled), 1 => Just(Fate::Late)]
}

/// Who was served, in this order, and what is held now.
#[derive(Debug, Default)]
struct Seen {
    served: Vec<usize>,
    held: Vec<Lease>,
}

impl Seen {
    fn take(&mut self, which: &prop::sample::Index) -> Option<Lease> {
        (!self.held.is_empty()).then(|| self.held.swap_remove(which.index(self.held.len())))
    }
}

/// Runs the steps; returns who waited, in the order of arrival without those who gave up, and who was served.
async fn play(limit: u32, steps: Vec<Step>, fates: Vec<Fate>) -> (Vec<usize>, Vec<usize>) {
    let pool = Arc::new(Counting::new(MemoryPool::new(slots(limit), TTL), fates));
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut waiting: Vec<(usize, JoinHandle<()>)> = Vec::new();
    let mut arrived = Vec::new();
    for (n, step) in steps.into_iter().enumerate() {
        match step {
            Step::Arrive => {
                let (pool, seen) = (Arc::clone(&pool), Arc::clone(&seen));
                let task = tokio::spawn(async move {
                    let lease = pool.acquire(&request(n), &Wait::new()).await.unwrap().expect("waits on");
                    let mut seen = seen.lock().unwrap();
                    seen.served.push(n);
                    seen.held.push(lease);
                });
                arrived.push(n);
                waiting.push((n, task));
            }
            Step::Cancel(which) => {
                waiting.retain(|(_, task)| !task.is_finished());
                if !waiting.is_empty() {
                    let (n, task) = waiting.swap_remove(which.index(waiting.len()));
                    task.abort();
                    if task.await.is_err() {
                        arrived.retain(|waiter| *waiter != n);
                    }
                }
            }
            Step::Release(which) => {
                let lease = seen.lock().unwrap().take(&which);
                if let Some(lease) = lease {
                    assert!(pool.release(&lease).await.unwrap());
                }
            }
            Step::Pause(millis) => sleep(Duration::from_millis(millis)).await,
        }
        sleep(Duration::from_millis(1)).await;
    }
    // Whoever still waits is served in the end, also when every hint is lost from now on.
    while waiting.iter().any(|(_, task)| !task.is_finished()) {
        let held = std::mem::take(&mut seen.lock().unwrap().held);
        for lease in held {
            assert!(pool.release(&lease).await.unwrap());
        }
        sleep(Duration::from_secs(1)).await;
    }
    let served = seen.lock().unwrap().served.clone();
    (arrived, served)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn waiters_are_served_in_the_order_of_their_arrival(
        limit in 1u32..4,
        steps in prop::collection::vec(step(), 1..60),
        fates in prop::collection::vec(fate(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (arrived, served) = runtime.block_on(play(limit, steps, fates));
        prop_assert_eq!(arrived, served);
    }
}
