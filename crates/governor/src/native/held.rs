//! Which messages make which leases.

use std::collections::BTreeMap;
use std::time::Duration;

use sluicegate_core::{FencingToken, HeldLease, Holder, LeaseId};

use crate::batch::split_entry;
use crate::wire::{LEASE_HEADER, StoredMessage};

/// Which lease a message belongs to: the sequence of its first message, which a renewal carries along.
pub(super) fn lease_id(message: &StoredMessage) -> LeaseId {
    // Several slots are taken in one go, without gaps.
    let before = split_entry(&message.subject).map_or(0, |(_, number)| u64::from(number.get() - 1));
    let first = message.seq.saturating_sub(before);
    let carried = message.header(LEASE_HEADER).and_then(|id| id.parse().ok());
    // Nobody renews a lease that is younger than the renewal; whoever says so lies.
    LeaseId(carried.filter(|id| *id <= first).unwrap_or(first))
}

/// A lease and the subject of its message, or what the subjects of its messages begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) lease: HeldLease,
    pub(super) subject: String,
}

/// The leases that these messages are, oldest first; with each message goes its age.
pub(super) fn group(messages: &[(StoredMessage, Duration)]) -> Vec<Found> {
    // One that was renewed while the stream was read appears twice: the later one counts.
    let newest: BTreeMap<&str, &(StoredMessage, Duration)> =
        messages.iter().map(|message| (&*message.0.subject, message)).collect();
    let mut leases: BTreeMap<&str, Found> = BTreeMap::new();
    for (message, age) in newest.into_values() {
        let subject = split_entry(&message.subject).map_or(&*message.subject, |(subject, _)| subject);
        let (id, token) = (lease_id(message), FencingToken(message.seq));
        leases
            .entry(subject)
            .and_modify(|found| {
                let lease = &mut found.lease;
                lease.id = lease.id.min(id);
                lease.token = lease.token.max(token);
                lease.weight = lease.weight.saturating_add(1);
                lease.age = lease.age.min(*age);
            })
            .or_insert_with(|| Found {
                lease: HeldLease::new(id, token, Holder::from_wire(&message.data), *age),
                subject: subject.to_owned(),
            });
    }
    let mut leases: Vec<_> = leases.into_values().collect();
    leases.sort_by_key(|found| found.lease.id);
    leases
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn message(subject: &str, seq: u64, lease: &str) -> StoredMessage {
        let headers = STANDARD.encode(format!("NATS/1.0\r\nSluicegate-Lease: {lease}\r\n\r\n"));
        let json = format!(
            r#"{{"subject":"{subject}","seq":{seq},"hdrs":"{headers}","data":"YQ==","time":"2026-11-22T00:49:02Z"}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn found(messages: &[StoredMessage]) -> Vec<(u64, u64, u32)> {
        let aged: Vec<_> = messages.iter().map(|message| (message.clone(), Duration::ZERO)).collect();
        let leases = group(&aged);
        leases.iter().map(|f| (f.lease.id.0, f.lease.token.0, f.lease.weight.get())).collect()
    }

    #[test]
    fn a_renewed_message_says_which_lease_it_is() {
        assert_eq!(lease_id(&message("s.a", 9, "4")), LeaseId(4));
        for unusable in ["", "x", "10"] {
            assert_eq!(lease_id(&message("s.a", 9, unusable)), LeaseId(9), "{unusable}");
        }
    }

    #[test]
    fn several_slots_are_one_lease_however_many_of_them_were_renewed() {
        let fresh = [message("s.a.1", 4, ""), message("s.a.2", 5, ""), message("s.a.3", 6, "")];
        assert_eq!(found(&fresh), [(4, 6, 3)]);
        let partly = [message("s.a.1", 4, ""), message("s.a.3", 6, ""), message("s.a.2", 9, "4")];
        assert_eq!(found(&partly), [(4, 9, 3)]);
        let remains = [message("s.a.3", 6, "")];
        assert_eq!(found(&remains), [(4, 6, 1)], "the first two were deleted by somebody");
        assert_eq!(found(&[message("s.a.7", 3, "")]), [(0, 3, 1)], "impossible, and no panic");
    }

    #[test]
    fn a_renewal_during_the_walk_makes_no_second_slot() {
        let messages = [message("s.a.1", 4, ""), message("s.a.2", 5, ""), message("s.a.1", 9, "4")];
        assert_eq!(found(&messages), [(4, 9, 2)]);
        assert_eq!(found(&[message("s.b", 7, ""), message("s.b", 8, "7")]), [(7, 8, 1)]);
    }

    #[test]
    fn leases_do_not_mix() {
        let messages = [message("s.b", 7, "2"), message("s.a.1", 4, ""), message("s.a.2", 5, "")];
        assert_eq!(found(&messages), [(2, 7, 1), (4, 5, 2)]);
    }
}
