use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Why a handler could not handle a message, and what becomes of the message.
///
/// Every error turns into a retry, so `?` works in handlers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// It comes again.
    Retry {
        /// After that time. `None`: after 1 s, doubled for every earlier delivery, at most 1 min.
        after: Option<Duration>,
    },
    /// It does not come again.
    Reject {
        /// Why; shown by the server's monitoring where the back end can.
        reason: String,
    },
}

impl Failure {
    /// It comes again, the later the more often it came.
    pub fn retry() -> Self {
        Self::Retry { after: None }
    }

    /// It comes again after that time.
    pub fn retry_after(after: Duration) -> Self {
        Self::Retry { after: Some(after) }
    }

    /// It does not come again.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject { reason: reason.into() }
    }

    /// The delay of a retry without one, for a message that was delivered that often before.
    pub(super) fn default_delay(redeliveries: u32) -> Duration {
        Duration::from_secs(1 << redeliveries.min(6)).min(Duration::from_secs(60))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry { after: None } => f.write_str("retry"),
            Self::Retry { after: Some(after) } => write!(f, "retry after {after:?}"),
            Self::Reject { reason } => write!(f, "rejected: {reason}"),
        }
    }
}

// `Failure` itself is no `Error`, or this would overlap with the reflexive `From`.
impl<E: Error> From<E> for Failure {
    fn from(_: E) -> Self {
        Self::retry()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute() {
        let seconds: Vec<_> = (0..9).map(|n| Failure::default_delay(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(Failure::default_delay(u32::MAX).as_secs(), 60);
    }

    #[test]
    fn errors_become_retries() {
        let handler = || -> Result<u8, Failure> { Ok("x".parse::<u8>()?) };
        assert_eq!(handler(), Err(Failure::retry()));
    }
}
