//! What makes a whole batcher start nothing for a while, or less than it may: pauses and throttled operations.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sluicegate_core::later;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::shared::{Shared, lock};
use crate::{Audit, BatcherEvent, Rate, State};

impl Shared {
    /// What waits now leaves without waiting for company.
    pub(crate) fn flush_now(&self) {
        self.flush.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Starts nothing for that time, or until resumed; `extend`: also if it is paused already. False: it is not
    /// running.
    pub(crate) fn pause(&self, duration: Option<Duration>, extend: bool) -> bool {
        let end = duration.map(|duration| later(Instant::now(), duration));
        let mut life = lock(&self.life);
        match life.state {
            State::Running => life.state = State::Paused,
            State::Paused if extend => {}
            _ => return false,
        }
        life.pause = Some(match (life.pause, end) {
            (None, end) => end,
            (Some(Some(old)), Some(new)) => Some(old.max(new)),
            (Some(_), _) => None,
        });
        drop(life);
        self.events.emit(&BatcherEvent::Paused { duration });
        self.wake.notify_one();
        true
    }

    /// False: it was not paused.
    pub(crate) fn resume(&self) -> bool {
        let mut life = lock(&self.life);
        if life.state != State::Paused {
            return false;
        }
        life.state = State::Running;
        life.pause = None;
        drop(life);
        self.events.emit(&BatcherEvent::Resumed);
        self.wake.notify_one();
        true
    }

    /// Nothing of any watcher is started before.
    pub(crate) fn block(&self, until: Instant) {
        let mut brake = lock(&self.brake);
        brake.blocked_until = Some(brake.blocked_until.map_or(until, |other| other.max(until)));
    }

    /// Nothing may be started now. Says when to look again, if time alone changes that.
    pub(crate) fn standstill(&self, now: Instant) -> Option<Option<Instant>> {
        let pause = lock(&self.life).pause;
        match pause {
            Some(Some(end)) if end <= now => {
                self.resume();
            }
            Some(end) => return Some(end),
            None => {}
        }
        let mut brake = lock(&self.brake);
        brake.blocked_until = brake.blocked_until.filter(|until| *until > now);
        brake.blocked_until.map(Some)
    }

    /// So many operations took effect.
    pub(crate) fn acknowledge(&self, cost: u64, operations: usize, now: Instant) {
        if self.config.adaptive && operations > 0 {
            lock(&self.brake).aimd.acknowledge(now, cost, operations as u64);
        }
    }

    /// The datastore had too much to do.
    pub(crate) fn throttled(&self, now: Instant, retry_after: Duration) {
        if self.config.adaptive {
            let mut brake = lock(&self.brake);
            let limit = brake.limit;
            brake.aimd.throttled(now, retry_after, limit);
        }
    }

    /// What the datastore is believed to bear under that limit, and when that will be more.
    pub(crate) fn adapted_rate(&self, now: Instant, limit: Option<Rate>) -> (Option<Rate>, Option<Instant>) {
        let mut brake = lock(&self.brake);
        brake.limit = limit;
        let rate = brake.aimd.rate(now, limit);
        let step = brake.aimd.next_step();
        let before = std::mem::replace(&mut brake.known, rate);
        drop(brake);
        if before != rate {
            self.events.emit(&BatcherEvent::RateAdapted { from: before, to: rate });
        }
        (rate, step)
    }

    /// Asks the engine for an audit.
    pub(crate) async fn audit(&self) -> Audit {
        let (answer, audit) = oneshot::channel();
        lock(&self.audits).push(answer);
        self.wake.notify_one();
        if !self.has_engine() {
            self.refuse_audits();
        }
        audit.await.unwrap_or(Audit::Skipped)
    }

    pub(crate) fn audit_requests(&self) -> Vec<oneshot::Sender<Audit>> {
        std::mem::take(&mut lock(&self.audits))
    }

    /// Whoever waits for an audit learns that there is nobody to do it.
    pub(crate) fn refuse_audits(&self) {
        for asked in self.audit_requests() {
            let _ = asked.send(Audit::Skipped);
        }
    }
}
