use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::later;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use crate::{Load, ScalerEvent};

/// Hints bring looks forward no further than this apart.
const LOOKS_APART: Duration = Duration::from_millis(20);

/// Waiting between looks.
impl Engine {
    /// Nobody works and nothing is there to do: a hint is worth waiting for.
    fn sleeps(&self) -> bool {
        self.may_act()
            && self.holding.is_none()
            && self.target == 0
            && self.fleet.is_empty()
            && self.meter.last().is_some_and(|load| load.lag() == 0)
    }

    fn pause(&self) -> Duration {
        let config = &self.parts.config;
        let lag = self.meter.last().map_or(0, Load::lag);
        let moving = !self.fleet.starting.is_empty() || self.fleet.draining > 0 || self.fleet.failed > 0;
        let fresh = self.changed.is_some_and(|at| at.elapsed() < self.hold);
        let flowing = self.meter.since_arrival(self.looked).is_some_and(|ago| ago <= config.steady_tick);
        if self.holding.is_some() {
            config.steady_tick
        } else if lag > 0 || flowing || moving || fresh {
            config.tick
        } else if self.fleet.is_empty() {
            let wakes = self.parts.load.wakes();
            config.idle_tick.unwrap_or(Duration::from_secs(if wakes { 30 } else { 1 }))
        } else {
            config.steady_tick
        }
    }

    /// Waits for the next look: its time, or a hint that brings it forward.
    pub(super) async fn wait(&mut self, token: &CancellationToken) {
        let next = later(self.looked, self.pause());
        if !self.sleeps() {
            self.waking = None;
        } else if self.waking.is_none() {
            let load = Arc::clone(&self.parts.load);
            self.waking = Some(Box::pin(async move { load.wake(0).await }));
        }
        let led = async {
            match &mut self.lead {
                Some(lead) => lead.changed().await,
                None => pending().await,
            }
        };
        let wake = async {
            match &mut self.waking {
                Some(waking) => waking.await,
                None => pending().await,
            }
        };
        let woken = tokio::select! {
            biased;
            () = token.cancelled() => return,
            () = self.controls.asked.notified() => false,
            () = led => false,
            () = self.parts.provisioner.changed() => false,
            () = wake => true,
            () = sleep_until(next) => false,
        };
        if woken {
            self.waking = None;
            self.meter.woken(Instant::now());
            self.parts.events.emit(ScalerEvent::Woken);
        }
        tokio::select! {
            biased;
            () = token.cancelled() => {}
            () = sleep_until(self.looked + LOOKS_APART) => {}
        }
    }
}
