use sluicegate_core::Incarnation;
use time::OffsetDateTime;

use crate::wire::{INCARNATION, StreamInfo};

/// Which life of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// What we wrote into the metadata when we made it.
    nonce: Option<String>,
    created: OffsetDateTime,
}

impl Identity {
    pub(crate) fn of(info: &StreamInfo) -> Self {
        Self { nonce: info.config.metadata(INCARNATION).map(str::to_owned), created: info.created }
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        match &self.nonce {
            Some(nonce) => Incarnation::new(nonce),
            None => Incarnation::new(format!("created-{}", self.created.unix_timestamp_nanos())),
        }
    }

    /// Whether `seen` is the same life. A stream without a nonce is another one only if its sequence went back too:
    /// a server may report another time of creation after a restart.
    pub(super) fn is(&self, seen: &Self, went_back: bool) -> bool {
        match (&self.nonce, &seen.nonce) {
            (None, None) => self.created == seen.created || !went_back,
            (ours, theirs) => ours == theirs,
        }
    }

    #[cfg(test)]
    pub(super) fn named(nonce: &str) -> Self {
        Self { nonce: Some(nonce.to_owned()), created: OffsetDateTime::UNIX_EPOCH }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unnamed(seconds: i64) -> Identity {
        Identity { nonce: None, created: OffsetDateTime::from_unix_timestamp(seconds).unwrap() }
    }

    #[test]
    fn a_nonce_decides_where_there_is_one() {
        let ours = Identity::named("a");
        assert!(ours.is(&Identity::named("a"), true));
        assert!(!ours.is(&Identity::named("b"), false));
        assert!(!ours.is(&unnamed(0), false), "made anew by somebody else");
    }

    #[test]
    fn without_a_nonce_it_takes_two_signs() {
        assert!(unnamed(1).is(&unnamed(1), true));
        assert!(unnamed(1).is(&unnamed(2), false), "a restart may change the time of creation");
        assert!(!unnamed(1).is(&unnamed(2), true));
    }
}
