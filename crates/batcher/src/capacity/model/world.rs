//! Random schedules: what happens next, to whom, and how long messages take.

use std::time::Duration;

use sluicegate_core::{FencingToken, LossCause, Random};
use tokio::time::Instant;

use super::pool::Pool;
use super::process::{FACTOR, Process, SLICE};
use crate::Bucket;

const MS: u64 = 1_000_000;
const TTL: u64 = 10_000 * MS;
const STEPS: u64 = 22;
/// How far the server's clock may jump: less than the guard.
const JUMP: u64 = 19 * MS;

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bend {
    Nothing,
    /// A lease counts from the moment its answer has arrived.
    CountsFromTheReply,
    /// A lease is used until its deadline.
    HasNoGuard,
    /// Nothing is waited for after a loss of state.
    DoesNotLearn,
    /// A new lease brings what it could have earned.
    BringsABalance,
    /// What was paid for starts whenever it can.
    StartsTooLate,
    /// A lease is given back while what it paid for waits.
    GivesBackBeforeTheStart,
}

pub(super) struct World {
    bend: Bend,
    now: u64,
    begin: Instant,
    pool: Pool,
    most: usize,
    reserved: u64,
    processes: Vec<Process>,
    mail: Vec<Mail>,
    /// When how much was taken of what was started.
    spent: Vec<(u64, u64)>,
    random: Random,
    events: u64,
}

struct Mail {
    at: u64,
    process: usize,
    life: u64,
    sent: Instant,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Acquire(FencingToken),
    Renew(u64),
    Release(u64),
    Look,
    Granted(FencingToken, (u64, u64, u64)),
    Renewed(u64, Option<u64>),
    Seen(u64, u64),
    Recreated,
}

impl World {
    pub(super) fn new(bend: Bend, seed: u64) -> Self {
        let mut random = Random::seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let most = 1 + random.below(4) as usize;
        let begin = Instant::now();
        let mut world = Self {
            bend,
            now: TTL,
            begin,
            pool: Pool::new(most, TTL),
            most,
            reserved: 0,
            processes: Vec::new(),
            mail: Vec::new(),
            spent: Vec::new(),
            events: 0,
            random,
        };
        for _ in 0..2 + world.random.below(2) {
            let reserved = if world.random.below(4) == 0 { FACTOR } else { 0 };
            world.reserved += reserved;
            // The edge is where things break.
            let drift = [-1_000, 1_000, 0, 500][world.random.below(4) as usize];
            world.processes.push(Process::new(bend, begin, drift, reserved, false, TTL));
            let newest = world.processes.len() - 1;
            world.send(newest, What::Look);
        }
        world
    }

    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now - TTL)
    }

    pub(super) fn spent(&self) -> u64 {
        self.spent.iter().map(|(_, cost)| cost).sum()
    }

    /// Runs the schedule, and tells how many events it had.
    pub(super) fn run(&mut self) -> Result<u64, String> {
        for _ in 0..STEPS {
            let pause = match self.random.below(10) {
                0..5 => self.random.below(15 * MS),
                5..8 => self.random.below(300 * MS),
                8 => self.random.below(TTL / 3),
                _ => self.random.below(TTL),
            };
            self.pass(self.now + pause)?;
            self.act()?;
        }
        self.pass(self.now + TTL)?;
        self.check_windows()?;
        if self.random.below(8) == 0 {
            self.check_reclaim()?;
        }
        Ok(self.events)
    }

    fn delay(&mut self) -> u64 {
        match self.random.below(20) {
            0 => self.random.below(3 * TTL / 2),
            1 => self.random.below(500 * MS),
            _ => self.random.below(10 * MS),
        }
    }

    fn send(&mut self, process: usize, what: What) {
        let sent = self.processes[process].local(self.now);
        if self.processes[process].cut_until <= self.now {
            let delay = self.delay();
            self.post(process, sent, self.now + delay, what);
        }
    }

    fn post(&mut self, process: usize, sent: Instant, at: u64, what: What) {
        let life = self.processes[process].life;
        self.mail.push(Mail { at, process, life, sent, what });
    }

    /// Everything that is due by then, in order.
    fn pass(&mut self, until: u64) -> Result<(), String> {
        loop {
            let mail = self.mail.iter().enumerate().map(|(n, mail)| (mail.at, n)).min();
            let starts = self.processes.iter().enumerate().filter(|(_, process)| process.alive);
            let start = starts
                .flat_map(|(n, process)| {
                    process.batches.iter().map(move |batch| (batch.starts.max(process.frozen_until), n))
                })
                .min();
            let at = mail.map(|(at, _)| at).into_iter().chain(start.map(|(at, _)| at)).min();
            let Some(at) = at.filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            self.events += 1;
            match (mail, start) {
                (_, Some((first, n))) if first == at => self.start(n)?,
                (Some((_, n)), _) => {
                    let mail = self.mail.swap_remove(n);
                    self.deliver(mail)?;
                }
                _ => {}
            }
        }
        self.now = until;
        Ok(())
    }

    fn start(&mut self, process: usize) -> Result<(), String> {
        for (batch, starts) in self.processes[process].start(self.now) {
            if !starts {
                continue;
            }
            for lease in &batch.leases {
                self.check_owner(process, *lease)?;
            }
            self.spent.push((batch.taken, batch.cost));
        }
        self.give_back(process);
        Ok(())
    }

    /// Whoever starts something under a lease is not too late: nobody else can have it yet.
    fn check_owner(&mut self, process: usize, lease: u64) -> Result<(), String> {
        self.pool.expire(self.now);
        let forgotten = self.pool.epoch > 1;
        let held = self.pool.entries.iter().any(|entry| entry.id == lease && entry.owner == process);
        if held || forgotten {
            return Ok(());
        }
        Err(format!("process {process} starts under lease {lease}, which the pool has given up"))
    }

    fn give_back(&mut self, process: usize) {
        for id in self.processes[process].given_back() {
            self.send(process, What::Release(id));
        }
    }

    fn deliver(&mut self, mail: Mail) -> Result<(), String> {
        let Mail { at, process, life, sent, what } = mail;
        let cut = self.processes[process].cut_until > self.now;
        // To the pool it goes also when its sender has died meanwhile; the answer then reaches nobody.
        let answer = match what {
            _ if cut => return Ok(()),
            What::Acquire(mark) => {
                let granted = self.pool.acquire(process, self.now);
                granted.map(|lease| What::Granted(mark, lease))
            }
            What::Renew(id) => Some(What::Renewed(id, self.pool.renew(id, self.now))),
            What::Release(id) => {
                self.pool.release(id);
                None
            }
            What::Look => Some(What::Seen(self.pool.epoch, self.pool.age(self.now))),
            _ => None,
        };
        if let Some(answer) = answer {
            let delay = self.delay();
            self.mail.push(Mail { at: self.now + delay, process, life, sent, what: answer });
            return Ok(());
        }
        let receiver = &mut self.processes[process];
        if !receiver.alive || receiver.life != life {
            return Ok(());
        }
        if receiver.frozen_until > self.now {
            self.mail.push(Mail { at: receiver.frozen_until, process, life, sent, what });
            return Ok(());
        }
        let (ttl, now) = (Duration::from_nanos(TTL), receiver.local(self.now.max(at)));
        match what {
            What::Granted(mark, lease) => {
                let standing = receiver.granted(lease, (sent, mark), ttl, now);
                if standing == Some(super::super::learning::Standing::Unproven) {
                    self.send(process, What::Look);
                }
            }
            What::Renewed(id, token) => receiver.renewed(id, token, sent, ttl, now),
            What::Seen(epoch, age) => {
                // As old as the pool was when it answered.
                receiver.described(TTL, epoch, age, sent, now);
            }
            What::Recreated => {
                let ids: Vec<u64> = receiver.held.iter().map(|(lease, _)| lease.id().0).collect();
                for id in ids {
                    receiver.lost(id, LossCause::Recreated, ttl, now);
                }
            }
            _ => return Ok(()),
        }
        self.give_back(process);
        self.check_leases()
    }

    /// Σ leases that anybody would use now.
    fn check_leases(&mut self) -> Result<(), String> {
        let alive = self.processes.iter().filter(|process| process.alive);
        let usable: usize = alive.map(|process| process.usable(process.local(self.now))).sum();
        if usable > self.most {
            return Err(format!("{usable} leases are in use, {} at most", self.most));
        }
        Ok(())
    }

    /// All but one crash: that one has everything within a time to live and 0.3 s, or once it has learned.
    fn check_reclaim(&mut self) -> Result<(), String> {
        self.mail.clear();
        let crash = self.now;
        let ttl = Duration::from_nanos(TTL);
        let (survivor, dead) = self.processes.split_at_mut(1);
        for process in dead {
            process.alive = false;
        }
        let survivor = &mut survivor[0];
        (survivor.frozen_until, survivor.cut_until) = (0, 0);
        for id in std::mem::take(&mut survivor.leaving) {
            self.pool.release(id);
        }
        let rest = |process: &Process, now: u64| {
            process
                .learning
                .until(process.local(now))
                .map_or(0, |until| until.duration_since(process.local(now)).as_nanos() as u64)
        };
        let (mut now, mut deadline) = (crash, crash + TTL + 300 * MS);
        while now < deadline {
            let local = survivor.local(now);
            survivor.described(TTL, self.pool.epoch, self.pool.age(now), local, local);
            let ids: Vec<u64> = survivor.held.iter().map(|(lease, _)| lease.id().0).collect();
            for id in ids {
                survivor.renewed(id, self.pool.renew(id, now), local, ttl, local);
            }
            while survivor.may_ask(local, ttl)
                && let Some(lease) = self.pool.acquire(0, now)
            {
                let mark = survivor.learning.mark();
                survivor.granted(lease, (local, mark), ttl, local);
            }
            for id in std::mem::take(&mut survivor.leaving) {
                self.pool.release(id);
            }
            let rest = rest(survivor, now);
            deadline = if rest > 0 { deadline.max(now + rest + 100 * MS) } else { deadline };
            now += 50 * MS;
        }
        let usable = survivor.usable(survivor.local(now));
        if usable < self.pool.limit {
            return Err(format!("{usable} of {} leases reclaimed", self.pool.limit));
        }
        Ok(())
    }

    fn act(&mut self) -> Result<(), String> {
        self.events += 1;
        let who = self.random.below(self.processes.len() as u64) as usize;
        let kind = self.random.below(100);
        if kind >= 88 {
            return self.fault(who, kind);
        }
        if !self.processes[who].is_up(self.now) {
            return Ok(());
        }
        let now = self.processes[who].local(self.now);
        match kind {
            0..30 => {
                if self.processes[who].may_ask(now, Duration::from_nanos(TTL)) {
                    let mark = self.processes[who].learning.mark();
                    for _ in 0..=self.random.below(self.most as u64) {
                        self.send(who, What::Acquire(mark));
                    }
                } else {
                    self.send(who, What::Look);
                }
            }
            30..48 => {
                let ids: Vec<u64> = self.processes[who].held.iter().map(|(lease, _)| lease.id().0).collect();
                for id in ids {
                    self.send(who, What::Renew(id));
                }
            }
            48..80 => {
                for n in 0..self.processes.len() {
                    if self.processes[n].is_up(self.now) {
                        let way = self.random.below(3 * MS);
                        let cost = 5 + self.random.below(6) as u32;
                        self.processes[n].spend(cost, self.now, self.now + way);
                    }
                }
            }
            80..85 => {
                self.processes[who].let_go();
                self.give_back(who);
            }
            _ => self.send(who, What::Look),
        }
        Ok(())
    }

    fn fault(&mut self, who: usize, kind: u64) -> Result<(), String> {
        match kind {
            88..90 => {
                let (random, process) = (&mut self.random, &mut self.processes[who]);
                process.frozen_until = self.now + random.below(3 * TTL / 2);
            }
            90..92 => self.processes[who].cut_until = self.now + self.random.below(2 * TTL),
            92..94 => self.restart(who),
            94 => self.pool.ahead = JUMP,
            95 | 96 => {
                self.pool.limit = 1 + self.random.below(5) as usize;
                self.most = self.most.max(self.pool.limit);
            }
            _ => {
                let tokens_too = self.random.below(2) == 0;
                self.pool.forget(self.now, tokens_too);
                for n in 0..self.processes.len() {
                    self.tell(n);
                }
            }
        }
        self.check_leases()
    }

    fn tell(&mut self, process: usize) {
        let sent = self.processes[process].local(self.now);
        if self.processes[process].cut_until <= self.now {
            let at = self.now + self.random.below(50 * MS);
            self.post(process, sent, at, What::Recreated);
        }
    }

    /// It dies, and another one begins in its place that knows nothing.
    fn restart(&mut self, who: usize) {
        let life = self.processes[who].life + 1;
        let drift = [-1_000, 1_000][self.random.below(2) as usize];
        // What is reserved is full in a new process: not counted twice.
        let mut process = Process::new(self.bend, self.begin, drift, 0, false, self.now);
        process.life = life;
        self.processes[who] = process;
        self.send(who, What::Look);
    }

    /// The formula, for every window.
    fn check_windows(&mut self) -> Result<(), String> {
        self.spent.sort_unstable();
        // Per thousand seconds: a clock that is fast by a thousandth earns a thousandth more.
        let rate = i128::from(self.most as u64 * FACTOR + self.reserved) * 1_001;
        let saved = (SLICE + Bucket::SLACK).as_nanos() as i128;
        let (mut before, mut lowest) = (0_i128, i128::MAX);
        for (at, cost) in &self.spent {
            let earned = rate * i128::from(*at);
            lowest = lowest.min(before - earned);
            before += i128::from(*cost) * 1_000_000_000_000;
            let excess = before - earned - lowest - rate * saved;
            if excess > 0 {
                return Err(format!("{} units too many in some window", excess / 1_000_000_000_000));
            }
        }
        Ok(())
    }
}
