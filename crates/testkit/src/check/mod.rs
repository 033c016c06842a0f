//! What a run has shown: its history, and the rules that the history is checked by.
//!
//! A history is what happened, one JSON object a line ([`Event`]). The rules ([`Rule`]) are pure functions of it: no
//! I/O, O(n log n). They are tested by mutants: one small edit of a correct history is caught by its rule, and by no
//! other one.
//!
//! ```
//! use sluicegate_testkit::check::{History, Params, Rule, check};
//!
//! let text = r#"
//! {"t":1,"p":"run","op":"meta","ph":"event","limit":1,"ttl":1000}
//! {"t":2,"p":"a","id":1,"op":"acquire","ph":"call"}
//! {"t":3,"p":"a","id":1,"op":"acquire","ph":"done","lease":7,"token":7,"deadline":1002}
//! {"t":4,"p":"b","id":1,"op":"acquire","ph":"call"}
//! {"t":5,"p":"b","id":1,"op":"acquire","ph":"done","lease":8,"token":8,"deadline":1004}
//! "#;
//! let history = History::read(text.as_bytes())?;
//! let verdict = check(Rule::Limit, &history.events, &Params::default());
//! assert_eq!(verdict.violations.len(), 1, "two leases where one is allowed");
//! # Ok::<(), std::io::Error>(())
//! ```

mod doubts;
mod event;
mod history;
mod index;
mod model;
mod rules;
mod spans;
#[cfg(test)]
mod tests;
mod verdict;

pub use doubts::doubts;
pub use event::{Event, Op, Phase};
pub use history::History;
pub use verdict::{Params, Rule, Verdict, Violation, check};
