use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{FencingToken, Holder, LeasePool};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::act::REPEAT;
use super::running::{Controls, Phase, Report, Status};
use super::settle::settle;
use super::{Autoscaler, Parts};
use crate::lead::Lead;
use crate::load::{Meter, Seen, ServiceRate};
use crate::{
    Advice, Clip, Fleet, FleetView, Load, Policy, ScalerError, ScalerErrorKind, ScalerEvent, Snapshot,
};

/// Another consumer of that name: so long until its numbers mean something.
const BLIND: Duration = Duration::from_secs(1);

type Waking = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One scaler's task.
pub(super) struct Engine {
    pub(super) parts: Parts,
    pub(super) policy: Box<dyn Policy>,
    pub(super) leader: Option<(Arc<dyn LeasePool>, Holder)>,
    pub(super) controls: Arc<Controls>,
    pub(super) status: watch::Sender<Status>,
    pub(super) lead: Option<Lead>,
    /// The source's hint that there is work, waited for across looks.
    pub(super) waking: Option<Waking>,
    pub(super) meter: Meter,
    pub(super) service: ServiceRate,
    pub(super) started: Instant,
    pub(super) looked: Instant,
    pub(super) fleet: Fleet,
    pub(super) target: u32,
    pub(super) hold: Duration,
    /// The target was taken over from the fleet that is there.
    pub(super) adopted: bool,
    pub(super) leading: bool,
    /// The token under which this replica ordered last.
    pub(super) fence: Option<FencingToken>,
    /// When it stopped leading, until its local instances are told to end.
    pub(super) lost: Option<Instant>,
    /// When the target changed last.
    pub(super) changed: Option<Instant>,
    /// When the present target is ordered again.
    pub(super) repeat_at: Instant,
    /// An order failed: the next one not before then.
    pub(super) retry_at: Option<Instant>,
    pub(super) holding: Option<(ScalerErrorKind, Instant)>,
    pub(super) blind_until: Option<Instant>,
    pub(super) told: (u32, u32, Vec<Clip>),
    pub(super) seq: u64,
    pub(super) looks: u64,
    pub(super) failed_looks: u64,
    pub(super) peak: u32,
}

impl Engine {
    pub(super) fn new(scaler: Autoscaler) -> (Self, Arc<Controls>, watch::Receiver<Status>) {
        let Autoscaler { parts, policy, leader } = scaler;
        let controls = Arc::new(Controls::default());
        let (status, receiver) = watch::channel(Status::default());
        let now = Instant::now();
        let engine = Self {
            service: ServiceRate::new(parts.config.service_rate),
            hold: parts.config.hold_for(parts.config.cold_start, Duration::ZERO, Duration::ZERO),
            parts,
            policy,
            leader,
            controls: Arc::clone(&controls),
            status,
            lead: None,
            waking: None,
            meter: Meter::new(),
            started: now,
            looked: now,
            fleet: Fleet::default(),
            target: 0,
            adopted: false,
            leading: false,
            fence: None,
            lost: None,
            changed: None,
            repeat_at: now + REPEAT,
            retry_at: None,
            holding: None,
            blind_until: None,
            told: (0, 0, Vec::new()),
            seq: 0,
            looks: 0,
            failed_looks: 0,
            peak: 0,
        };
        (engine, controls, receiver)
    }

    pub(super) async fn run(mut self, token: CancellationToken) -> Report {
        self.parts.provisioner.attach(&self.parts.events);
        if let Some((pool, holder)) = self.leader.take() {
            self.lead = Some(Lead::start(pool, holder, self.parts.events.clone()).await);
        }
        while !token.is_cancelled() {
            self.looked = Instant::now();
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                look = Self::observe(&self.parts) => self.take(look).await,
            }
            self.publish(None);
            self.wait(&token).await;
        }
        self.end().await
    }

    /// One look at queue and fleet, and the instant that it stands for.
    async fn observe(parts: &Parts) -> Result<(Instant, Load, Fleet), ScalerError> {
        let limit = parts.config.request_timeout;
        let silent = |who: &str| {
            ScalerError::new(ScalerErrorKind::Unavailable, format!("{who} did not answer within {limit:?}"))
        };
        let asked = Instant::now();
        let load = timeout(limit, parts.load.observe()).await.map_err(|_| silent("the load source"))??;
        let at = asked + asked.elapsed() / 2;
        let fleet =
            timeout(limit, parts.provisioner.fleet()).await.map_err(|_| silent("the provisioner"))??;
        let stale = parts.config.stale();
        if load.age > stale {
            let problem = format!("the look is {:?} old, more than {stale:?}", load.age);
            return Err(ScalerError::new(ScalerErrorKind::Unavailable, problem));
        }
        Ok((at, load, fleet))
    }

    async fn take(&mut self, look: Result<(Instant, Load, Fleet), ScalerError>) {
        self.looks += 1;
        self.follow_leadership();
        let advice = look.and_then(|(at, load, fleet)| self.judge(at, &load, fleet));
        self.drain_after_loss().await;
        match advice {
            Ok(Some((advice, to, clipped))) if self.may_act() => self.decide(advice, to, clipped).await,
            Ok(_) => {}
            Err(error) => {
                self.failed_looks += 1;
                self.service.interrupt();
                if self.holding.is_none_or(|(kind, _)| kind != error.kind()) {
                    let since = self.holding.map_or_else(Instant::now, |(_, since)| since);
                    self.holding = Some((error.kind(), since));
                    let problem = with_causes(&error);
                    self.parts.events.emit(ScalerEvent::Holding { kind: error.kind(), problem });
                }
            }
        }
    }

    /// What may be concluded from a look; `None` while a new consumer's numbers mean nothing yet.
    fn judge(
        &mut self,
        at: Instant,
        load: &Load,
        fleet: Fleet,
    ) -> Result<Option<(Advice, u32, Vec<Clip>)>, ScalerError> {
        self.fleet = fleet;
        match self.meter.look(at, load) {
            Seen::Going => {}
            Seen::Afresh => self.service.interrupt(),
            Seen::Recreated => {
                self.service.reset();
                self.blind_until = Some(at + BLIND);
                self.parts.events.emit(ScalerEvent::ConsumerRecreated);
            }
            Seen::Absurd => {
                let problem = "the look is absurd: a count above 2^53, or time went back";
                return Err(ScalerError::new(ScalerErrorKind::Unavailable, problem));
            }
        }
        if let Some((_, since)) = self.holding.take() {
            self.parts.events.emit(ScalerEvent::HoldEnded { held: since.elapsed() });
        }
        if let Some(mu) = self.service.look(at, load, self.fleet.ready, !self.fleet.starting.is_empty()) {
            self.parts.events.emit(ScalerEvent::ServiceRateLearned { mu });
        }
        let rates = self.meter.rates(self.fleet.count());
        self.parts.events.emit(ScalerEvent::Observed { load: load.clone(), rates });
        if !self.adopted && self.may_act() {
            self.adopted = true;
            self.target = self.fleet.count().saturating_add(self.fleet.failed);
        }
        if self.blind_until.is_some_and(|until| at < until) {
            return Ok(None);
        }
        let config = &self.parts.config;
        let service = self.service.service();
        let slots = config.slots.get();
        let service_time = service.mu.map_or(Duration::ZERO, |mu| {
            Duration::try_from_secs_f64(f64::from(slots) / mu).unwrap_or(Duration::from_secs(86_400))
        });
        let cold_start = self.cold_start();
        let starting: Vec<Duration> =
            self.fleet.starting.iter().map(|since| cold_start.saturating_sub(since.elapsed())).collect();
        self.hold = config.hold_for(cold_start, service_time, rates.window);
        let mut view = FleetView::new(self.fleet.ready, &starting);
        view.target = self.target;
        view.draining = self.fleet.draining;
        view.failed = self.fleet.failed;
        let snapshot = Snapshot {
            at: at.saturating_duration_since(self.started),
            load,
            rates,
            service,
            fleet: view,
            cold_start,
            slots,
            limits: config.limits(),
            hold: self.hold,
            zero_after: config.zero_after.unwrap_or(self.hold),
            quiet: self.meter.quiet(at),
            since_arrival: self.meter.since_arrival(at),
            saturated: self.service.saturated(at),
        };
        let advice = self.policy.decide(&snapshot);
        let (to, clipped) = settle(advice.want, &snapshot);
        Ok(Some((advice, to, clipped)))
    }

    /// The median of the last starts; the configured value before the first.
    pub(super) fn cold_start(&self) -> Duration {
        let mut took = self.fleet.took.clone();
        took.sort_unstable();
        took.get(took.len() / 2).copied().unwrap_or(self.parts.config.cold_start)
    }

    pub(super) fn publish(&self, phase: Option<Phase>) {
        let phase = phase.unwrap_or(match self.meter.last() {
            None => Phase::Starting,
            Some(_) if self.controls.is_paused() => Phase::Paused,
            Some(_) if !self.may_act() => Phase::Standby,
            Some(_) => Phase::Running,
        });
        self.status.send_modify(|status| {
            status.phase = phase;
            status.at = self.started.elapsed();
            status.looks = self.looks;
            status.leader = self.token();
            status.target = self.target;
            status.fleet = self.fleet.clone();
            status.load = self.meter.last().cloned();
            status.rates = self.meter.rates(self.fleet.count());
            status.service = self.service.service();
            status.cold_start = self.cold_start();
            status.holding = self.holding.map(|(kind, _)| kind);
        });
    }
}

/// The error and what caused it, in one line.
pub(super) fn with_causes(error: &ScalerError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
