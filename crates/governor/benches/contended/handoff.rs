//! One slot, and many who want it: how soon the next one has it, and whether everybody's turn comes.

use std::time::Duration;

use sluicegate_core::{Holder, LeasePool, LeasePoolExt, Request, Wait};
use tokio::task::JoinSet;

use crate::fleet::Fleet;
use crate::place::{LONG, Place};
use crate::turns::{Turn, by_worker, hand_offs, jain, now, quantile};
use crate::worker::Release;
use crate::{Effort, peer};
use sluicegate_testkit::figures::{Figures, count, ms};

const HOLD: Duration = Duration::from_millis(5);
/// Turns that everybody should have before fairness is judged.
const TURNS: u32 = 20;
const PROCESSES: usize = 4;

pub(crate) async fn measure(place: &Place, effort: Effort, figures: &mut Figures) {
    for workers in [2, 20] {
        let time = effort.time(Duration::from_secs(2));
        let mut seen = Seen::default();
        for round in 0..effort.rounds() {
            seen.round(place, &format!("handoff-{workers}-{round}"), workers, time, time).await;
        }
        seen.report(workers, figures);
    }
    let (workers, mut seen) = (100, Seen::default());
    let long = effort.time(Duration::from_secs(18));
    seen.round(place, "handoff-100", workers, long, effort.time(Duration::from_secs(4))).await;
    seen.report(workers, figures);
    let fleet = Fleet::of(workers, HOLD, long);
    fairness("fairness/one", &seen.one.concat(), &fleet, &seen.choria.concat(), figures);
    fairness(
        "fairness/four",
        &seen.four.concat(),
        &fleet.in_processes(PROCESSES),
        &seen.choria.concat(),
        figures,
    );
    released_by_choria(place, effort, figures).await;
}

/// What was seen with so many workers, round by round.
#[derive(Debug, Default)]
struct Seen {
    floor: Vec<u64>,
    one: Vec<Vec<Turn>>,
    four: Vec<Vec<Turn>>,
    strangers: Vec<Vec<Turn>>,
    choria: Vec<Vec<Turn>>,
}

impl Seen {
    async fn round(&mut self, place: &Place, name: &str, workers: usize, time: Duration, short: Duration) {
        let url = place.url();
        place.governor(name, 1, LONG).await;
        let lone = Fleet { release: Release::Bare, ..Fleet::of(1, HOLD, Duration::from_secs(1)) };
        let fleet = Fleet::of(workers, HOLD, time);
        let brief = Fleet { time: short, ..fleet.clone() };
        self.floor.extend(gaps(&lone.run(&url, name).await));
        self.one.push(fleet.run(&url, name).await);
        self.floor.extend(gaps(&lone.run(&url, name).await));
        self.four.push(fleet.in_processes(PROCESSES).run(&url, name).await);
        let strangers = brief.clone().in_processes(PROCESSES).released_by_strangers();
        self.strangers.push(strangers.run(&url, name).await);
        self.floor.extend(gaps(&lone.run(&url, name).await));
        self.choria.push(brief.of_choria(&url, name, 1).await);
    }

    fn report(&self, workers: usize, figures: &mut Figures) {
        let floor = ms(quantile(&self.floor, 0.5));
        let (choria, _) = all_hand_offs(&self.choria);
        let choria = [0.5, 0.99].map(|share| ms(quantile(&choria, share)));
        for (who, turns) in [("own/one", &self.one), ("own/four", &self.four), ("go", &self.strangers)] {
            let bench = format!("handoff/{who}/W={workers}");
            let (gaps, again) = all_hand_offs(turns);
            let [p50, p99] = [0.5, 0.99].map(|share| ms(quantile(&gaps, share)));
            figures
                .beside(&bench, "p50", "ms", p50, floor)
                .note(format!("{} hand-offs, {again} times the same worker again", gaps.len()));
            figures.beside(&bench, "p99", "ms", p99, floor).note("beside the floor's p50");
            if workers < 100 && who == "own/four" {
                figures
                    .alone(&format!("handoff/choria/W={workers}"), "times faster", "×", choria[0] / p50)
                    .note(format!("choria p50 {:.1} ms, p99 {:.1} ms", choria[0], choria[1]));
            }
        }
    }
}

/// The hand-offs of all rounds.
fn all_hand_offs(rounds: &[Vec<Turn>]) -> (Vec<u64>, usize) {
    let rounds = rounds.iter().map(|turns| hand_offs(turns));
    rounds.fold((Vec::new(), 0), |(all, again), (gaps, more)| ([all, gaps].concat(), again + more))
}

/// From giving the slot back to having it again, for a lone worker.
fn gaps(turns: &[Turn]) -> Vec<u64> {
    turns.windows(2).map(|pair| pair[1].granted - pair[0].leaving).collect()
}

fn fairness(bench: &str, turns: &[Turn], fleet: &Fleet, choria: &[Turn], figures: &mut Figures) {
    let counts = by_worker(turns, fleet.names());
    let fewest = counts.values().copied().min().unwrap_or_default();
    let mean = turns.len() / counts.len();
    let theirs = by_worker(choria, (0..fleet.workers).map(|n| format!("go-{n}")));
    let starved = |counts: &std::collections::BTreeMap<String, u32>| {
        counts.values().filter(|turns| **turns == 0).count()
    };
    figures.alone(bench, "Jain", "", jain(&counts)).note(format!(
        "{mean} turns each on average (wanted: {TURNS}), fewest {fewest}; choria {:.2}, {} of {} starved",
        jain(&theirs),
        starved(&theirs),
        fleet.workers
    ));
    figures.alone(bench, "starved", "workers", count(starved(&counts)));
    let waits: Vec<u64> = turns.iter().map(|turn| turn.granted - turn.asked).collect();
    let longest = ms(waits.iter().copied().max().unwrap_or_default());
    let average = waits.iter().map(|wait| ms(*wait)).sum::<f64>() / count(waits.len());
    figures.alone(bench, "longest wait", "× mean", longest / average).note(format!("mean {average:.0} ms"));
}

/// The real Go package holds and gives back, twenty of ours wait.
async fn released_by_choria(place: &Place, effort: Effort, figures: &mut Figures) {
    const WAITERS: usize = 20;
    let name = "handoff-choria";
    let pool = place.governor(name, 1, LONG).await;
    let mut go = peer::start("hold", &place.url(), name, &["-interval", "5ms"]).await;
    let mut gaps = Vec::new();
    for _ in 0..15 * effort.rounds() {
        go.line().await;
        let mut waiters = JoinSet::new();
        for n in 0..WAITERS {
            let pool = pool.clone();
            waiters.spawn(async move {
                let request = Request::new(Holder::try_new(format!("waiter-{n}")).expect("a holder"));
                let lease = pool.acquire(&request, &Wait::new()).await.expect("answers").expect("no end");
                let granted = now();
                pool.release(&lease).await.expect("released");
                granted
            });
        }
        while pool.line().len() < WAITERS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // All first attempts are over.
        tokio::time::sleep(Duration::from_millis(20)).await;
        go.go_on().await;
        let left = go.line().await;
        let first = waiters.join_all().await.into_iter().min().expect("twenty");
        gaps.push(first.saturating_sub(left["leaving"].as_u64().expect("a time")));
        go.go_on().await;
    }
    let lone = Fleet { release: Release::Bare, ..Fleet::of(1, HOLD, Duration::from_secs(1)) };
    go.line().await;
    go.end().await;
    place.governor("handoff-choria-floor", 1, LONG).await;
    let floor = self::gaps(&lone.run(&place.url(), "handoff-choria-floor").await);
    figures
        .beside("handoff/go/package", "p50", "ms", ms(quantile(&gaps, 0.5)), ms(quantile(&floor, 0.5)))
        .note(format!("{} times; p99 {:.1} ms", gaps.len(), ms(quantile(&gaps, 0.99))));
}
