//! What was lowered holds as soon as it was confirmed, unless the run says that others may learn of it later.

use std::time::Duration;

use crate::check::{Event, History, Params, Rule, Verdict, check};

/// The limit is lowered from two to one at 20, while one lease is held; the second is asked for and granted at `granted`.
fn history(granted: u64) -> Vec<Event> {
    let text = format!(
        r#"{{"t":0,"p":"run","op":"meta","ph":"event","limit":2,"ttl":1000}}
{{"t":1,"p":"a","id":1,"op":"acquire","ph":"call"}}
{{"t":3,"p":"a","id":1,"op":"acquire","ph":"done","lease":7,"token":7,"deadline":1001}}
{{"t":10,"p":"admin","id":1,"op":"resize","ph":"call","limit":1}}
{{"t":20,"p":"admin","id":1,"op":"resize","ph":"done","limit":1}}
{{"t":{},"p":"b","id":1,"op":"acquire","ph":"call"}}
{{"t":{granted},"p":"b","id":1,"op":"acquire","ph":"done","lease":8,"token":8,"deadline":1002}}
"#,
        granted - 2
    );
    History::read(text.as_bytes()).unwrap().events
}

fn judged(granted: u64, adopted: u64) -> Verdict {
    let params = Params { adopted: Duration::from_nanos(adopted), ..Params::default() };
    check(Rule::Limit, &history(granted), &params)
}

#[test]
fn a_grant_that_began_before_the_answer_may_go_by_the_old_limit() {
    assert!(judged(21, 0).violations.is_empty());
    assert_eq!(judged(23, 0).violations.len(), 1);
}

#[test]
fn what_an_unaware_leader_grants_is_excused_for_a_time_and_counted() {
    let excused = judged(25, 5);
    assert!(excused.violations.is_empty());
    assert_eq!(excused.figures["granted_by_an_old_limit"], 1.0);
    assert_eq!(judged(28, 5).violations.len(), 1);
}

/// The time to live is lowered from 1000 to 100 at 20; then a lease of the old length is asked for and granted.
fn lasting(granted: u64, adopted: u64) -> Verdict {
    let text = format!(
        r#"{{"t":0,"p":"run","op":"meta","ph":"event","limit":2,"ttl":1000}}
{{"t":10,"p":"admin","id":1,"op":"set_ttl","ph":"call","ttl":100}}
{{"t":20,"p":"admin","id":1,"op":"set_ttl","ph":"done","ttl":100}}
{{"t":{call},"p":"a","id":1,"op":"acquire","ph":"call"}}
{{"t":{granted},"p":"a","id":1,"op":"acquire","ph":"done","lease":7,"token":7,"deadline":{}}}
{{"t":{},"p":"a","id":2,"op":"release","ph":"call","lease":7,"token":7}}
"#,
        granted + 500,
        granted + 1,
        call = granted - 2,
    );
    let params = Params { adopted: Duration::from_nanos(adopted), ..Params::default() };
    check(Rule::Loss, &History::read(text.as_bytes()).unwrap().events, &params)
}

#[test]
fn a_grant_by_an_old_ttl_is_excused_for_a_time_and_counted() {
    assert!(lasting(21, 0).violations.is_empty(), "it began before the answer");
    assert_eq!(lasting(23, 0).violations.len(), 1);
    let excused = lasting(25, 5);
    assert!(excused.violations.is_empty());
    assert_eq!(excused.figures["granted_by_an_old_ttl"], 1.0);
    assert_eq!(lasting(28, 5).violations.len(), 1);
}
