use std::collections::HashMap;

use super::super::index::Index;
use super::super::model::Grant;
use super::super::verdict::Verdict;

pub(in super::super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    let mut grants: Vec<Grant> = Vec::new();
    let mut ids = HashMap::new();
    for lease in &index.leases {
        if let Some(line) = ids.insert(lease.id, lease.grant.line) {
            verdict.violation([line, lease.grant.line], format!("lease id {} was used twice", lease.id));
        }
        grants.push(lease.grant);
        grants.extend(&lease.renewals);
    }
    let mut by_answer = grants.clone();
    by_answer.sort_by_key(|grant| grant.done);
    grants.sort_by_key(|grant| grant.call);
    let (mut answered, mut largest) = (0, None::<Grant>);
    for grant in &grants {
        while by_answer.get(answered).is_some_and(|before| before.done < grant.call) {
            let before = by_answer[answered];
            largest = Some(largest.filter(|largest| largest.token >= before.token).unwrap_or(before));
            answered += 1;
        }
        if let Some(before) = largest.filter(|before| before.token >= grant.token) {
            let text = format!("token {} came after {}", grant.token, before.token);
            verdict.violation([before.line, grant.line], text);
        }
    }
    verdict.count("tokens", grants.len() as u64);
}
