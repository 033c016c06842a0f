//! What the database can say, sorted by what to do about it.

use tokio_postgres::error::SqlState;

/// Why a payment was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// Another operation has written a payment of that id.
    #[error("payment {0} is there already")]
    Duplicate(i64),
    /// The table does not take it: it will not take it next time either.
    #[error("the database refuses it ({0}): {1}")]
    Refused(String, String),
    /// Nothing took effect, and less would have.
    #[error("the database has too much to do ({0})")]
    Busy(String),
    /// Nobody answered, or not to the end: whether it took effect is unknown.
    #[error("the database is away: {0}")]
    Away(String),
}

impl StoreError {
    /// Whether trying again may help. It is safe in any case.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Away(_))
    }

    fn from_state(state: &SqlState, message: &str) -> Self {
        let code = state.code().to_owned();
        match state.code() {
            // Insufficient resources (53300 is too many connections); serialization failure, deadlock.
            code if code.starts_with("53") => Self::Busy(code.to_owned()),
            "40001" | "40P01" => Self::Busy(code),
            // Connections; the operator (57P01, 57P03 and so on: it shuts down or starts).
            code if code.starts_with("08") || code.starts_with("57P") => Self::Away(message.to_owned()),
            _ => Self::Refused(code, message.to_owned()),
        }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(said) => Self::from_state(said.code(), said.message()),
            None => Self::Away(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_to_do() {
        let kind = |code: &str| StoreError::from_state(&SqlState::from_code(code), "said");
        for code in ["53300", "40001", "40P01"] {
            assert_eq!(kind(code), StoreError::Busy(code.to_owned()));
            assert!(!kind(code).may_pass(), "throttled, not retried");
        }
        for code in ["57P01", "57P03", "08006"] {
            assert!(kind(code).may_pass());
        }
        for code in ["23514", "22003", "42P01"] {
            assert_eq!(kind(code), StoreError::Refused(code.to_owned(), "said".to_owned()));
        }
    }
}
