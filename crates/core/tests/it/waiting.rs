//! Waiting for a lease and keeping it, over pools that misbehave.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{
    Holder, LeaseErrorKind, LeasePool, LeasePoolAdmin, LeasePoolExt, LossCause, MemoryPool, Request, Wait,
};
use sluicegate_testkit::lease::{Fault, Faulty, Switch};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const TTL: Duration = Duration::from_secs(9);

fn pool() -> MemoryPool {
    MemoryPool::new(NonZeroU32::MIN, TTL)
}

fn request() -> Request {
    Request::new(Holder::try_new("waiter").unwrap())
}

#[tokio::test(start_paused = true)]
async fn gives_up_after_the_time_given() {
    let pool = pool();
    let _held = pool.try_acquire(&request()).await.unwrap().unwrap();
    let begin = Instant::now();
    let got = pool.acquire(&request(), &Wait::new().at_most(TTL / 3)).await.unwrap();
    assert_eq!((got, begin.elapsed()), (None, TTL / 3));
    assert!(pool.line().is_empty(), "and leaves the line");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_is_closed_and_leaves_the_line() {
    let pool = pool();
    let _held = pool.try_acquire(&request()).await.unwrap().unwrap();
    let token = CancellationToken::new();
    let wait = Wait::new().cancelled_by(token.clone());
    let holder = request();
    let (error, ()) = tokio::join!(pool.acquire(&holder, &wait), async {
        sleep(Duration::from_millis(5)).await;
        token.cancel();
    });
    assert_eq!(error.unwrap_err().kind(), LeaseErrorKind::Closed);
    assert!(pool.line().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_lets_the_next_one_forward() {
    let pool = pool();
    let held = pool.try_acquire(&request()).await.unwrap().unwrap();
    let first = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(&request(), &Wait::new()).await }
    });
    sleep(Duration::from_millis(1)).await;
    let second = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(&request(), &Wait::new()).await }
    });
    sleep(Duration::from_millis(1)).await;
    assert_eq!(pool.line().len(), 2);
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    pool.release(&held).await.unwrap();
    assert!(second.await.unwrap().unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn bears_with_an_outage_and_reports_a_long_one() {
    let switch = Switch::new();
    let pool = Faulty::new(pool(), Fault::CutOff(switch.clone()));
    switch.cut();
    let (got, ()) = tokio::join!(
        async { pool.acquire(&request(), &Wait::new().patience(Duration::from_secs(10))).await },
        async {
            sleep(Duration::from_secs(5)).await;
            switch.connect();
        }
    );
    let lease = got.unwrap().expect("got it after the outage");
    pool.release(&lease).await.unwrap();

    switch.cut();
    let begin = Instant::now();
    let error = pool.acquire(&request(), &Wait::new().patience(Duration::from_secs(10))).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(begin.elapsed() >= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_never_taken_for_a_full_pool() {
    let switch = Switch::new();
    let pool = Faulty::new(pool(), Fault::CutOff(switch.clone()));
    switch.cut();
    let error = pool.acquire(&request(), &Wait::new().at_most(Duration::from_secs(5))).await.unwrap_err();
    assert!(error.is_transient(), "the last answer was an error: {error}");

    let hanging = Faulty::new(self::pool(), Fault::Slow(Duration::from_secs(60)));
    let error = hanging.acquire(&request(), &Wait::new().at_most(Duration::from_secs(5))).await.unwrap_err();
    assert!(error.is_transient(), "there was no answer: {error}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_leaves_in_the_middle_of_its_attempt_takes_no_hint_along() {
    let slow = Duration::from_millis(50);
    let pool = Arc::new(Faulty::new(pool(), Fault::Slow(slow)));
    let held = pool.try_acquire(&request()).await.unwrap().unwrap();
    let patient = Wait::new().poll_interval(Duration::from_secs(3600));
    let wait = |pool: &Arc<Faulty<MemoryPool>>| {
        let (pool, wait) = (Arc::clone(pool), patient.clone());
        tokio::spawn(async move { pool.acquire(&request(), &wait).await })
    };
    let first = wait(&pool);
    sleep(slow * 2).await;
    let second = wait(&pool);
    sleep(slow * 2).await;
    assert_eq!(pool.line().len(), 2);
    pool.release(&held).await.unwrap();
    // The first one has taken the hint and is asking.
    sleep(slow / 2).await;
    first.abort();
    let begin = Instant::now();
    assert!(second.await.unwrap().unwrap().is_some());
    assert!(begin.elapsed() < Duration::from_secs(1), "not by its poll, after {:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_stays_ends_the_keeping_at_once() {
    let pool = MemoryPool::builder(NonZeroU32::MIN, TTL).renewable(false).build();
    let lease = pool.try_acquire(&request()).await.unwrap().unwrap();
    let (current, _newest) = watch::channel(lease.clone());
    assert_eq!(pool.keep_renewed(&current).await, LossCause::RenewalRefused);
    assert!(Instant::now() < lease.deadline());
}

#[tokio::test(start_paused = true)]
async fn never_is_a_natural_setting() {
    let pool = MemoryPool::new(NonZeroU32::MIN, Duration::MAX);
    let wait = Wait::new().patience(Duration::MAX).poll_interval(Duration::MAX).at_most(Duration::MAX);
    let lease = pool.acquire(&request(), &wait).await.unwrap().unwrap();
    let next = tokio::spawn({
        let (pool, wait) = (pool.clone(), wait.clone());
        async move { pool.acquire(&request(), &wait).await }
    });
    sleep(Duration::from_secs(1)).await;
    pool.release(&lease).await.unwrap();
    assert!(next.await.unwrap().unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn keeps_a_lease_through_lost_answers_and_short_outages() {
    let every_other = NonZeroU32::new(2).unwrap();
    let pool = Faulty::new(pool(), Fault::AnswerLost(every_other));
    let lease = loop {
        match pool.try_acquire(&request()).await {
            Ok(Some(lease)) => break lease,
            Ok(None) => sleep(TTL).await,
            Err(_) => {}
        }
    };
    let (current, newest) = watch::channel(lease.clone());
    let kept = timeout(TTL * 10, pool.keep_renewed(&current)).await;
    assert!(kept.is_err(), "kept for ten times its time to live: {kept:?}");
    let newest = newest.borrow().clone();
    assert_eq!(newest.id(), lease.id());
    assert!(newest.token() > lease.token());
    assert!(newest.remaining() > TTL / 3);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_ends_at_its_deadline_and_not_later() {
    let switch = Switch::new();
    let pool = Faulty::new(pool(), Fault::CutOff(switch.clone()));
    let lease = pool.try_acquire(&request()).await.unwrap().unwrap();
    switch.cut();
    let (current, _newest) = watch::channel(lease.clone());
    assert_eq!(pool.keep_renewed(&current).await, LossCause::Expired);
    // The paused clock stops at whole milliseconds.
    assert!(Instant::now() <= lease.deadline() + Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn an_eviction_ends_the_keeping_at_once() {
    let pool = Arc::new(pool());
    let lease = pool.try_acquire(&request()).await.unwrap().unwrap();
    let (current, _newest) = watch::channel(lease.clone());
    let begin = Instant::now();
    let (cause, evicted) = tokio::join!(pool.keep_renewed(&current), async {
        sleep(Duration::from_millis(10)).await;
        pool.evict(lease.id()).await
    });
    assert!(evicted.unwrap().is_some());
    assert_eq!((cause, begin.elapsed()), (LossCause::Evicted, Duration::from_millis(10)));
}
