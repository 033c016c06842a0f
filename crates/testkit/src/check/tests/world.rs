//! A pool that keeps all promises, simulated: the source of correct histories.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use crate::check::{Event, Op, Phase};

pub(super) const MS: u64 = 1_000_000;
pub(super) const TTL: u64 = 1_000 * MS;
const END: u64 = 8_000 * MS;

/// What shall happen in the history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) limit: u64,
    pub(super) processes: u32,
    /// Holders are killed, stopped and evicted; answers are lost; the limit changes.
    pub(super) rough: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Ask(usize),
    Arrive(usize),
    GiveUp(usize),
    Granted(usize, u64, u64),
    Refused(usize),
    Enter(usize),
    Use(usize),
    Leave(usize),
    Release(usize),
    Free(usize, u64),
    Released(usize, bool),
    Reap(u64),
    Expire(u64),
    Kill(usize),
    Gone(usize),
    Stop(usize),
    Evict,
    Resize(u64),
    Resized(u64),
}

#[derive(Clone, Debug, Default)]
struct Client {
    p: String,
    c: u32,
    call: u64,
    tries: bool,
    loses: bool,
    /// Id and deadline.
    lease: Option<(u64, u64)>,
    inside: bool,
    to_the_end: bool,
    told: bool,
    /// It will hold its next lease to the end, be stopped or be killed with it.
    fate: Option<Act>,
    sleeps_until: u64,
    dead: bool,
}

#[derive(Debug)]
pub(super) struct World {
    plan: Plan,
    random: u64,
    now: u64,
    acts: BinaryHeap<Reverse<(u64, u64, Act)>>,
    order: u64,
    clients: Vec<Client>,
    limit: u64,
    sequence: u64,
    stored: BTreeMap<u64, usize>,
    queue: VecDeque<usize>,
    largest: u64,
    calls: u64,
    events: Vec<Event>,
}

/// A correct history.
pub(super) fn history(plan: Plan) -> Vec<Event> {
    let mut world = World {
        plan,
        random: plan.seed | 1,
        now: 0,
        acts: BinaryHeap::new(),
        order: 0,
        clients: Vec::new(),
        limit: plan.limit,
        sequence: 1_000,
        stored: BTreeMap::new(),
        queue: VecDeque::new(),
        largest: 0,
        calls: 0,
        events: Vec::new(),
    };
    world.begin();
    while let Some(Reverse((t, _, act))) = world.acts.pop() {
        if plan.rough && t > END + 250 * MS {
            break;
        }
        world.now = t;
        world.act(act);
    }
    world.finish();
    for (n, event) in (1..).zip(&mut world.events) {
        event.n = n;
    }
    world.events
}

impl World {
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % bound
    }

    /// Some time of a message on its way.
    fn way(&mut self) -> u64 {
        MS / 4 + self.below(MS)
    }

    fn later(&mut self, after: u64, act: Act) {
        self.order += 1;
        self.acts.push(Reverse((self.now + after, self.order, act)));
    }

    fn write(&mut self, client: usize, op: Op, ph: Phase) -> &mut Event {
        let of = &self.clients[client];
        let mut event = Event::new(self.now, &of.p, op, ph).call(of.c, of.call);
        if let Some((lease, _)) = of.lease.filter(|_| op != Op::Acquire) {
            event = event.lease(lease, lease);
        }
        if matches!(op, Op::Enter | Op::Touch | Op::Leave | Op::Refuse) {
            event.by = Some("resource".into());
        }
        self.put(event)
    }

    fn put(&mut self, event: Event) -> &mut Event {
        self.events.push(event);
        let last = self.events.len() - 1;
        &mut self.events[last]
    }

    fn begin(&mut self) {
        let mut meta = Event::new(0, "run", Op::Meta, Phase::Event);
        (meta.limit, meta.ttl) = (Some(self.limit), Some(TTL));
        self.put(meta);
        for p in 0..self.plan.processes {
            for c in 0..2 {
                let client = self.clients.len();
                self.clients.push(Client { p: format!("w{p}"), c, ..Client::default() });
                let after = MS + self.below(20 * MS);
                self.later(after, Act::Ask(client));
            }
        }
        if self.plan.rough {
            self.clients[2].fate = Some(Act::Stop(2));
            self.clients[4].fate = Some(Act::Kill(4));
            self.clients[6].fate = Some(Act::Gone(6));
            self.later(5_000 * MS, Act::Evict);
            if self.limit > 1 {
                self.later(5_500 * MS, Act::Resize(self.limit + 1));
                self.later(6_800 * MS, Act::Resize(self.limit));
            }
        }
    }

    fn act(&mut self, act: Act) {
        let by_client = match act {
            Act::Ask(k) | Act::GiveUp(k) | Act::Granted(k, _, _) | Act::Refused(k) | Act::Enter(k) => Some(k),
            Act::Use(k) | Act::Leave(k) | Act::Release(k) | Act::Released(k, _) => Some(k),
            _ => None,
        };
        if let Some(client) = by_client {
            let Client { dead, sleeps_until, .. } = self.clients[client];
            if dead {
                return;
            }
            if self.now < sleeps_until {
                let wakes = sleeps_until - self.now + self.way();
                return self.later(wakes, act);
            }
        }
        match act {
            Act::Ask(k) => self.ask(k),
            Act::Arrive(k) => self.arrive(k),
            Act::GiveUp(k) => {
                self.write(k, Op::Acquire, Phase::Unknown);
                self.later(MS, Act::Ask(k));
            }
            Act::Granted(k, lease, sent) => self.granted(k, lease, sent),
            Act::Refused(k) => {
                self.write(k, Op::Acquire, Phase::Done);
                let pause = 5 * MS + self.below(5 * MS);
                self.later(pause, Act::Ask(k));
            }
            Act::Enter(k) => self.enter(k),
            Act::Use(k) => self.serve(k),
            Act::Leave(k) => {
                if std::mem::take(&mut self.clients[k].inside) {
                    self.write(k, Op::Leave, Phase::Event);
                }
                // Who came to its deadline gives back later.
                let way = self.way() + if self.clients[k].told { 40 * MS } else { 0 };
                self.later(way, Act::Release(k));
            }
            Act::Release(k) => self.release(k),
            Act::Free(k, lease) => {
                let freed = self.stored.remove(&lease).is_some();
                let way = self.way();
                self.later(way, Act::Released(k, freed));
                self.next();
            }
            Act::Released(k, freed) => {
                self.write(k, Op::Release, Phase::Done).freed = Some(freed);
                (self.clients[k].lease, self.clients[k].told) = (None, false);
                let pause = self.below(4 * MS);
                self.later(pause, Act::Ask(k));
            }
            Act::Reap(lease) | Act::Expire(lease) => {
                self.stored.remove(&lease);
                self.next();
            }
            Act::Kill(k) => self.kill(k),
            Act::Stop(k) => self.stop(k),
            Act::Gone(_) => {}
            Act::Evict => self.evict(),
            Act::Resize(limit) => {
                self.calls += 1;
                let id = self.calls;
                self.admin(Op::Resize, Phase::Call, id).limit = Some(limit);
                self.limit = limit;
                self.next();
                self.later(MS, Act::Resized(id));
            }
            Act::Resized(id) => drop(self.admin(Op::Resize, Phase::Done, id).t),
        }
    }

    fn admin(&mut self, op: Op, ph: Phase, id: u64) -> &mut Event {
        self.put(Event::new(self.now, "admin", op, ph).call(0, id))
    }

    fn ask(&mut self, k: usize) {
        if self.now > END {
            return;
        }
        self.calls += 1;
        let (tries, loses) = (self.below(3) == 0, self.plan.rough && self.below(12) == 0);
        (self.clients[k].call, self.clients[k].tries, self.clients[k].loses) = (self.calls, tries, loses);
        let asked = self.write(k, Op::Acquire, Phase::Call);
        asked.kind = (tries || loses).then(|| "try".into());
        if loses {
            self.later(30 * MS, Act::GiveUp(k));
        }
        let way = self.way();
        self.later(way, Act::Arrive(k));
    }

    fn full(&self) -> bool {
        self.stored.len() as u64 >= self.limit
    }

    fn arrive(&mut self, k: usize) {
        let Client { tries, loses, .. } = self.clients[k];
        let must_wait = self.full() || !self.queue.is_empty();
        if loses {
            // It may be stored, or may not have arrived at all.
            if !must_wait && self.below(2) == 0 {
                let lease = self.store(k);
                self.later(40 * MS, Act::Reap(lease));
            }
        } else if !must_wait {
            self.grant(k);
        } else if tries {
            let way = self.way();
            self.later(way, Act::Refused(k));
        } else {
            self.queue.push_back(k);
        }
    }

    fn store(&mut self, k: usize) -> u64 {
        // Between two there is room for one that should not be.
        self.sequence += 2;
        self.stored.insert(self.sequence, k);
        self.later(TTL + MS, Act::Expire(self.sequence));
        self.sequence
    }

    fn grant(&mut self, k: usize) {
        let lease = self.store(k);
        let (way, sent) = (self.way(), self.now - MS / 8);
        self.later(way, Act::Granted(k, lease, sent));
    }

    fn next(&mut self) {
        while !self.full() {
            let awake = |k: &usize| !self.clients[*k].dead && self.now >= self.clients[*k].sleeps_until;
            let Some(at) = self.queue.iter().position(awake) else { return };
            if let Some(k) = self.queue.remove(at) {
                self.grant(k);
            }
        }
    }

    fn granted(&mut self, k: usize, lease: u64, sent: u64) {
        let deadline = sent + TTL / 1_000 * 999;
        let granted = self.write(k, Op::Acquire, Phase::Done);
        (granted.lease, granted.token, granted.deadline) = (Some(lease), Some(lease), Some(deadline));
        self.clients[k].lease = Some((lease, deadline));
        let way = self.way();
        self.later(way, Act::Enter(k));
    }

    fn fenced(&self, lease: u64) -> bool {
        self.plan.limit == 1 && lease < self.largest
    }

    fn enter(&mut self, k: usize) {
        let Some((lease, deadline)) = self.clients[k].lease else { return };
        if self.now >= deadline {
            return self.later(MS, Act::Release(k));
        }
        self.largest = self.largest.max(lease);
        self.write(k, Op::Enter, Phase::Event);
        self.clients[k].inside = true;
        match self.clients[k].fate.take_if(|_| self.now > 300 * MS) {
            Some(Act::Gone(_)) => {
                // It holds as long as it may.
                self.clients[k].to_the_end = true;
                let until = deadline - 20 * MS - self.now;
                self.later(until / 2, Act::Use(k));
            }
            Some(fate) => self.later(MS, fate),
            None => {
                // The last one keeps what it has got.
                let hold = 40 * MS + self.below(20 * MS);
                let keeps = self.plan.rough && k + 1 == self.clients.len() && self.now > END - 300 * MS;
                if !keeps {
                    self.later(hold / 2, Act::Use(k));
                    self.later(hold, Act::Leave(k));
                }
            }
        }
    }

    fn serve(&mut self, k: usize) {
        let Some((lease, deadline)) = self.clients[k].lease.filter(|_| self.clients[k].inside) else {
            return;
        };
        let over = self.now >= deadline;
        if over || self.fenced(lease) {
            self.clients[k].inside = false;
            self.write(k, Op::Refuse, Phase::Event).kind = over.then(|| "expired".into());
            return;
        }
        self.write(k, Op::Touch, Phase::Event);
        if std::mem::take(&mut self.clients[k].to_the_end) {
            let left = deadline - 20 * MS - self.now;
            self.later(left, Act::Leave(k));
            self.now += left - 1;
            self.write(k, Op::Lost, Phase::Event);
            self.clients[k].told = true;
        }
    }

    fn release(&mut self, k: usize) {
        let Some((lease, _)) = self.clients[k].lease else { return };
        self.calls += 1;
        self.clients[k].call = self.calls;
        self.write(k, Op::Release, Phase::Call);
        let way = self.way();
        self.later(way, Act::Free(k, lease));
    }

    fn fault(&mut self, kind: &str, target: &str, last: u64) {
        self.calls += 1;
        for (after, ph) in [(0, Phase::Call), (1, Phase::Done), (last, Phase::Event)] {
            let fault = Event::new(self.now + after, "nemesis", Op::Fault, ph).call(0, self.calls);
            self.put(fault.fault(kind, target));
        }
    }

    fn of_process(&self, k: usize) -> Vec<usize> {
        (0..self.clients.len()).filter(|other| self.clients[*other].p == self.clients[k].p).collect()
    }

    fn kill(&mut self, k: usize) {
        self.fault("kill", &self.clients[k].p.clone(), 2);
        for k in self.of_process(k) {
            self.now += MS / 4;
            self.clients[k].dead = true;
            if std::mem::take(&mut self.clients[k].inside) {
                self.write(k, Op::Leave, Phase::Event);
            }
        }
    }

    fn stop(&mut self, k: usize) {
        let last = TTL + 300 * MS;
        self.fault("stop", &self.clients[k].p.clone(), last);
        for k in self.of_process(k) {
            self.clients[k].sleeps_until = self.now + last;
        }
        self.later(MS, Act::Use(k));
        self.later(last + 5 * MS, Act::Leave(k));
    }

    fn evict(&mut self) {
        let held = self.stored.iter().find(|(_, k)| self.clients[**k].inside).map(|(id, k)| (*id, *k));
        let Some((lease, k)) = held else { return self.later(MS, Act::Evict) };
        self.calls += 1;
        let id = self.calls;
        self.admin(Op::Evict, Phase::Call, id).lease = Some(lease);
        self.stored.remove(&lease);
        self.now += 1;
        self.admin(Op::Evict, Phase::Done, id).lease = Some(lease);
        self.write(k, Op::Lost, Phase::Event);
        self.next();
    }

    fn finish(&mut self) {
        // The leases that are kept are younger than this.
        let kept = self.events.iter().filter(|event| event.op != Op::Fault).map(|event| event.t).max();
        let t = kept.unwrap_or(0) + MS;
        let live: Box<[u64]> = self
            .clients
            .iter()
            .filter(|client| !client.dead)
            .filter_map(|client| client.lease)
            .map(|(id, _)| id)
            .collect();
        for replica in ["n0", "n1", "n2"] {
            let mut last = Event::new(t, "run", Op::Final, Phase::Event);
            (last.target, last.stored) = (Some(replica.into()), Some(live.clone()));
            self.put(last);
        }
        self.put(Event::new(t, "run", Op::End, Phase::Event));
        self.events.sort_by_key(|event| event.t);
    }
}
