//! Waiting, measured: who gets a freed slot, how soon, at what cost to the server; beside choria's governor, and beside
//! the bare requests as floor, in turns on one server. Real processes: this program runs itself as their workers.
//!
//! `--quick` shortens everything; a name, or a part of one, selects. Results go to a file for `cargo xtask bench`.
#![allow(missing_docs, clippy::print_stderr)]

mod cohort;
mod expiry;
mod fleet;
mod handoff;
mod idle;
mod leak;
#[path = "../../tests/common/peer.rs"]
mod peer;
mod place;
mod requests;
#[path = "../../tests/common/turns.rs"]
mod turns;
mod uncontended;
mod wide;
mod worker;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::place::Place;
use sluicegate_testkit::figures::Figures;

/// How much time there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) quick: bool,
}

impl Effort {
    pub(crate) fn rounds(self) -> usize {
        if self.quick { 1 } else { 3 }
    }

    /// A third of it in a quick run.
    pub(crate) fn time(self, full: Duration) -> Duration {
        if self.quick { full / 3 } else { full }
    }
}

type Done<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;
type Section = for<'a> fn(&'a Place, Effort, &'a mut Figures) -> Done<'a>;

/// In this order, each under the names that its figures begin with.
const SECTIONS: [(&str, Section); 8] = [
    ("uncontended", |place, effort, figures| Box::pin(uncontended::measure(place, effort, figures))),
    ("handoff fairness", |place, effort, figures| Box::pin(handoff::measure(place, effort, figures))),
    ("handoff/wide", |place, effort, figures| Box::pin(wide::measure(place, effort, figures))),
    ("handoff/requests", |place, effort, figures| Box::pin(requests::measure(place, effort, figures))),
    ("leak", |place, effort, figures| Box::pin(leak::measure(place, effort, figures))),
    ("cohort", |place, effort, figures| Box::pin(cohort::measure(place, effort, figures))),
    ("expiry", |place, effort, figures| Box::pin(expiry::measure(place, effort, figures))),
    ("idle", |place, effort, figures| Box::pin(idle::measure(place, effort, figures))),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, order] = arguments.as_slice()
        && role == worker::ROLE
    {
        return worker::main(order);
    }
    let effort = Effort { quick: arguments.iter().any(|argument| argument == "--quick") };
    let filter = arguments.iter().find(|argument| !argument.starts_with("--"));
    let wanted =
        |names: &str| filter.is_none_or(|filter| names.split(' ').any(|name| overlaps(name, filter)));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let place = Place::make().await;
        let mut figures = Figures::begin(env!("CARGO_TARGET_TMPDIR"), "governor");
        for (names, section) in SECTIONS.iter().filter(|(names, _)| wanted(names)) {
            eprintln!("governor: {names} …");
            section(&place, effort, &mut figures).await;
            figures.save().expect("the target directory can be written to");
        }
    });
}

/// `handoff` selects `handoff/wide`, and `handoff/own/W=2` selects the section `handoff`.
fn overlaps(name: &str, filter: &str) -> bool {
    name.contains(filter) || filter.starts_with(&format!("{name}/"))
}
