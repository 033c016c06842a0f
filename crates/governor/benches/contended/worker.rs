//! One worker process of ours: what this program does when it is told to.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sluicegate_core::Holder;
use sluicegate_governor::{CampaignPool, Governor, Released};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::place::{Bare, connection, stranger};
use crate::turns::{Turn, now};

pub(crate) const ROLE: &str = "worker";

/// Who takes slots, and gives them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Release {
    /// We take and give back.
    Own,
    /// We take; a client that knows nothing of us gives back, by deleting the message, as choria's does.
    Stranger,
    /// Nobody but the bare requests: the floor, for a single task.
    Bare,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) url: String,
    pub(crate) governor: String,
    pub(crate) process: usize,
    pub(crate) tasks: usize,
    pub(crate) hold: Duration,
    pub(crate) time: Duration,
    pub(crate) release: Release,
    pub(crate) rest: Duration,
}

pub(crate) fn name(process: usize, task: usize) -> String {
    format!("p{process}-{task}")
}

/// Says that it is ready, waits for a line, works for as long as ordered, and tells of all turns.
pub(crate) fn main(order: &str) {
    let order: Order = serde_json::from_str(order).expect("an order");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let connection = connection(&order.url).await;
        let pool = CampaignPool::bind(&connection, &order.governor).await.expect("bound");
        let stranger = Bare::new(stranger(&order.url).await, &pool);
        let governor = Governor::builder(pool.clone(), Holder::try_new("bench").expect("a holder")).build();
        let order = Arc::new(order);
        say(&json!({"event": "ready"}));
        let started = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next());
        assert!(started.await.expect("reads").is_some(), "the order was taken back");

        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for task in 0..order.tasks {
            let (order, governor, stranger, stop) =
                (Arc::clone(&order), governor.clone(), stranger.clone(), stop.clone());
            tasks.spawn(async move { work(&order, task, &governor, &stranger, &stop).await });
        }
        tokio::time::sleep(order.time).await;
        stop.cancel();
        let turns = tasks.join_all().await.concat();
        tokio::time::sleep(order.rest).await;
        for turn in turns {
            let mut line = serde_json::to_value(turn).expect("JSON");
            line["event"] = json!("turn");
            say(&line);
        }
        governor.close(Duration::from_secs(5)).await;
        pool.close(Duration::from_secs(5)).await.expect("closed");
        say(&json!({"event": "done"}));
    });
}

fn say(line: &serde_json::Value) {
    writeln!(std::io::stdout(), "{line}").expect("somebody listens");
}

async fn work(
    order: &Order,
    task: usize,
    governor: &Governor,
    stranger: &Bare,
    stop: &CancellationToken,
) -> Vec<Turn> {
    let worker = name(order.process, task);
    let holder = Holder::try_new(&worker).expect("a holder");
    let mut turns = Vec::new();
    while !stop.is_cancelled() {
        let asked = now();
        let (seq, permit) = if order.release == Release::Bare {
            (stranger.take().await, None)
        } else {
            let permit = tokio::select! {
                biased;
                permit = governor.acquire_as(holder.clone()) => permit.expect("a permit"),
                () = stop.cancelled() => break,
            };
            (permit.token().0, Some(permit))
        };
        let granted = now();
        if !order.hold.is_zero() {
            tokio::time::sleep(order.hold).await;
        }
        let leaving = now();
        match permit {
            Some(permit) if order.release == Release::Own => {
                let released = permit.release().await.expect("released");
                assert_eq!(released, Released::Freed, "it was ours");
            }
            Some(permit) => {
                stranger.free(seq).await;
                permit.keep();
            }
            None => stranger.free(seq).await,
        }
        turns.push(Turn { worker: worker.clone(), seq, asked, granted, leaving, left: now() });
    }
    turns
}
