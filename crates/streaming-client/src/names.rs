use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use sluicegate_core::Random;

use crate::{ErrorKind, StreamError};

/// Longest name accepted, in bytes.
const LONGEST: usize = 255;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the name.
            ///
            /// # Errors
            /// `InvalidName`, which says what is wrong with it.
            pub fn new(name: impl AsRef<str>) -> Result<Self, StreamError> {
                let name = name.as_ref();
                match common(name).or_else(|| $check(name)) {
                    None => Ok(Self(name.into())),
                    Some(problem) => Err(StreamError::new(
                        ErrorKind::InvalidName,
                        format!("{} {name:?} {problem}", $what),
                    )),
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = StreamError;

            fn try_from(name: &str) -> Result<Self, StreamError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = StreamError;

            fn try_from(name: String) -> Result<Self, StreamError> {
                Self::new(name)
            }
        }

        impl From<&$name> for $name {
            fn from(name: &$name) -> Self {
                name.clone()
            }
        }
    };
}

name! {
    /// A channel: an append-only log with sequence numbers from 1.
    ///
    /// Not empty, at most 255 bytes; no white space, control characters, `*`, `>` or `/`; no empty token between
    /// dots, so neither a leading nor a trailing dot. `ticket:created` is a channel.
    Channel, "channel", channel_problem
}

name! {
    /// Who the server thinks we are. Letters, digits, `-` and `_`; at most one live client per id.
    ClientId, "client id", id_problem
}

name! {
    /// The cluster, that is the namespace in which channels live. Letters, digits, `-` and `_`.
    Cluster, "cluster", id_problem
}

name! {
    /// The name of a position that outlives its subscriber. No white space, control characters or `:`.
    DurableName, "durable name", part_problem
}

name! {
    /// The name of a group whose members share one position. No white space, control characters or `:`.
    Queue, "queue", part_problem
}

name! {
    /// The id of one publish, echoed in its acknowledgement. No white space or control characters.
    Guid, "guid", guid_problem
}

impl ClientId {
    /// An id that nobody else has: `client-` and 24 hexadecimal digits (12 random bytes).
    ///
    /// For clients that need no position bound to their id: a durable without a queue wants a stable one.
    pub fn random() -> Self {
        let mut random = Random::fresh();
        let low = random.next_u64() as u32;
        Self(format!("client-{:016x}{low:08x}", random.next_u64()).into())
    }
}

impl Guid {
    /// A guid of our own making, which needs no checking.
    pub(crate) fn made(prefix: &str, number: u64) -> Self {
        Self(format!("{prefix}.{number:x}").into())
    }
}

fn common(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("is empty");
    }
    if name.len() > LONGEST {
        return Some("is longer than 255 bytes");
    }
    let blank = |c: char| c.is_whitespace() || c.is_control();
    name.contains(blank).then_some("contains white space or a control character")
}

fn channel_problem(name: &str) -> Option<&'static str> {
    if name.contains(['*', '>', '/']) {
        return Some("contains `*`, `>` or `/`: channels have no wildcards");
    }
    name.split('.').any(str::is_empty).then_some("has an empty token: dots stand between tokens")
}

fn id_problem(name: &str) -> Option<&'static str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (!name.chars().all(fine)).then_some("may hold only letters, digits, `-` and `_`")
}

fn part_problem(name: &str) -> Option<&'static str> {
    name.contains(':').then_some("contains `:`, which separates durable and group")
}

fn guid_problem(_name: &str) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn channels_follow_the_servers_rules() {
        for good in ["orders", "ticket:created", "a.b.c", "ä", "A_b-1"] {
            assert_eq!(Channel::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a.*", "a.>", "a/b", "a b", "a\n", "\u{7f}"] {
            let error = Channel::new(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidName, "{bad:?}");
        }
        assert!(Channel::new("a".repeat(255)).is_ok());
        assert!(Channel::new("a".repeat(256)).unwrap_err().to_string().contains("255"));
    }

    #[test]
    fn ids_and_parts_are_checked() {
        assert!(ClientId::new("orders-1_b").is_ok());
        assert!(ClientId::new("orders.1").unwrap_err().to_string().contains("client id"));
        assert!(DurableName::new("a:b").is_err());
        assert!(Queue::new("workers").is_ok());
        assert_ne!(ClientId::random(), ClientId::random());
        assert!(ClientId::new(ClientId::random().as_str()).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_passes_is_one_subject(text in "\\PC*") {
            if let Ok(channel) = Channel::new(&text) {
                prop_assert!(channel.as_str().split('.').all(|token| !token.is_empty()));
                prop_assert!(!channel.as_str().contains(char::is_whitespace));
            }
        }
    }
}
