//! Workers in processes of their own, each the only one there: whoever gives a slot back does not take it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sluicegate_core::{LeasePool, LeasePoolExt, Wait};
use sluicegate_governor::CampaignPool;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::{LONG, config, connection, request, server, unique};
use crate::turns::{Turn, by_worker, hand_offs, jain, now};

const TURNS: usize = 200;

/// One worker, on a connection of its own: it knows of the others by the server alone, as another process would.
async fn work(url: String, governor: String, worker: String, done: Arc<AtomicUsize>) -> Vec<Turn> {
    let pool = CampaignPool::bind(&connection(&url).await, &governor).await.expect("bound");
    let (request, wait) = (request(&worker), Wait::new());
    let mut turns = Vec::new();
    while done.load(Ordering::Relaxed) < TURNS {
        let asked = now();
        let lease = pool.acquire(&request, &wait).await.expect("answers").expect("no end");
        let granted = now();
        sleep(Duration::from_millis(5)).await;
        let leaving = now();
        assert!(pool.release(&lease).await.expect("answers"));
        done.fetch_add(1, Ordering::Relaxed);
        turns.push(Turn { worker: worker.clone(), seq: lease.id().0, asked, granted, leaving, left: now() });
    }
    turns
}

async fn take_turns(workers: usize) {
    let server = server("2.15.1").await;
    let name = unique("alternate");
    CampaignPool::create(&connection(&server.url()).await, &config(&name, 1, LONG)).await.expect("made");
    let done = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for n in 0..workers {
        tasks.spawn(work(server.url(), name.clone(), format!("worker-{n}"), Arc::clone(&done)));
    }
    let turns = tasks.join_all().await.concat();
    let (handed_over, kept) = hand_offs(&turns);
    assert!(
        kept < handed_over.len() / 2,
        "{kept} times the same one again, {} times another",
        handed_over.len()
    );
    let fairness = jain(&by_worker(&turns, []));
    assert!(fairness > 0.9, "{fairness}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_take_turns() {
    take_turns(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_take_turns() {
    take_turns(4).await;
}
