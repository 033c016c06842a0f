//! A command under the protection of a slot: signals, and the loss of the lease.

use std::future::pending;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use sluicegate_core::LossCause;
use tokio::process::Child;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::gaps::Gaps;
use super::group::Group;
use super::slot::Slot;
use super::voice::Voice;
use crate::governor::args::OnLost;
use crate::signals::{Signals, asks_to_end};

/// How often it is looked whether there was a gap, and every how many times whether orphans have ended.
const TICK: Duration = Duration::from_secs(1);
const REAP: u32 = 10;
/// How often the last of a killed group is killed again, where it had to be found process by process.
const AGAIN: Duration = Duration::from_millis(250);

/// How the work ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) lost: Option<LossCause>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) kill_after: Duration,
    pub(super) on_lost: OnLost,
}

#[derive(Debug)]
struct Guard<'a> {
    group: &'a Group,
    slot: Option<&'a Slot>,
    policy: Policy,
    voice: &'a Voice,
    lost: Option<LossCause>,
    /// Somebody has asked the command to end.
    asked: bool,
    warned: bool,
    kill_at: Option<Instant>,
}

/// Waits until the command is gone with all that it started.
///
/// # Errors
/// The command cannot be waited for.
pub(super) async fn watch(
    child: &mut Child,
    group: &Group,
    signals: &mut Signals,
    slot: Option<&Slot>,
    policy: Policy,
    voice: &Voice,
) -> io::Result<Ended> {
    let mut guard =
        Guard { group, slot, policy, voice, lost: None, asked: false, warned: false, kill_at: None };
    let gone = async {
        let status = child.wait().await?;
        if group.is_alive() {
            voice.left_behind();
        }
        group.gone().await;
        io::Result::Ok(status)
    };
    // Both are begun once: who looks for a loss now and then would otherwise never come to it.
    let lost = lost(slot);
    tokio::pin!(gone, lost);
    let (mut gaps, mut ticks) = (Gaps::new(), 0);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            cause = &mut lost, if guard.lost.is_none() => guard.lose(cause),
            status = &mut gone => return Ok(Ended { status: status?, lost: guard.lost }),
            signal = signals.next() => match signal {
                Signal::CONT => guard.look(Duration::ZERO).await,
                signal => guard.hear(signal),
            },
            () = at(guard.kill_at) => guard.kill(),
            () = at(guard.warn_at()) => guard.warn(),
            _ = tick.tick() => {
                ticks = (ticks + 1) % REAP;
                if ticks == 0 {
                    group.reap();
                }
                if let Some(slept) = gaps.after(TICK) {
                    guard.look(slept).await;
                }
            }
        }
    }
}

impl Guard<'_> {
    fn hear(&mut self, signal: Signal) {
        if !asks_to_end(signal) {
            self.group.send(signal);
            return;
        }
        if self.asked {
            self.voice.killing("asked again");
            self.kill();
            return;
        }
        self.asked = true;
        self.voice.handing_on(signal, self.policy.kill_after);
        // What is typed at the terminal reaches its whole foreground group.
        let typed = self.group.hears_the_terminal() && [Signal::INT, Signal::QUIT].contains(&signal);
        self.stop((!typed).then_some(signal), Instant::now() + self.policy.kill_after);
    }

    fn lose(&mut self, cause: LossCause) {
        self.lost = Some(cause);
        self.voice.lost(cause, self.policy.on_lost);
        match (self.policy.on_lost, self.slot) {
            (OnLost::Warn, _) | (_, None) => {}
            (OnLost::Kill, _) => self.kill(),
            (OnLost::Term, Some(slot)) => {
                let until = (Instant::now() + self.policy.kill_after).min(slot.end());
                self.stop(Some(Signal::TERM), until);
            }
        }
    }

    fn stop(&mut self, signal: Option<Signal>, kill_at: Instant) {
        if let Some(signal) = signal {
            self.group.send(signal);
            // One that is stopped would not notice.
            self.group.send(Signal::CONT);
        }
        self.kill_at = Some(self.kill_at.map_or(kill_at, |before| before.min(kill_at)));
    }

    fn kill(&mut self) {
        self.group.send(Signal::KILL);
        self.kill_at = Some(Instant::now() + AGAIN);
    }

    /// When to say that the lease is about to end: a tenth of its time before we give it up.
    fn warn_at(&self) -> Option<Instant> {
        let slot = self.slot.filter(|_| !self.warned && self.lost.is_none())?;
        Some(slot.deadline() - slot.ttl() / 10)
    }

    fn warn(&mut self) {
        self.warned = true;
        if let Some(slot) = self.slot {
            self.voice.ends_soon(slot.deadline() - Instant::now());
        }
    }

    /// After a time in which nothing could be noticed: whether the lease is still there.
    async fn look(&mut self, slept: Duration) {
        if let Some(slot) = self.slot.filter(|_| self.lost.is_none())
            && let Some(cause) = slot.look(slept).await
        {
            self.lose(cause);
        }
    }
}

async fn lost(slot: Option<&Slot>) -> LossCause {
    match slot {
        Some(slot) => slot.lost().await,
        None => pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
