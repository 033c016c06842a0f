//! Leases that are renewed last until their last confirmed deadline.

use crate::check::{Event, History, Params, Rule, check};

/// One slot; `a` renews its lease at 50, and `b` is granted one at `granted`.
fn history(granted: u64, renewal: &str) -> Vec<Event> {
    let text = format!(
        r#"{{"t":0,"p":"run","op":"meta","ph":"event","limit":1,"ttl":100}}
{{"t":1,"p":"a","id":1,"op":"acquire","ph":"call"}}
{{"t":3,"p":"a","id":1,"op":"acquire","ph":"done","lease":7,"token":7,"deadline":101}}
{{"t":4,"p":"a","op":"enter","ph":"event","by":"resource","lease":7,"token":7}}
{{"t":50,"p":"a","id":2,"op":"renew","ph":"call","lease":7}}
{{"t":52,"p":"a","id":2,"op":"renew",{renewal}}}
{{"t":120,"p":"a","op":"touch","ph":"event","by":"resource","lease":7,"token":9}}
{{"t":140,"p":"a","op":"leave","ph":"event","by":"resource"}}
{{"t":141,"p":"a","id":3,"op":"release","ph":"call","lease":7}}
{{"t":143,"p":"a","id":3,"op":"release","ph":"done","freed":true}}
{{"t":{},"p":"b","id":1,"op":"acquire","ph":"call"}}
{{"t":{granted},"p":"b","id":1,"op":"acquire","ph":"done","lease":10,"token":10,"deadline":{}}}
"#,
        granted - 2,
        granted + 99
    );
    History::read(text.as_bytes()).unwrap().events
}

fn broken(events: &[Event]) -> Vec<Rule> {
    let broken = |rule: &Rule| !check(*rule, events, &Params::default()).violations.is_empty();
    Rule::ALL.into_iter().filter(broken).collect()
}

const RENEWED: &str = r#""ph":"done","lease":7,"token":9,"deadline":151"#;

#[test]
fn a_renewed_lease_is_valid_beyond_its_first_deadline() {
    assert_eq!(broken(&history(145, RENEWED)), []);
    assert_eq!(broken(&history(130, RENEWED)), [Rule::Limit]);
}

#[test]
fn one_whose_renewal_is_not_known_to_be_done_is_not() {
    // It goes on working after its deadline, and nobody had told it.
    assert_eq!(broken(&history(145, r#""ph":"unknown""#)), [Rule::Loss]);
}

#[test]
fn a_renewal_raises_the_token() {
    let old = RENEWED.replace("\"token\":9", "\"token\":7");
    assert_eq!(broken(&history(145, &old)), [Rule::Tokens]);
}
