//! What waiting costs the server: requests, counted by an onlooker and by the server itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use sluicegate_nats::async_nats::Client;

use crate::Effort;
use crate::fleet::Fleet;
use crate::place::{LONG, Place, call, stranger};
use crate::turns::Turn;
use sluicegate_testkit::figures::{Figures, count};

pub(crate) async fn measure(place: &Place, effort: Effort, figures: &mut Figures) {
    let time = effort.time(Duration::from_secs(6));
    let fleet = Fleet::of(100, Duration::from_millis(5), time);
    for (who, fleet) in [("one", fleet.clone()), ("four", fleet.in_processes(4))] {
        let name = format!("requests-{who}");
        place.governor(&name, 1, LONG).await;
        let running = fleet.start(&place.url(), &name).await;
        let meter = Meter::begin(place, &name).await;
        let turns = running.turns().await;
        report(&format!("handoff/requests/{who}"), &meter.end().await, &turns, figures);
    }
    let name = "requests-choria";
    place.governor(name, 1, LONG).await;
    let meter = Meter::begin(place, name).await;
    let fleet = Fleet::of(100, Duration::from_millis(5), time);
    let turns = fleet.of_choria(&place.url(), name, 1).await;
    report("handoff/requests/choria", &meter.end().await, &turns, figures);
}

fn report(bench: &str, used: &Used, turns: &[Turn], figures: &mut Figures) {
    let turns = count(turns.len());
    let [publishes, api, notes] = [used.publishes, used.api, used.notes].map(|n| n as f64 / turns);
    figures.alone(bench, "requests", "per turn", publishes + api).note(format!(
        "{publishes:.2} campaigns + {api:.2} API calls; beside them {notes:.2} notes; {turns} turns"
    ));
}

/// Requests since it began.
#[derive(Debug)]
pub(crate) struct Meter {
    onlooker: Client,
    api: u64,
    publishes: Arc<AtomicU64>,
    notes: Arc<AtomicU64>,
}

/// How many there were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) publishes: u64,
    pub(crate) api: u64,
    pub(crate) notes: u64,
}

impl Meter {
    pub(crate) async fn begin(place: &Place, governor: &str) -> Self {
        let onlooker = stranger(&place.url()).await;
        let publishes = overhear(&onlooker, format!("$GOVERNOR.campaign.{governor}")).await;
        let notes = overhear(&onlooker, format!("_GOV.*.{governor}")).await;
        onlooker.flush().await.expect("flushed");
        let api = api_calls(&onlooker).await;
        Self { onlooker, api, publishes, notes }
    }

    pub(crate) async fn end(self) -> Used {
        // The first look at the number of calls is one itself.
        let api = api_calls(&self.onlooker).await - self.api - 1;
        let [publishes, notes] = [self.publishes, self.notes].map(|n| n.load(Ordering::Relaxed));
        Used { publishes, api, notes }
    }
}

/// Counts what is published to the subject, whatever becomes of it.
async fn overhear(onlooker: &Client, subject: String) -> Arc<AtomicU64> {
    let mut heard = onlooker.subscribe(subject).await.expect("subscribed");
    let counter = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&counter);
    tokio::spawn(async move {
        while heard.next().await.is_some() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    counter
}

/// All calls of the account, as the server counts them.
async fn api_calls(client: &Client) -> u64 {
    let account = call(client, "$JS.API.INFO".to_owned(), String::new()).await;
    account["api"]["total"].as_u64().expect("a number")
}
