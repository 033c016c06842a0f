//! What counts the turns of workers is right itself.

use crate::turns::{Turn, by_worker, hand_offs, jain, most_at_once, quantile};

fn turn(worker: &str, granted: u64, leaving: u64) -> Turn {
    Turn { worker: worker.to_owned(), seq: granted, asked: 0, granted, leaving, left: leaving + 1 }
}

#[test]
fn turns_that_touch_do_not_overlap_and_others_do() {
    assert_eq!(most_at_once(&[turn("a", 1, 5), turn("b", 5, 9)]), 1);
    assert_eq!(most_at_once(&[turn("a", 1, 5), turn("b", 4, 9), turn("c", 4, 6), turn("d", 7, 8)]), 3);
    assert_eq!(most_at_once(&[]), 0);
}

#[test]
fn fairness_counts_those_who_had_nothing() {
    let turns = [turn("a", 1, 2), turn("a", 3, 4)];
    assert!((jain(&by_worker(&turns, [])) - 1.0).abs() < 1e-9);
    assert!((jain(&by_worker(&turns, ["b".to_owned()])) - 0.5).abs() < 1e-9);
}

#[test]
fn a_hand_off_goes_to_somebody_else() {
    let turns = [turn("b", 12, 20), turn("a", 1, 10), turn("b", 25, 30)];
    assert_eq!(hand_offs(&turns), (vec![2], 1));
}

#[test]
fn quantiles_are_values_that_were_seen() {
    assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| quantile(&[30, 10, 20], share)), [10, 20, 30, 30]);
    assert_eq!(quantile(&[], 0.5), 0);
}
