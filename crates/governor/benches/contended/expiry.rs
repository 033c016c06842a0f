//! A holder dies: how long after its time to live a waiter is in.

use std::time::Duration;

use sluicegate_core::{Holder, LeasePool, LeasePoolExt, Request, Wait};
use sluicegate_nats::async_nats::{Client, HeaderMap};
use tokio::time::Instant;

use crate::Effort;
use crate::place::{Bare, LONG, Place, stranger};
use crate::turns::quantile;
use sluicegate_testkit::figures::{Figures, ms};

const TTL: Duration = Duration::from_secs(1);
/// The server looks for messages that are too old every so often.
const GRAIN: Duration = Duration::from_millis(250);

pub(crate) async fn measure(place: &Place, effort: Effort, figures: &mut Figures) {
    let campaign = place.governor("expiry", 1, TTL).await;
    let native = place.native("expiry", 1, TTL).await;
    let spare = place.governor("expiry-floor", 1, LONG).await;
    let bare = Bare::new(place.connection.client(), &spare);
    let stranger = stranger(&place.url()).await;
    let dead = Bare::new(stranger.clone(), &campaign);
    let mut floor = Vec::new();
    for _ in 0..500 {
        let begin = Instant::now();
        bare.free(bare.take().await).await;
        floor.push(nanoseconds(begin.elapsed()));
    }
    let floor = ms(quantile(&floor, 0.5));
    let (mut late, mut native_late) = (Vec::new(), Vec::new());
    for round in 0..2 * effort.rounds() {
        let (one, other) =
            tokio::join!(waits(&campaign, dead.take()), waits(&native, dead_native(&stranger, round)));
        late.push(nanoseconds(one.saturating_sub(TTL + GRAIN)));
        native_late.push(nanoseconds(other.saturating_sub(TTL)));
    }
    for (wire, late, after) in [("campaign", late, "ttl + 250 ms"), ("native", native_late, "ttl")] {
        let [median, worst] = [0.5, 1.0].map(|share| ms(quantile(&late, share)));
        let bench = format!("expiry/{wire}");
        figures
            .beside(&bench, "late", "ms", median, floor)
            .note(format!("after {after}; worst {worst:.1} ms"));
        figures.alone(&bench, "late in ms", "ms", median).note("the same");
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Takes the only slot of the native governor as somebody else would who then dies.
async fn dead_native(stranger: &Client, round: usize) -> u64 {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-TTL", "1s");
    let subject = format!("$GOVERNOR2.expiry.dead{round}");
    let answer = stranger.request_with_headers(subject, headers, "dead".into()).await.expect("an answer");
    let ack: serde_json::Value = serde_json::from_slice(&answer.payload).expect("JSON");
    ack["seq"].as_u64().filter(|seq| *seq > 0).unwrap_or_else(|| panic!("{ack}"))
}

/// From the last sign of life of a holder to the moment when a waiter is in.
async fn waits<P: LeasePool>(pool: &P, dead: impl Future<Output = u64>) -> Duration {
    dead.await;
    let begin = Instant::now();
    let request = Request::new(Holder::try_new("waiter").expect("a holder"));
    let lease = pool.acquire(&request, &Wait::new()).await.expect("answers").expect("no end");
    let waited = begin.elapsed();
    pool.release(&lease).await.expect("released");
    waited
}
