//! The guarantee over all processes: any number of them, a pool, and everything that goes wrong between them.

use std::time::Duration;

use sluicegate_core::Random;

use super::world::{Bend, World};

const SCHEDULES: u64 = 100_000;
const THREADS: u64 = 2;

/// The first schedule in which something is not as it must be.
fn search(bend: Bend, schedules: std::ops::Range<u64>) -> Result<u64, String> {
    let mut events = 0;
    for seed in schedules {
        let mut world = World::new(bend, seed);
        events += world.run().map_err(|found| format!("schedule {seed}: {found}"))?;
    }
    Ok(events)
}

#[test]
fn model_shared_guarantee() {
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (from, to) = (SCHEDULES * thread / THREADS, SCHEDULES * (thread + 1) / THREADS);
            std::thread::spawn(move || search(Bend::Nothing, from..to))
        })
        .collect();
    let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let events: u64 =
        results.into_iter().map(|result| result.unwrap_or_else(|found| panic!("{found}"))).sum();
    println!("model_shared_guarantee: {SCHEDULES} schedules, {events} events");
    assert!(events > 10 * SCHEDULES);
}

#[test]
fn every_mutant_is_caught() {
    for bend in [
        Bend::CountsFromTheReply,
        Bend::HasNoGuard,
        Bend::DoesNotLearn,
        Bend::BringsABalance,
        Bend::StartsTooLate,
        Bend::GivesBackBeforeTheStart,
    ] {
        let found = search(bend, 0..30_000).expect_err(&format!("{bend:?} is not caught"));
        println!("{bend:?}: {found}");
    }
}

#[test]
fn the_same_seed_is_the_same_schedule() {
    let mut seeds = Random::seeded(1);
    for _ in 0..20 {
        let seed = seeds.next_u64();
        let [one, two] = [(); 2].map(|()| {
            let mut world = World::new(Bend::Nothing, seed);
            world.run().unwrap();
            (world.elapsed(), world.spent())
        });
        assert_eq!(one, two);
        assert!(one.0 > Duration::ZERO);
    }
}
