use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{FencingToken, later};
use tokio::time::{Instant, sleep, timeout};

use super::engine::{Engine, with_causes};
use super::running::{Phase, Report};
use crate::lead::Lead;
use crate::{Advice, Clip, Decision, Fleet, Order, Reason, ScalerError, ScalerErrorKind, ScalerEvent};

/// The present target is ordered again after so long, which repairs drift.
pub(super) const REPEAT: Duration = Duration::from_secs(300);

/// The same while instances are missing.
const REPEAT_UNMET: Duration = Duration::from_secs(10);

/// An order that failed is given again after so long.
const RETRY: Duration = Duration::from_secs(1);

/// Deciding, ordering, leading.
impl Engine {
    /// Tells of a decision, and orders what it changes.
    pub(super) async fn decide(&mut self, advice: Advice, to: u32, mut clipped: Vec<Clip>) {
        if matches!(advice.why, Reason::Held { .. }) && !clipped.contains(&Clip::Hold) {
            clipped.push(Clip::Hold);
        }
        let now = Instant::now();
        let told = (self.target, to, clipped.clone());
        let news = self.told != told && (to != self.target || !clipped.is_empty());
        self.told = told;
        self.seq += u64::from(news);
        let decision = Decision {
            seq: self.seq,
            at: now.saturating_duration_since(self.started),
            from: self.target,
            to,
            why: advice.why,
            terms: advice.terms,
            clipped,
            fence: self.token(),
        };
        if news {
            self.parts.events.emit(ScalerEvent::Decided(decision.clone()));
        }
        if self.fleet.count().saturating_add(self.fleet.failed) < self.target {
            self.repeat_at = self.repeat_at.min(now + REPEAT_UNMET);
        }
        let allowed = self.retry_at.is_none_or(|at| at <= now);
        if allowed && (to != self.target || self.repeat_at <= now) {
            self.order(decision).await;
        }
    }

    async fn order(&mut self, decision: Decision) {
        // Asked again right before acting: a leader that was paused past its deadline notices here.
        let fence = self.token();
        if self.lead.is_some() && fence.is_none() {
            return;
        }
        let to = decision.to;
        let order = Order::new(to, decision.why.clone()).fenced(fence);
        match self.scale(&order).await {
            Ok(fleet) => {
                self.fleet = fleet;
                self.fence = fence;
                self.retry_at = None;
                self.repeat_at = Instant::now() + REPEAT;
                if to != self.target {
                    self.parts.events.emit(ScalerEvent::Ordered { from: self.target, to, fence });
                    self.target = to;
                    self.peak = self.peak.max(to);
                    self.changed = Some(Instant::now());
                    self.status.send_modify(|status| status.last = Some(decision.clone()));
                    self.controls.remember(decision);
                }
            }
            Err(error) => {
                self.retry_at = Some(Instant::now() + RETRY);
                self.parts.events.emit(ScalerEvent::OrderFailed { to, problem: with_causes(&error) });
            }
        }
    }

    async fn scale(&mut self, order: &Order) -> Result<Fleet, ScalerError> {
        let limit = self.parts.config.request_timeout;
        timeout(limit, self.parts.provisioner.scale(order)).await.unwrap_or_else(|_| {
            let problem = format!("the provisioner did not take the order within {limit:?}");
            Err(ScalerError::new(ScalerErrorKind::Unavailable, problem))
        })
    }

    pub(super) fn token(&self) -> Option<FencingToken> {
        self.lead.as_ref().and_then(Lead::fence)
    }

    pub(super) fn may_act(&self) -> bool {
        !self.controls.is_paused() && (self.lead.is_none() || self.leading)
    }

    /// Notices that leadership was gained or lost since the last look.
    pub(super) fn follow_leadership(&mut self) {
        let Some(lead) = &self.lead else { return };
        match (self.leading, lead.fence().is_some()) {
            (false, true) => {
                self.leading = true;
                self.lost = None;
                // What is there is adopted, and ordered again under the new token.
                self.adopted = false;
                self.repeat_at = Instant::now();
            }
            (true, false) => {
                self.leading = false;
                self.lost = Some(Instant::now());
            }
            _ => {}
        }
    }

    /// Instances that live in this process end one time to live after leadership was lost: meanwhile the new leader
    /// starts what the load needs.
    pub(super) async fn drain_after_loss(&mut self) {
        let (Some(lead), Some(lost)) = (&self.lead, self.lost) else { return };
        if later(lost, lead.ttl()) > Instant::now() || !self.parts.provisioner.is_local() {
            return;
        }
        if self.drain(Reason::LeaderLost).await {
            self.lost = None;
        }
    }

    /// Tells the instances that live in this process to end; `false` if nobody took the order.
    async fn drain(&mut self, why: Reason) -> bool {
        let drained = self.scale(&Order::new(0, why).fenced(self.fence)).await;
        let taken = drained.is_ok();
        match drained {
            Ok(fleet) => {
                if self.target > 0 {
                    let (from, fence) = (self.target, self.fence);
                    self.parts.events.emit(ScalerEvent::Ordered { from, to: 0, fence });
                }
                self.fleet = fleet;
                self.target = 0;
            }
            Err(error) => {
                self.parts.events.emit(ScalerEvent::OrderFailed { to: 0, problem: with_causes(&error) });
            }
        }
        taken
    }

    /// Drains what lives in this process, and gives the slot back last.
    pub(super) async fn end(mut self) -> Report {
        self.publish(Some(Phase::Stopping));
        let provisioner = Arc::clone(&self.parts.provisioner);
        if provisioner.is_local() {
            self.drain(Reason::Shutdown).await;
            let drained = async {
                while !self.fleet.is_empty() {
                    tokio::select! {
                        biased;
                        () = provisioner.changed() => {}
                        () = sleep(self.parts.config.tick) => {}
                    }
                    if let Ok(fleet) = provisioner.fleet().await {
                        self.fleet = fleet;
                    }
                }
            };
            let _ = timeout(self.parts.config.shutdown_timeout, drained).await;
        }
        if let Some(lead) = self.lead.take() {
            lead.end().await;
        }
        self.publish(Some(Phase::Stopped));
        Report {
            looks: self.looks,
            failed_looks: self.failed_looks,
            peak: self.peak,
            decisions: self.controls.decisions(),
            left: self.fleet,
        }
    }
}
