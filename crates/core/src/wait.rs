use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::later;

/// How many waiters of one line ask their pool at the same time, at most.
const IN_FLIGHT: usize = 64;

/// For how long newcomers go to the tail after a refusal.
const CONTENDED: Duration = Duration::from_secs(1);

/// The line in which the callers of one pool handle wait for a slot, first in, first out.
///
/// Every [`LeasePool`](crate::LeasePool) handle owns one, because the handle is the only place where all callers of
/// a process meet: a line kept anywhere above it can be passed by whoever does not stand in it.
///
/// Nobody in line asks the pool without a *credit*. A hint of n freed slots gives one credit to each of the first n,
/// who then ask at the same time; one of those who do not ask listens for hints on behalf of all. So a hundred
/// waiters cost the server as much as one, and a caller that releases and asks again at once does not overtake those
/// who were there before it.
///
/// Pools tell the line what they know of others who wait elsewhere, and how far their hints can be relied on.
#[derive(Clone, Debug, Default)]
pub struct WaitQueue(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// In the order of their arrival.
    waiters: BTreeMap<u64, Waiter>,
    /// Who listens for hints.
    listener: Option<u64>,
    in_flight: usize,
    /// Slots that we were told of beyond the number of those who could use them.
    spare: u32,
    /// How often we were told of some.
    told: u64,
    /// Until then newcomers go to the tail.
    held_back: Option<Instant>,
    hinted: bool,
    /// When somebody last was refused or asked without a hint, so that no slot was free that nobody knew of, or when
    /// the first of those who wait came.
    looked: Option<Instant>,
    /// Since when the pool has answered nothing but transient errors.
    failing: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    wake: Arc<Notify>,
    stage: Stage,
    /// How often the line had been told of slots when it began to ask.
    began: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Credited(Credit),
    Asking(Credit),
}

/// Why somebody may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credit {
    /// A hint said so.
    Told,
    /// It was time to look. A success may mean that there is more.
    Guessed,
}

impl WaitQueue {
    /// An empty line.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many callers stand in line.
    pub fn len(&self) -> usize {
        self.lock().waiters.len()
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A newcomer may ask at once: nobody waits here, and nothing says that others wait elsewhere.
    pub fn is_open(&self) -> bool {
        let state = self.lock();
        state.waiters.is_empty() && state.held_back.is_none_or(|until| until <= Instant::now())
    }

    /// For pools: others wait for a slot, somewhere. For so long newcomers go to the tail, where they wait for a
    /// hint, or for this time to pass. Every refusal does so for a second.
    pub fn hold_back(&self, time: Duration) {
        let until = later(Instant::now(), time);
        let mut state = self.lock();
        state.held_back = Some(state.held_back.map_or(until, |before| before.max(until)));
    }

    /// For pools: nobody waits anywhere else.
    pub fn open(&self) {
        self.lock().held_back = None;
    }

    /// For pools: whether hints are known to arrive, so that asking now and then without one may be rarer
    /// ([`Wait::poll_when_hinted`](crate::Wait::poll_when_hinted)).
    pub fn set_hinted(&self, hinted: bool) {
        self.lock().hinted = hinted;
    }

    /// Whether hints are known to arrive.
    pub fn is_hinted(&self) -> bool {
        self.lock().hinted
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes to the tail.
    pub(crate) fn enter(&self) -> Place<'_> {
        let wake = Arc::new(Notify::new());
        let mut state = self.lock();
        let ticket = state.next;
        state.next += 1;
        if state.waiters.is_empty() {
            state.looked = Some(Instant::now());
        }
        state.waiters.insert(ticket, Waiter { wake: Arc::clone(&wake), stage: Stage::Idle, began: 0 });
        state.spend();
        Place { line: self, ticket, wake, entered: Instant::now() }
    }

    /// So many slots more are believed to be free.
    pub(crate) fn tell(&self, slots: u32) {
        let mut state = self.lock();
        state.told += 1;
        state.spare = state.spare.saturating_add(slots);
        state.spend();
    }

    /// It is time for somebody to look, unless somebody does.
    pub(crate) fn guess(&self) {
        let mut state = self.lock();
        state.looked = Some(Instant::now());
        if state.in_flight == 0 {
            state.credit(Credit::Guessed);
        }
    }

    /// When it is time to look, for those who do so every so often. Hints do not put it off: others than those that
    /// they tell of may be free.
    pub(crate) fn look_at(&self, every: Duration) -> Instant {
        later(self.lock().looked.unwrap_or_else(Instant::now), every)
    }

    /// The pool has refused a request.
    pub(crate) fn refused(&self) {
        {
            let mut state = self.lock();
            state.looked = Some(Instant::now());
        }
        self.hold_back(CONTENDED);
    }

    /// The pool has answered.
    pub(crate) fn answered(&self) {
        self.lock().failing = None;
    }

    /// The pool has answered with a transient error, once more: since when it has.
    pub(crate) fn failed(&self) -> Instant {
        *self.lock().failing.get_or_insert_with(Instant::now)
    }

    /// How long newcomers are still held back.
    pub(crate) fn held_back_for(&self) -> Duration {
        let until = self.lock().held_back;
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }
}

impl State {
    /// Gives what is to spare to those who can use it.
    fn spend(&mut self) {
        while self.spare > 0 && self.credit(Credit::Told) {
            self.spare -= 1;
        }
    }

    /// Lets the first who does not ask yet do so. False: there is nobody, or enough ask already.
    fn credit(&mut self, credit: Credit) -> bool {
        if self.in_flight >= IN_FLIGHT {
            return false;
        }
        let Some(waiter) = self.waiters.values_mut().find(|waiter| waiter.stage == Stage::Idle) else {
            return false;
        };
        waiter.stage = Stage::Credited(credit);
        waiter.wake.notify_one();
        self.in_flight += 1;
        true
    }

    /// This waiter has something else to do than to listen, or than to begin to.
    fn stop_listening(&mut self, ticket: u64) {
        if self.listener == Some(ticket) {
            self.listener = None;
        }
        // Also when it was not the listener yet: it may be the one that was woken to become it.
        if self.listener.is_none()
            && let Some(next) = self.waiters.values().find(|waiter| waiter.stage == Stage::Idle)
        {
            next.wake.notify_one();
        }
    }

    fn first_credited(&self) -> Option<u64> {
        // Not through a line of thousands, of whom nobody may ask.
        let busy = self.waiters.iter().filter(|(_, waiter)| waiter.stage != Stage::Idle).take(self.in_flight);
        let mut credited = busy.filter(|(_, waiter)| waiter.credited().is_some());
        credited.next().map(|(ticket, _)| *ticket)
    }

    /// Those who may ask begin to in the order of the line: the next one may be waiting for that.
    fn nudge(&mut self) {
        if let Some(waiter) = self.first_credited().and_then(|ticket| self.waiters.get(&ticket)) {
            waiter.wake.notify_one();
        }
    }

    /// What has become of a credit decides who is next.
    fn settle(&mut self, credit: Credit, outcome: Outcome) {
        self.in_flight -= 1;
        match (outcome, credit) {
            // It may have been true.
            (Outcome::Left, _) | (Outcome::Granted, Credit::Guessed) if self.spare == 0 => {
                self.credit(Credit::Guessed);
            }
            // What was told of while it asked came perhaps too late for it.
            (Outcome::Refused { began }, _) if began == self.told => self.spare = 0,
            _ => {}
        }
        self.spend();
        self.nudge();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Granted,
    /// Asked for after the line had been told of slots that often.
    Refused {
        began: u64,
    },
    /// The waiter left before it knew.
    Left,
}

/// What a waiter has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask the pool.
    Ask,
    /// Listen for hints on behalf of all.
    Listen,
}

/// A place in a [`WaitQueue`]; dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    line: &'a WaitQueue,
    ticket: u64,
    wake: Arc<Notify>,
    entered: Instant,
}

impl Place<'_> {
    /// When it was taken.
    pub(crate) fn entered(&self) -> Instant {
        self.entered
    }

    /// Completes when there is something to do for this waiter.
    pub(crate) async fn next(&self) -> Next {
        loop {
            {
                let mut state = self.line.lock();
                if let Some(credit) = state.waiters.get(&self.ticket).and_then(Waiter::credited) {
                    state.stop_listening(self.ticket);
                    if state.first_credited() == Some(self.ticket) {
                        let told = state.told;
                        self.set(&mut state, Stage::Asking(credit));
                        state.waiters.entry(self.ticket).and_modify(|waiter| waiter.began = told);
                        state.nudge();
                        return Next::Ask;
                    }
                } else if *state.listener.get_or_insert(self.ticket) == self.ticket {
                    return Next::Listen;
                }
            }
            self.wake.notified().await;
        }
    }

    /// Completes when this waiter may ask.
    pub(crate) async fn credited(&self) {
        while self.line.lock().waiters.get(&self.ticket).and_then(Waiter::credited).is_none() {
            self.wake.notified().await;
        }
    }

    /// It got a slot.
    pub(crate) fn granted(self) {
        self.settle(Outcome::Granted);
    }

    /// It was refused, and keeps its place.
    pub(crate) fn refused(&self) {
        let began = self.line.lock().waiters.get(&self.ticket).map_or(0, |waiter| waiter.began);
        self.settle(Outcome::Refused { began });
        self.line.refused();
    }

    fn settle(&self, outcome: Outcome) {
        let mut state = self.line.lock();
        if let Some(Stage::Asking(credit) | Stage::Credited(credit)) = self.stage(&state) {
            self.set(&mut state, Stage::Idle);
            if !matches!(outcome, Outcome::Refused { .. }) {
                // So that it is not the one who is next.
                state.waiters.remove(&self.ticket);
            }
            state.settle(credit, outcome);
        }
    }

    fn stage(&self, state: &State) -> Option<Stage> {
        state.waiters.get(&self.ticket).map(|waiter| waiter.stage)
    }

    fn set(&self, state: &mut State, stage: Stage) {
        if let Some(waiter) = state.waiters.get_mut(&self.ticket) {
            waiter.stage = stage;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.settle(Outcome::Left);
        let mut state = self.line.lock();
        state.waiters.remove(&self.ticket);
        state.stop_listening(self.ticket);
    }
}

impl Waiter {
    fn credited(&self) -> Option<Credit> {
        match self.stage {
            Stage::Credited(credit) => Some(credit),
            Stage::Idle | Stage::Asking(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn somebody_listens_though_the_next_listener_was_given_something_else_to_do() {
        for leaves in [false, true] {
            let line = WaitQueue::new();
            let (first, second, third) = (line.enter(), line.enter(), line.enter());
            assert_eq!(first.next().await, Next::Listen);
            let mut waiting = pin!(third.next());
            assert!(timeout(SOON, waiting.as_mut()).await.is_err(), "one listens for all");
            line.tell(1);
            // This wakes the second, so that it listens; which it does not come to.
            assert_eq!(first.next().await, Next::Ask);
            if leaves {
                drop(second);
            } else {
                line.tell(1);
                assert_eq!(second.next().await, Next::Ask);
                second.granted();
            }
            first.granted();
            assert_eq!(timeout(SOON, waiting).await, Ok(Next::Listen), "the third is left alone");
        }
    }
}
