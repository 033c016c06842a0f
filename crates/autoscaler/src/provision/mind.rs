use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use sluicegate_core::later;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::launched::Shared;
use super::task::message_of;
use super::{Exit, Instance, InstanceId, InstanceSpec, Launcher};
use crate::ScalerEvent;

/// An instance that lived this long is sound: its end is not part of a crash loop.
const SOUND: Duration = Duration::from_secs(60);

/// Longest pause before a replacement.
const LONGEST: Duration = Duration::from_secs(60);

enum Ended {
    /// It was told to.
    Asked,
    /// It was not, and had lived that long.
    Unasked(Duration),
}

/// Keeps one slot filled until it is told to stop: starts, watches, replaces, drains, kills.
pub(super) async fn mind<L: Launcher>(shared: Arc<Shared<L>>, slot: u64, stop: CancellationToken) {
    let mut crashes = 0u32;
    while !stop.is_cancelled() {
        let born = Instant::now();
        let (number, fence) = shared.registry().start(slot, born);
        let spec = InstanceSpec { id: InstanceId::new(format!("worker-{number}")), fence };
        let life = caught(one_life(&shared, slot, &spec, born, &stop)).await;
        let ended = life.unwrap_or_else(|exit| crashed(&shared, spec.id, exit, born));
        let Ended::Unasked(lived) = ended else { break };
        crashes = if lived >= SOUND { 1 } else { crashes.saturating_add(1) };
        shared.registry().failed(slot, Instant::now());
        shared.changed.notify_one();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = sleep(backoff(crashes)) => {}
        }
    }
    shared.registry().close(slot);
    shared.changed.notify_one();
}

/// The first crash is replaced at once; then after 1 s, 2 s, 4 s, … 60 s.
fn backoff(crashes: u32) -> Duration {
    match crashes {
        0 | 1 => Duration::ZERO,
        more => Duration::from_secs(1 << (more - 2).min(6)).min(LONGEST),
    }
}

/// A slot whose mind died of a panic of somebody else's code would be neither filled nor closed any more.
async fn caught<F: Future>(life: F) -> Result<F::Output, Exit> {
    let mut life = pin!(life);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| life.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(Exit::Panicked(message_of(panic.as_ref())))),
    })
    .await
}

async fn one_life<L: Launcher>(
    shared: &Shared<L>,
    slot: u64,
    spec: &InstanceSpec,
    born: Instant,
    stop: &CancellationToken,
) -> Ended {
    shared.emit(ScalerEvent::InstanceStarting { id: spec.id.clone() });
    let instance = match shared.launcher.start(spec).await {
        Ok(instance) => instance,
        Err(error) => {
            let id = spec.id.clone();
            shared.emit(ScalerEvent::InstanceNotStarted { id, problem: error.to_string() });
            return if stop.is_cancelled() { Ended::Asked } else { Ended::Unasked(Duration::ZERO) };
        }
    };
    let ready_by = later(born, shared.deadlines().ready);
    tokio::select! {
        biased;
        () = stop.cancelled() => return drain(shared, instance.as_ref(), born).await,
        exit = instance.ended() => return crashed(shared, instance.id().clone(), exit, born),
        ready = timeout_at(ready_by, instance.ready()) => {
            if ready.is_err() {
                shared.emit(ScalerEvent::InstanceNeverReady { id: instance.id().clone() });
                kill(shared, instance.as_ref()).await;
                return Ended::Unasked(Duration::ZERO);
            }
        }
    }
    let took = born.elapsed();
    shared.registry().ready(slot, took);
    shared.emit(ScalerEvent::InstanceReady { id: instance.id().clone(), took });
    shared.changed.notify_one();
    tokio::select! {
        biased;
        () = stop.cancelled() => drain(shared, instance.as_ref(), born).await,
        exit = instance.ended() => crashed(shared, instance.id().clone(), exit, born),
    }
}

fn crashed<L: Launcher>(shared: &Shared<L>, id: InstanceId, exit: Exit, born: Instant) -> Ended {
    let lived = born.elapsed();
    shared.emit(ScalerEvent::InstanceCrashed { id, exit, lived });
    Ended::Unasked(lived)
}

async fn drain<L: Launcher>(shared: &Shared<L>, instance: &dyn Instance, born: Instant) -> Ended {
    let id = instance.id().clone();
    shared.emit(ScalerEvent::InstanceDraining { id: id.clone() });
    let deadline = later(Instant::now(), shared.deadlines().drain);
    instance.drain(deadline).await;
    match timeout_at(deadline, instance.ended()).await {
        Ok(Exit::Finished) => shared.emit(ScalerEvent::InstanceStopped { id, lived: born.elapsed() }),
        Ok(exit) => shared.emit(ScalerEvent::InstanceCrashed { id, exit, lived: born.elapsed() }),
        Err(_) => {
            kill(shared, instance).await;
            shared.emit(ScalerEvent::InstanceKilled { id });
        }
    }
    Ended::Asked
}

async fn kill<L: Launcher>(shared: &Shared<L>, instance: &dyn Instance) {
    instance.kill().await;
    // One that does not even end when killed is given up: it must not keep its slot for ever.
    let _ = timeout(shared.deadlines().kill, instance.ended()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_come_later_and_later() {
        let pauses: Vec<u64> = (1..=9).map(|crashes| backoff(crashes).as_secs()).collect();
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
