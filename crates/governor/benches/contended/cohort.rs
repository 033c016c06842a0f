//! A lease handed on inside a process, beside getting and giving it back each time.

use std::time::Duration;

use sluicegate_core::Holder;
use sluicegate_governor::{Cohort, Governor};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Effort;
use crate::place::{Bare, LONG, Place};
use crate::turns::jain;
use sluicegate_testkit::figures::{Figures, count};

const WORKERS: usize = 100;

pub(crate) async fn measure(place: &Place, effort: Effort, figures: &mut Figures) {
    let pool = place.governor("cohort", 1, LONG).await;
    let bare = Bare::new(place.connection.client(), &pool);
    let time = effort.time(Duration::from_secs(1));
    let mut counts = vec![0_u32; WORKERS];
    let (mut floor, mut ours) = (0.0, 0.0);
    for _ in 0..effort.rounds() {
        let begin = Instant::now();
        let mut pairs = 0;
        while begin.elapsed() < time {
            bare.free(bare.take().await).await;
            pairs += 1;
        }
        floor += count(pairs) / begin.elapsed().as_secs_f64();

        let holder = Holder::try_new("cohort").expect("a holder");
        let governor = Governor::builder(pool.clone(), holder).cohort(Cohort::default()).build();
        let begin = Instant::now();
        let turns = greedy(&governor, begin + time).await;
        ours += count(turns.iter().map(|n| usize::try_from(*n).expect("small")).sum())
            / begin.elapsed().as_secs_f64();
        for (sum, turns) in counts.iter_mut().zip(turns) {
            *sum += turns;
        }
        governor.close(Duration::from_secs(5)).await;
    }
    let rounds = count(effort.rounds());
    figures
        .beside("cohort/greedy", "rate", "turns/s", ours / rounds, floor / rounds)
        .note("beside sequential pairs");
    let by_worker = counts.into_iter().enumerate().map(|(n, turns)| (n.to_string(), turns)).collect();
    figures.alone("cohort/greedy", "Jain", "", jain(&by_worker));
}

/// Everybody takes turns of no length, until then. How many turns each had.
async fn greedy(governor: &Governor, until: Instant) -> Vec<u32> {
    let mut tasks = JoinSet::new();
    for n in 0..WORKERS {
        let governor = governor.clone();
        tasks.spawn(async move {
            let mut turns = 0;
            while Instant::now() < until {
                governor.acquire().await.expect("a permit").release().await.expect("released");
                turns += 1;
            }
            (n, turns)
        });
    }
    let mut turns = tasks.join_all().await;
    turns.sort_unstable();
    turns.into_iter().map(|(_, turns)| turns).collect()
}
