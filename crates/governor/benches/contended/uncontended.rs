//! Many at once, and always a free slot: what the pool costs beside its requests.

use std::time::Duration;

use sluicegate_core::{Holder, LeasePool, Request};
use sluicegate_governor::CampaignPool;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Effort;
use crate::place::{Bare, LONG, Place, connection};
use sluicegate_testkit::figures::{Figures, count};

const TASKS: usize = 32;

/// Who makes pairs of requests.
#[derive(Clone, Debug)]
enum Maker {
    Bare(Bare),
    Ours(CampaignPool, Request),
}

impl Maker {
    async fn pair(&self) {
        match self {
            Self::Bare(bare) => bare.free(bare.take().await).await,
            Self::Ours(pool, request) => {
                let lease = pool.try_acquire(request).await.expect("an answer").expect("free");
                assert!(pool.release(&lease).await.expect("an answer"));
            }
        }
    }
}

pub(crate) async fn measure(place: &Place, effort: Effort, figures: &mut Figures) {
    let first = place.governor("parallel", 100, LONG).await;
    let request = Request::new(Holder::try_new("bench").expect("a holder"));
    let (mut bare, mut own) = (Vec::new(), Vec::new());
    for _ in 0..TASKS {
        let connection = connection(&place.url()).await;
        bare.push(Maker::Bare(Bare::new(connection.client(), &first)));
        let pool = CampaignPool::bind(&connection, "parallel").await.expect("bound");
        own.push(Maker::Ours(pool, request.clone()));
    }
    let shared = vec![Maker::Ours(first, request); TASKS];
    let time = effort.time(Duration::from_secs(1));
    let mut rates = [0.0; 3];
    for _ in 0..2 * effort.rounds() {
        for (rate, makers) in rates.iter_mut().zip([&bare, &own, &shared]) {
            *rate += pairs(makers, time).await / count(2 * effort.rounds());
        }
    }
    let [floor, ours, shared] = rates;
    figures
        .beside("uncontended/parallel", "rate", "pairs/s", ours, floor)
        .note(format!("{TASKS} tasks, a connection each; one connection for all: {shared:.0}/s"));
}

/// How many pairs a second all of them make together.
async fn pairs(makers: &[Maker], time: Duration) -> f64 {
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for maker in makers {
        let maker = maker.clone();
        tasks.spawn(async move {
            let mut done = 0_usize;
            while begin.elapsed() < time {
                maker.pair().await;
                done += 1;
            }
            done
        });
    }
    let done: usize = tasks.join_all().await.into_iter().sum();
    count(done) / begin.elapsed().as_secs_f64()
}
