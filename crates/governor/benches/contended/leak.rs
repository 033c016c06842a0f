//! Cancelled attempts: which slots are still taken when all is quiet.

use std::time::Duration;

use sluicegate_core::{Holder, LeasePool, Request};
use tokio::time::{Instant, sleep, timeout};

use crate::place::{LONG, Place};
use crate::{Effort, peer};
use sluicegate_testkit::figures::Figures;

const ATTEMPTS: u32 = 500;
/// Longer than the pool resolves what was cancelled.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);

pub(crate) async fn measure(place: &Place, effort: Effort, figures: &mut Figures) {
    let (mut ours, mut cancelled, mut theirs, mut cancelled_theirs) = (0, 0, 0, 0);
    for micros in [50, 100, 200] {
        let name = format!("leak-{micros}");
        let pool = place.governor(&name, 2 * ATTEMPTS, LONG).await;
        let request = Request::new(Holder::try_new("hasty").expect("a holder"));
        for _ in 0..ATTEMPTS {
            let attempt = tokio::select! {
                biased;
                lease = pool.try_acquire(&request) => Some(lease),
                () = until(Instant::now() + Duration::from_micros(micros)) => None,
            };
            match attempt {
                Some(lease) => {
                    pool.release(&lease.expect("an answer").expect("free")).await.expect("released");
                }
                None => cancelled += 1,
            }
        }
        ours += settled(place, pool.stream()).await;

        let name = format!("leak-go-{micros}");
        let pool = place.governor(&name, 2 * ATTEMPTS, LONG).await;
        let time = format!("{micros}us");
        let attempts = ATTEMPTS.to_string();
        let flags = ["-turns", attempts.as_str(), "-timeout", &time];
        let stormed = peer::ask("storm", &place.url(), &name, &flags).await;
        cancelled_theirs += stormed["cancelled"].as_u64().expect("a number");
        theirs += place.stored(pool.stream()).await;
    }
    figures
        .alone("leak/cancelled", "slots", "leaked", ours as f64)
        .note(format!("of {cancelled} cancelled attempts; choria {theirs} of {cancelled_theirs}"));

    let pool = place.governor("leak-paused", 1000, LONG).await;
    let request = Request::new(Holder::try_new("patient").expect("a holder"));
    let rounds = 2 * effort.rounds();
    let mut cancelled = 0;
    for _ in 0..rounds {
        place.server.pause().expect("paused");
        for _ in 0..20 {
            let attempt = timeout(Duration::from_millis(55), pool.try_acquire(&request)).await;
            cancelled += u32::from(attempt.is_err());
        }
        place.server.resume().expect("resumed");
    }
    let leaked = settled(place, pool.stream()).await;
    figures
        .alone("leak/paused", "slots", "leaked", leaked as f64)
        .note(format!("of {cancelled} attempts cancelled while the server stood still, {rounds} × 1.1 s"));
}

/// The runtime's timers know milliseconds only.
async fn until(at: Instant) {
    while Instant::now() < at {
        tokio::task::yield_now().await;
    }
}

/// What is still stored when nothing has changed for long.
async fn settled(place: &Place, stream: &str) -> u64 {
    let begin = Instant::now();
    loop {
        let stored = place.stored(stream).await;
        if stored == 0 || begin.elapsed() > SETTLES_WITHIN {
            return stored;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
