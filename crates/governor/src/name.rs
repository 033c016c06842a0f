use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sluicegate_core::{LeaseError, LeaseErrorKind};

/// The name of a governor: 1 to 200 bytes, printable, without `.`, `*`, `>`, `/`, `\` and white space.
///
/// Checked before anything is sent, because a server does not answer a request whose subject a dot has split.
///
/// ```
/// use sluicegate_governor::GovernorName;
///
/// assert!("nightly-backup".parse::<GovernorName>().is_ok());
/// assert!("nightly.backup".parse::<GovernorName>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GovernorName(Arc<str>);

/// Why a text is no [`GovernorName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is no text.
    #[error("governor name is empty")]
    Empty,
    /// More than [`GovernorName::MAX_BYTES`] bytes.
    #[error("governor name has {0} bytes: at most 200 are allowed")]
    TooLong(usize),
    /// A character that cannot stand in a stream's name or in a subject.
    #[error(
        "governor name has {0:?}: `.`, `*`, `>`, `/`, `\\`, white space and control characters are refused"
    )]
    Character(char),
}

impl GovernorName {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = 200;

    /// A governor's name.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn try_new(name: impl AsRef<str>) -> Result<Self, NameError> {
        let name = name.as_ref();
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > Self::MAX_BYTES {
            return Err(NameError::TooLong(name.len()));
        }
        let refused =
            |c: &char| matches!(c, '.' | '*' | '>' | '/' | '\\') || c.is_whitespace() || c.is_control();
        match name.chars().find(refused) {
            Some(c) => Err(NameError::Character(c)),
            None => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The stream of the campaign governor of this name: `GOVERNOR_<NAME>`.
    pub fn campaign_stream(&self) -> String {
        format!("GOVERNOR_{self}")
    }

    /// The subject that a campaign governor of this name has unless another was given: `$GOVERNOR.campaign.<NAME>`.
    pub fn campaign_subject(&self) -> String {
        format!("$GOVERNOR.campaign.{self}")
    }

    /// The stream of the native governor of this name: `GOVERNOR2_<NAME>`.
    pub fn native_stream(&self) -> String {
        format!("GOVERNOR2_{self}")
    }

    /// What the subjects of the leases of a native governor begin with: `$GOVERNOR2.<NAME>.`.
    pub(crate) fn native_prefix(&self) -> String {
        format!("$GOVERNOR2.{self}.")
    }
}

impl fmt::Display for GovernorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for GovernorName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::try_new(name)
    }
}

impl TryFrom<String> for GovernorName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::try_new(name)
    }
}

impl From<GovernorName> for String {
    fn from(name: GovernorName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl From<NameError> for LeaseError {
    fn from(error: NameError) -> Self {
        LeaseError::new(LeaseErrorKind::Invalid, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_a_server_would_not_understand() {
        assert_eq!(GovernorName::try_new(""), Err(NameError::Empty));
        assert_eq!(GovernorName::try_new("x".repeat(201)), Err(NameError::TooLong(201)));
        for c in ['.', '*', '>', '/', '\\', ' ', '\t', '\n', '\0', '\u{2003}'] {
            assert_eq!(GovernorName::try_new(format!("a{c}b")), Err(NameError::Character(c)));
        }
        for good in ["T", "nightly-backup_2", "größe", "$x"] {
            assert_eq!(GovernorName::try_new(good).unwrap().as_str(), good);
        }
        assert!(GovernorName::try_new("x".repeat(200)).is_ok());
    }

    #[test]
    fn names_stream_and_subject_as_choria_does() {
        let name = GovernorName::try_new("TEST").unwrap();
        assert_eq!(name.campaign_stream(), "GOVERNOR_TEST");
        assert_eq!(name.campaign_subject(), "$GOVERNOR.campaign.TEST");
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_one_token(text in "\\PC{0,20}") {
            if let Ok(name) = GovernorName::try_new(&text) {
                prop_assert_eq!(name.campaign_subject().split('.').count(), 3);
                prop_assert!(!name.as_str().contains(char::is_whitespace));
            }
        }
    }
}
