//! Whether shares become equal, and what it costs while nobody competes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::time::Duration;

use sluicegate_core::Random;

use super::super::Share;
use super::super::borrowing::Borrowing;
use super::super::share::Division;

/// Time to live of the modelled pool, in ms.
const TTL: u64 = 10_000;

/// All of them want more than there is.
struct World {
    now: u64,
    leases: usize,
    share: Share,
    processes: Vec<Process>,
    events: BinaryHeap<Reverse<(u64, u64, usize, What)>>,
    sequence: u64,
    random: Random,
    /// Process-milliseconds without a lease that nobody had.
    idle: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// An attempt reaches the pool.
    Try,
    /// A lease reaches the pool that was given back.
    GivenBack,
    /// The next offer.
    Offer,
    /// Something is said to be free.
    Hint,
    /// The pool is looked at, whatever happens.
    Look,
}

#[derive(Clone, Default)]
struct Process {
    alive: bool,
    held: usize,
    parties: usize,
    counted: Option<u64>,
    borrowing: Borrowing,
    /// Leases that are on their way to the pool.
    leaving: usize,
    offer: Option<u64>,
    open_until: u64,
    judge_at: Option<usize>,
    trying: bool,
    /// Leases that an attempt may get: as many as are asked for at once.
    width: usize,
    waiting: bool,
}

impl World {
    fn new(leases: usize, share: Share, seed: u64) -> Self {
        Self {
            now: 0,
            leases,
            share,
            processes: Vec::new(),
            events: BinaryHeap::new(),
            sequence: 0,
            random: Random::seeded(seed),
            idle: 0,
        }
    }

    fn add(&mut self) -> usize {
        let process = self.processes.len();
        self.processes.push(Process { alive: true, parties: 1, width: 1, ..Process::default() });
        self.try_soon(process, 0);
        let look = self.jittered();
        self.schedule(process, look, What::Look);
        process
    }

    fn jittered(&mut self) -> u64 {
        self.random.jitter(Duration::from_millis(TTL), 0.1).as_millis() as u64
    }

    fn schedule(&mut self, process: usize, delay: u64, what: What) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + delay, self.sequence, process, what)));
    }

    /// Half a round trip.
    fn way(&mut self) -> u64 {
        1 + self.random.below(4)
    }

    fn try_soon(&mut self, process: usize, delay: u64) {
        if !self.processes[process].trying {
            self.processes[process].trying = true;
            self.processes[process].waiting = false;
            let way = self.way();
            self.schedule(process, delay + way, What::Try);
        }
    }

    fn free(&self) -> usize {
        let held: usize = self.processes.iter().map(|process| process.held + process.leaving).sum();
        self.leases - held
    }

    fn division(&self, process: usize) -> Division {
        self.share.division(self.leases, self.processes[process].parties)
    }

    fn run(&mut self, until: u64) {
        while let Some(Reverse((at, _, process, what))) = self.events.peek().copied()
            && at <= until
        {
            self.events.pop();
            self.idle += (at - self.now) * self.missing();
            self.now = at;
            if self.processes[process].alive {
                self.step(process, what);
            }
        }
        self.idle += (until - self.now) * self.missing();
        self.now = until;
    }

    fn missing(&self) -> u64 {
        (self.leases - self.processes.iter().map(|process| process.held).sum::<usize>()) as u64
    }

    fn step(&mut self, id: usize, what: What) {
        let free = self.free();
        let now = self.now;
        match what {
            What::Try => {
                self.processes[id].trying = false;
                if now < self.processes[id].open_until {
                    let rest = self.processes[id].open_until - now;
                    self.try_soon(id, rest);
                } else if free > 0 {
                    let process = &mut self.processes[id];
                    process.held += free.min(process.width);
                    process.width = (2 * process.width).min(32);
                    if process.judge_at.is_some_and(|enough| process.held >= enough) {
                        process.judge_at = None;
                        process.borrowing.judge(false);
                    }
                    self.try_soon(id, 0);
                    self.plan_offer(id);
                } else {
                    let process = &mut self.processes[id];
                    if process.judge_at.take().is_some() {
                        process.borrowing.judge(true);
                    }
                    process.waiting = true;
                    process.width = 1;
                    self.count(id);
                    self.plan_offer(id);
                }
            }
            What::GivenBack => {
                self.processes[id].leaving -= 1;
                for other in 0..self.processes.len() {
                    if self.processes[other].waiting {
                        let way = self.way();
                        self.schedule(other, way, What::Hint);
                    }
                }
            }
            What::Hint => {
                if self.processes[id].waiting && now >= self.processes[id].open_until {
                    let patience = self.division(id).patience(self.processes[id].held);
                    self.try_soon(id, patience.as_millis() as u64);
                }
            }
            What::Look => {
                if self.processes[id].waiting {
                    self.count(id);
                    if free > 0 {
                        self.try_soon(id, 0);
                    }
                }
                let look = self.jittered();
                self.schedule(id, look, What::Look);
            }
            What::Offer => self.offer(id),
        }
    }

    /// At most once in a time to live.
    fn count(&mut self, id: usize) {
        if self.processes[id].counted.is_none_or(|at| self.now >= at + TTL * 9 / 10) {
            let others = self.processes.iter().enumerate().filter(|(n, other)| *n != id && other.held > 0);
            self.processes[id].parties = others.count() + 1;
            self.processes[id].counted = Some(self.now);
        }
    }

    fn plan_offer(&mut self, id: usize) {
        if self.processes[id].offer.is_none() {
            let at = self.jittered();
            self.processes[id].offer = Some(self.now + at);
            self.schedule(id, at, What::Offer);
        }
    }

    fn offer(&mut self, id: usize) {
        let division = self.division(id);
        let again = if self.processes[id].trying { 10 } else { self.jittered() };
        self.schedule(id, again, What::Offer);
        let process = &mut self.processes[id];
        if process.judge_at.take().is_some() {
            process.borrowing.judge(false);
        }
        // Something is free anyway.
        let leases = if process.trying { 0 } else { process.borrowing.offer(process.held, division) };
        if leases == 0 {
            return;
        }
        process.judge_at = Some(process.held);
        process.held -= leases;
        process.leaving += leases;
        process.waiting = false;
        let pause = Borrowing::PAUSE.as_millis() as u64;
        process.open_until = self.now + pause;
        for _ in 0..leases {
            let way = self.way();
            self.schedule(id, way, What::GivenBack);
        }
        self.try_soon(id, pause);
    }

    fn held(&self) -> Vec<usize> {
        self.processes.iter().map(|process| process.held).collect()
    }

    fn crash(&mut self, id: usize) {
        // Its leases have run out.
        self.processes[id].alive = false;
        let held = std::mem::take(&mut self.processes[id].held);
        let waiting: Vec<_> =
            (0..self.processes.len()).filter(|other| self.processes[*other].waiting && held > 0).collect();
        for other in waiting {
            let way = self.way();
            self.schedule(other, way, What::Hint);
        }
    }
}

#[test]
fn model_yield_converges() {
    let mut schedules = 0;
    for leases in [1, 2, 3, 4, 5, 7, 10, 20, 100, 500] {
        for others in [1, 2, 3, 5, 8] {
            for seed in 0..4 {
                let mut world = World::new(leases, Share::Equal, seed ^ (leases as u64) << 8);
                for _ in 0..others {
                    world.add();
                    let pause = world.random.below(3 * TTL);
                    world.run(world.now + pause);
                }
                let settled = world.now + 6 * TTL;
                world.run(settled);
                let newcomer = world.add();
                // With fewer leases than processes each has one for a part of the time.
                let (share, rounds) = ((leases / (others + 1)).max(1), (others + 1).div_ceil(leases));
                let mut reached = None;
                for _ in 0..500 * rounds {
                    world.run(world.now + TTL / 100);
                    if world.processes[newcomer].held >= share {
                        reached = Some(world.now - settled);
                        break;
                    }
                }
                assert!(
                    reached.is_some(),
                    "{leases} leases, {others} others, seed {seed}: {:?} after {rounds} × 5 times to live",
                    world.held()
                );
                schedules += 1;
            }
        }
    }
    println!("model_yield_converges: {schedules} schedules");
}

#[test]
fn a_newcomer_keeps_what_it_has_reached() {
    for seed in 0..20 {
        let mut world = World::new(20, Share::Equal, seed);
        world.add();
        world.run(TTL);
        assert!(world.held()[0] >= 19);
        for _ in 0..3 {
            world.add();
        }
        world.run(10 * TTL);
        // In the mean over many offers everybody has the same, and nobody is ever far from it.
        let mut sums = [0; 4];
        for sample in 1..=1_000 {
            world.run((10 * TTL) + sample * TTL / 10);
            let held = world.held();
            assert!(held.iter().all(|held| (3..=7).contains(held)), "seed {seed}: {held:?}");
            for (sum, held) in sums.iter_mut().zip(held) {
                *sum += held;
            }
        }
        assert!(sums.iter().all(|sum| (4_500..=5_500).contains(sum)), "seed {seed}: {sums:?}");
    }
}

#[test]
fn being_alone_costs_next_to_nothing() {
    for leases in [1, 2, 3, 10, 20, 100, 500] {
        let mut world = World::new(leases, Share::Equal, leases as u64);
        world.add();
        world.run(2 * TTL);
        world.idle = 0;
        world.run(102 * TTL);
        let borrowed = (leases - leases / 2) as f64 * (100 * TTL) as f64;
        let cost = world.idle as f64 / borrowed;
        let allowed = if leases >= 20 { 0.002 + 0.001 } else { 0.02 + 0.001 };
        assert!(cost <= allowed, "{leases} leases: {cost}");
        assert!(cost > 0.0, "it does offer something");
    }
}

#[test]
fn weighted_borrows_and_gives_back() {
    let half = Share::Weighted { weight: NonZeroU32::MIN, of: NonZeroU32::new(2).unwrap() };
    for seed in 0..20 {
        let mut world = World::new(20, half, seed);
        world.add();
        world.run(TTL);
        assert!(world.held()[0] >= 19, "borrowed");
        world.add();
        world.run(6 * TTL);
        assert_eq!(world.held(), [10, 10], "given back for good");
    }
}

#[test]
fn the_share_of_a_crashed_process_goes_to_those_who_have_theirs() {
    for seed in 0..20 {
        let mut world = World::new(20, Share::Equal, seed);
        world.add();
        world.add();
        world.run(10 * TTL);
        world.crash(1);
        let expired = world.now;
        while world.held()[0] < 20 {
            world.run(world.now + 1);
            assert!(world.now <= expired + 300, "seed {seed}: {:?}", world.held());
        }
    }
}
