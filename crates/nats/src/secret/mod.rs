mod builtin;
mod program;
mod reference;
mod source;

use std::fmt;

use secrecy::SecretSlice;

pub use builtin::{Nsc, OnePassword};
pub(crate) use program::NscProfile;
pub(crate) use reference::Reference;
pub(crate) use source::{Resolvers, SecretSource, is_exposed};

/// Bytes that are wiped from memory when dropped and never shown by `Debug`.
pub type SecretBytes = SecretSlice<u8>;

/// Turns references to secrets into secrets, for URI schemes of its own (`vault://…`).
///
/// Schemes known without any: `file`, `env`, `data`, `op` ([`OnePassword`]), `nsc` ([`Nsc`]). One of yours with the
/// same scheme wins.
pub trait SecretResolver: fmt::Debug + Send + Sync + 'static {
    /// The schemes, in lower case, two letters at least.
    fn schemes(&self) -> &[&str];

    /// Fetches the secret that a reference names; `reference` is the whole URI. May block: it is called outside of
    /// the runtime's threads, at connect and whenever the client is rebuilt, not at every reconnect.
    ///
    /// # Errors
    /// A text that names what is wrong, without the secret.
    fn resolve(&self, reference: &str) -> Result<SecretBytes, ResolveError>;
}

/// Why a secret could not be fetched. Never contains one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ResolveError(String);

impl ResolveError {
    /// With a lower-case fragment that names the reference and the problem.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
