//! Ten slots, a hundred workers: how many turns a second.

use std::time::Duration;

use crate::Effort;
use crate::figures::{Figures, count};
use crate::fleet::Fleet;
use crate::place::{LONG, Place};
use crate::turns::{Turn, by_worker, most_at_once};

const SLOTS: u32 = 10;

pub(crate) async fn measure(place: &Place, effort: Effort, figures: &mut Figures) {
    let name = "wide";
    place.governor(name, SLOTS, LONG).await;
    let time = effort.time(Duration::from_secs(3));
    let fleet = Fleet::of(100, Duration::from_millis(5), time);
    let four = fleet.clone().in_processes(4);
    let (mut ours, mut processes, mut theirs, mut greedy) = ([0.0; 2], [0.0; 2], [0.0; 2], [0.0; 2]);
    for round in 0..effort.rounds() {
        let names = || fleet.names();
        // Choria's workers leave slots behind when they are stopped.
        let guests = [format!("wide-strict-{round}"), format!("wide-greedy-{round}")];
        for guest in &guests {
            place.governor(guest, SLOTS, LONG).await;
        }
        add(&mut ours, &fleet.run(&place.url(), name).await, names(), time);
        add(&mut processes, &four.run(&place.url(), name).await, four.names(), time);
        let go = || (0..fleet.workers).map(|n| format!("go-{n}"));
        add(&mut theirs, &fleet.of_choria(&place.url(), &guests[0], SLOTS).await, go(), time);
        add(&mut greedy, &fleet.of_choria(&place.url(), &guests[1], 0).await, go(), time);
    }
    let rounds = count(effort.rounds());
    for (who, [rate, starved]) in [("one", ours), ("four", processes)] {
        let bench = format!("handoff/wide/{who}");
        let [strict, barging] = [theirs, greedy]
            .map(|[rate, starved]| format!("{:.0}/s, {:.0} of 100 starved", rate / rounds, starved / rounds));
        let note = format!("choria {strict}; where a worker may take again what it freed: {barging}");
        figures
            .alone(&bench, "times choria's", "×", rate / theirs[0])
            .note(format!("{:.0}/s; {note}", rate / rounds));
        figures.alone(&bench, "starved", "workers", starved);
    }
}

/// Adds turns a second, and workers without any.
fn add(sums: &mut [f64; 2], turns: &[Turn], names: impl Iterator<Item = String>, time: Duration) {
    assert!(most_at_once(turns) <= usize::try_from(SLOTS).expect("small"), "more at once than slots");
    sums[0] += count(turns.len()) / time.as_secs_f64();
    sums[1] += count(by_worker(turns, names).values().filter(|turns| **turns == 0).count());
}
