use std::path::PathBuf;

use super::program::{self, LIMIT, NscProfile};
use super::source::read_file;
use super::{ResolveError, SecretBytes, SecretResolver};

/// `op://vault/item/field`: asks 1Password's program, `op read`, for at most 10 s.
#[derive(Clone, Debug)]
pub struct OnePassword {
    program: PathBuf,
}

impl OnePassword {
    /// That program instead of the `op` on the search path.
    pub fn with_program(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }
}

impl Default for OnePassword {
    fn default() -> Self {
        Self::with_program("op")
    }
}

impl SecretResolver for OnePassword {
    fn schemes(&self) -> &[&str] {
        &["op"]
    }

    fn resolve(&self, reference: &str) -> Result<SecretBytes, ResolveError> {
        program::run(&self.program, &["read", reference], LIMIT)
    }
}

/// `nsc://operator/account/user`: asks `nsc generate profile` where the credentials are, for at most 10 s.
#[derive(Clone, Debug)]
pub struct Nsc {
    program: PathBuf,
}

impl Nsc {
    /// That program instead of the `nsc` on the search path.
    pub fn with_program(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    pub(crate) fn profile(&self, reference: &str) -> Result<NscProfile, ResolveError> {
        NscProfile::generate(&self.program, reference, LIMIT)
    }
}

impl Default for Nsc {
    fn default() -> Self {
        Self::with_program("nsc")
    }
}

impl SecretResolver for Nsc {
    fn schemes(&self) -> &[&str] {
        &["nsc"]
    }

    fn resolve(&self, reference: &str) -> Result<SecretBytes, ResolveError> {
        read_file(&self.profile(reference)?.creds)
    }
}
