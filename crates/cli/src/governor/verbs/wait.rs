use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::code::Code;
use crate::cx::Cx;
use crate::error::CliError;
use crate::governor::args::WaitArgs;
use crate::governor::documents::free;
use crate::governor::{bind, refused};
use crate::output::{self, Block, Cell, Format};

/// How often it looks. Hints are left to those who want a slot: one that is heard here is heard by nobody else.
const LOOK: Duration = Duration::from_millis(250);

/// `sluicegate.v1.governor_wait`
#[derive(Debug, Serialize)]
struct Document<'a> {
    r#type: &'static str,
    name: &'a str,
    free: u64,
    waited_seconds: f64,
}

pub(crate) async fn wait(cx: &Cx<'_>, args: &WaitArgs) -> Result<(), Failure> {
    let begun = Instant::now();
    let governor = bind(cx, "wait", &args.name).await?;
    let count = u64::from(args.count.get());
    loop {
        let summary = match governor.summary().await {
            Ok(summary) => summary,
            Err(error) if error.is_transient() && !over(args, begun) => {
                sleep(LOOK).await;
                continue;
            }
            Err(error) => return Err(refused("wait", &args.name, &error).into()),
        };
        // Without a limit there is always a slot.
        let free = summary.limit.map_or(count, |limit| free(Some(limit), summary.active).unwrap_or_default());
        if let Some(limit) = summary.limit.filter(|limit| *limit < count) {
            let message = format!("--count is {count}, and governor {} has {limit} slots", args.name);
            return Err(CliError::new(Code::Usage, message).help("wait for fewer").into());
        }
        if free >= count {
            return show(cx, args, free, begun.elapsed());
        }
        if over(args, begun) {
            let message = format!(
                "governor {}: {free} free after {}, not {count}",
                args.name,
                output::age(begun.elapsed())
            );
            let help = format!("see who holds it: sluicegate governor view {}", args.name);
            return Err(CliError::new(Code::NoSlot, message).help(help).into());
        }
        sleep(LOOK).await;
    }
}

fn over(args: &WaitArgs, begun: Instant) -> bool {
    args.max_wait.is_some_and(|most| begun.elapsed() >= most.0)
}

fn show(cx: &Cx<'_>, args: &WaitArgs, free: u64, waited: Duration) -> Result<(), Failure> {
    let waited = output::millis(waited);
    let block = Block::new()
        .row("name", "Name", Cell::text(&args.name))
        .row("free", "Free", Cell::number(free))
        .row("waited_seconds", "Waited", Cell::age(waited));
    let text = match cx.format() {
        Format::Json | Format::Ndjson => output::json(&Document {
            r#type: "sluicegate.v1.governor_wait",
            name: &args.name,
            free,
            waited_seconds: waited.as_secs_f64(),
        })?,
        Format::Tsv => block.tsv(),
        Format::Table => block.table(),
    };
    Ok(output::print(&text)?)
}
