use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluicegate_core::FencingToken;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::{Decision, Fleet, Load, Rates, ScalerError, ScalerErrorKind, Service};

/// How many decisions are remembered.
const REMEMBERED: usize = 1_000;

/// What a scaler is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// It has not had a valid look yet.
    #[default]
    Starting,
    /// It looks and orders.
    Running,
    /// It looks and does not order: [`Running::pause`].
    Paused,
    /// It looks and does not order: another replica leads.
    Standby,
    /// It drains what lives in this process.
    Stopping,
    /// It has ended.
    Stopped,
}

/// A scaler as of its last look.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// Time from its start to this status.
    pub at: Duration,
    /// How many looks it has had.
    pub looks: u64,
    /// The token, while it leads; `None` without a leader pool.
    pub leader: Option<FencingToken>,
    /// The last order.
    pub target: u32,
    /// Who is there.
    pub fleet: Fleet,
    /// The last valid look.
    pub load: Option<Load>,
    /// How fast messages come and go.
    pub rates: Rates,
    /// What one instance can do.
    pub service: Service,
    /// From order to ready.
    pub cold_start: Duration,
    /// Why instances stay as they are; `None` while looks are usable.
    pub holding: Option<ScalerErrorKind>,
    /// The last decision that changed the target.
    pub last: Option<Decision>,
}

/// What a scaler did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// How many looks it had.
    pub looks: u64,
    /// How many of them were not usable.
    pub failed_looks: u64,
    /// The largest order.
    pub peak: u32,
    /// The last decisions that changed the target, oldest first; at most 1 000.
    pub decisions: Vec<Decision>,
    /// Who was there in the end: nobody, unless instances outlive the scaler or did not drain in time.
    pub left: Fleet,
}

/// What the handle and the loop share.
#[derive(Debug, Default)]
pub(super) struct Controls {
    paused: AtomicBool,
    pub(super) asked: Notify,
    decisions: Mutex<VecDeque<Decision>>,
}

impl Controls {
    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    pub(super) fn remember(&self, decision: Decision) {
        let mut decisions = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        if decisions.len() == REMEMBERED {
            decisions.pop_front();
        }
        decisions.push_back(decision);
    }

    pub(super) fn decisions(&self) -> Vec<Decision> {
        let decisions = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        decisions.iter().cloned().collect()
    }
}

/// A running scaler.
#[derive(Debug)]
#[must_use = "join it, so that its instances are drained before the process ends"]
pub struct Running {
    controls: Arc<Controls>,
    status: watch::Receiver<Status>,
    task: JoinHandle<Report>,
}

impl Running {
    pub(super) fn new(
        controls: Arc<Controls>,
        status: watch::Receiver<Status>,
        task: JoinHandle<Report>,
    ) -> Self {
        Self { controls, status, task }
    }

    /// The status, renewed at every look.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The last decisions that changed the target, oldest first; at most 1 000.
    pub fn decisions(&self) -> Vec<Decision> {
        self.controls.decisions()
    }

    /// Freezes the target. Looking goes on, and crashed instances are still replaced.
    pub fn pause(&self) {
        self.controls.paused.store(true, Ordering::Release);
        self.look_now();
    }

    /// Goes on deciding.
    pub fn resume(&self) {
        self.controls.paused.store(false, Ordering::Release);
        self.look_now();
    }

    /// Brings the next look forward.
    pub fn look_now(&self) {
        self.controls.asked.notify_one();
    }

    /// Waits until the scaler has ended, which the token given to [`start`](crate::Autoscaler::start) asks for, and
    /// tells what it did.
    ///
    /// # Errors
    /// `Unavailable` if the loop itself was torn down: by a panic of a policy, or with the runtime.
    pub async fn join(self) -> Result<Report, ScalerError> {
        self.task.await.map_err(|error| {
            ScalerError::new(ScalerErrorKind::Unavailable, "the scaler's task was torn down")
                .with_source(error)
        })
    }
}
