//! Ten slots, a hundred workers: how many turns a second.

use std::time::Duration;

use crate::Effort;
use crate::fleet::Fleet;
use crate::place::{LONG, Place};
use crate::turns::{Turn, by_worker, most_at_once};
use sluicegate_testkit::figures::{Figures, count, ms};

const SLOTS: u32 = 10;

pub(crate) async fn measure(place: &Place, effort: Effort, figures: &mut Figures) {
    let name = "wide";
    place.governor(name, SLOTS, LONG).await;
    let time = effort.time(Duration::from_secs(3));
    let fleet = Fleet::of(100, Duration::from_millis(5), time);
    let four = fleet.clone().in_processes(4);
    let [mut ours, mut processes, mut theirs, mut greedy] = [Sums::default(); 4];
    for round in 0..effort.rounds() {
        // Choria's workers leave slots behind when they are stopped.
        let guests = [format!("wide-strict-{round}"), format!("wide-greedy-{round}")];
        for guest in &guests {
            place.governor(guest, SLOTS, LONG).await;
        }
        ours.add(&fleet.run(&place.url(), name).await, fleet.names(), time);
        processes.add(&four.run(&place.url(), name).await, four.names(), time);
        let go = || (0..fleet.workers).map(|n| format!("go-{n}"));
        theirs.add(&fleet.of_choria(&place.url(), &guests[0], SLOTS).await, go(), time);
        greedy.add(&fleet.of_choria(&place.url(), &guests[1], 0).await, go(), time);
    }
    for (who, sums) in [("one", ours), ("four", processes)] {
        let bench = format!("handoff/wide/{who}");
        figures.alone(&bench, "times choria's", "×", sums.rate() / theirs.rate()).note(format!(
            "{}; choria {}; where a worker may take again what it freed: {}",
            sums.show(),
            theirs.show(),
            greedy.show()
        ));
        figures.alone(&bench, "starved", "workers", count(sums.starved));
    }
}

/// What was seen in all rounds.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    turns: usize,
    starved: usize,
    rounds: usize,
    /// Seconds that were measured.
    time: f64,
    /// Seconds for which slots were really held: sleeping takes longer than it was told to.
    held: f64,
}

impl Sums {
    fn add(&mut self, turns: &[Turn], names: impl Iterator<Item = String>, time: Duration) {
        assert!(most_at_once(turns) <= usize::try_from(SLOTS).expect("small"), "more at once than slots");
        self.turns += turns.len();
        self.starved += by_worker(turns, names).values().filter(|turns| **turns == 0).count();
        self.rounds += 1;
        self.time += time.as_secs_f64();
        self.held += turns.iter().map(|turn| ms(turn.leaving - turn.granted) / 1e3).sum::<f64>();
    }

    fn rate(&self) -> f64 {
        count(self.turns) / self.time
    }

    fn show(&self) -> String {
        format!(
            "{:.0}/s, slots in use {:.0} % of the time, {:.0} of 100 starved",
            self.rate(),
            100.0 * self.held / (self.time * f64::from(SLOTS)),
            count(self.starved) / count(self.rounds)
        )
    }
}
