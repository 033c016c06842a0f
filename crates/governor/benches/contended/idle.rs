//! Nothing happens: what the server hears of it.

use std::time::Duration;

use crate::Effort;
use crate::fleet::Fleet;
use crate::place::{Bare, LONG, Place};
use crate::requests::{Meter, Used};
use sluicegate_testkit::figures::Figures;

const PROCESSES: usize = 100;
/// After this time whatever is done after work has been done.
const SETTLE: Duration = Duration::from_secs(3);

pub(crate) async fn measure(place: &Place, effort: Effort, figures: &mut Figures) {
    let time = effort.time(Duration::from_secs(6));
    let name = "idle";
    place.governor(name, 1, LONG).await;
    // They have worked and are still there, and nobody waits.
    let work = Duration::from_millis(100);
    let fleet = Fleet { rest: time + 2 * SETTLE, ..Fleet::of(4, Duration::ZERO, work).in_processes(4) };
    let mut resting = fleet.start(&place.url(), name).await;
    resting.go().await;
    tokio::time::sleep(work + SETTLE).await;
    let used = during(place, name, time).await;
    figures.alone("idle/nobody waits", "requests", "", (used.publishes + used.api) as f64).note(format!(
        "in {:.0} s, four processes; {} notes",
        time.as_secs_f64(),
        used.notes
    ));
    resting.collect().await;

    let name = "idle-waiting";
    let pool = place.governor(name, 1, LONG).await;
    let bare = Bare::new(place.connection.client(), &pool);
    let seq = bare.take().await;
    let whole = time + 2 * SETTLE;
    let mut waiting =
        Fleet::of(PROCESSES, Duration::ZERO, whole).in_processes(PROCESSES).start(&place.url(), name).await;
    waiting.go().await;
    tokio::time::sleep(SETTLE).await;
    let used = during(place, name, time).await;
    let rate = |n: u64| n as f64 / time.as_secs_f64();
    figures.alone("idle/processes wait", "polls", "/s", rate(used.publishes)).note(format!(
        "{PROCESSES} processes, one waiter each; beside them {:.1} API calls/s; choria's 4/s each",
        rate(used.api)
    ));
    waiting.collect().await;
    bare.free(seq).await;
}

async fn during(place: &Place, name: &str, time: Duration) -> Used {
    let meter = Meter::begin(place, name).await;
    tokio::time::sleep(time).await;
    meter.end().await
}
