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

    /// When it began, in microseconds since 1970: what the nonce begins with, if ours is of that kind.
    pub(crate) fn epoch(&self) -> u64 {
        let seeded = self.nonce.as_deref().and_then(|nonce| nonce.split_once('-')?.0.parse().ok());
        let created = || u64::try_from(self.created.unix_timestamp_nanos() / 1000).unwrap_or(0);
        seeded.unwrap_or_else(created)
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
    fn the_epoch_is_read_from_the_nonce_or_else_from_the_time_of_creation() {
        assert_eq!(Identity::named("1795309080033843-abc").epoch(), 1_795_309_080_033_843);
        for odd in ["abc", "-abc", "-1-abc", "99999999999999999999-abc"] {
            assert_eq!(Identity::named(odd).epoch(), 0, "{odd}: created in 1970");
        }
        assert_eq!(unnamed(7).epoch(), 7_000_000);
    }

    #[test]
    fn without_a_nonce_it_takes_two_signs() {
        assert!(unnamed(1).is(&unnamed(1), true));
        assert!(unnamed(1).is(&unnamed(2), false), "a restart may change the time of creation");
        assert!(!unnamed(1).is(&unnamed(2), true));
    }
}
