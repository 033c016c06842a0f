use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluicegate_core::human;
use tokio::sync::oneshot;

use super::held::Held;
use super::tenure::Tenure;

/// Bounds of handing a lease on inside a process (lock cohorting, after Dice, Marathe and Shavit, 2012).
///
/// A released lease goes to the next who waits at the same governor, without any traffic: same token, and a larger
/// [`Fence::reuse`](super::Fence). At a bound it is really given back, so that other processes have their turn. The
/// pool shows the process's holder all the while, not the single job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Cohort {
    /// How often one lease is handed on, at most. Default 32.
    pub max_reuse: u32,
    /// For how long after its grant a lease is handed on. Default 100 ms.
    #[serde(with = "human")]
    pub max_time: Duration,
    /// What has to remain of the lease. Default: half of the time that it lasted at first.
    #[serde(default, with = "sluicegate_core::human_option", skip_serializing_if = "Option::is_none")]
    pub min_remaining: Option<Duration>,
}

impl Default for Cohort {
    fn default() -> Self {
        Self { max_reuse: 32, max_time: Duration::from_millis(100), min_remaining: None }
    }
}

/// Those who wait for a lease to be handed on, first in, first out.
#[derive(Debug, Default)]
pub(super) struct Heirs(Mutex<VecDeque<oneshot::Sender<Held>>>);

impl Heirs {
    /// Waits in line. Dropping it leaves the line; a lease that was on its way goes to the next.
    pub(super) fn enter(&self) -> impl Future<Output = (Held, Arc<Tenure>)> + use<> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Who got a lease of the pool's, or gave up, is still in it.
            while line.front().is_some_and(oneshot::Sender::is_closed) {
                line.pop_front();
            }
            line.push_back(sender);
        }
        async move {
            match receiver.await.ok().and_then(Held::with_tenure) {
                Some(inherited) => inherited,
                // The line is gone, and the governor with it.
                None => pending().await,
            }
        }
    }

    /// Gives it to the first who is still there.
    pub(super) fn give(&self, mut held: Held) -> Result<(), Held> {
        loop {
            let first = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(first) = first else { return Err(held) };
            match first.send(held) {
                Ok(()) => return Ok(()),
                Err(back) => held = back,
            }
        }
    }
}
