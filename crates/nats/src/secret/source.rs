use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::reference::decode_data;
use super::{Nsc, OnePassword, Reference, ResolveError, SecretBytes, SecretResolver};
use crate::env::{Env, non_empty};
use crate::expand;

/// A longer secret is none.
const MAX_SECRET: u64 = 1024 * 1024;

/// Where a secret comes from.
#[derive(Clone, Debug)]
pub(crate) enum SecretSource {
    /// Known since the settings were resolved.
    Literal(SecretString),
    /// Read at every (re)connect.
    File(PathBuf),
    /// Asked for at connect and when the client is rebuilt.
    Resolver { reference: String, resolver: Arc<dyn SecretResolver> },
}

impl SecretSource {
    /// A setting whose plain form is a path (`creds`, `nkey`).
    pub(crate) fn path_or_reference(
        text: &str,
        env: &dyn Env,
        resolvers: &Resolvers,
    ) -> Result<Self, ResolveError> {
        match Reference::parse(text) {
            None => Ok(Self::File(expand::path(text, env))),
            Some(reference) => match Self::known(text, reference, env, resolvers)? {
                Some(source) => Ok(source),
                None => Err(ResolveError::new(format!("unknown scheme `{}`", reference.scheme))),
            },
        }
    }

    /// A setting whose plain form is the secret itself; a trailing line end is not part of it.
    pub(crate) fn literal_or_reference(
        text: &str,
        env: &dyn Env,
        resolvers: &Resolvers,
    ) -> Result<Self, ResolveError> {
        let known = match Reference::parse(text) {
            None => None,
            Some(reference) => Self::known(text, reference, env, resolvers)?,
        };
        Ok(known.unwrap_or_else(|| Self::Literal(cut_line_end(text).into())))
    }

    fn known(
        text: &str,
        reference: Reference<'_>,
        env: &dyn Env,
        resolvers: &Resolvers,
    ) -> Result<Option<Self>, ResolveError> {
        if let Some(resolver) = resolvers.find(reference.scheme) {
            return Ok(Some(Self::Resolver { reference: text.to_owned(), resolver }));
        }
        if reference.is("file") {
            return Ok(Some(Self::File(expand::path(reference.rest, env))));
        }
        if reference.is("env") {
            let name = reference.rest;
            let value = non_empty(env, name)
                .ok_or_else(|| ResolveError::new(format!("the environment variable `{name}` is not set")))?;
            return Ok(Some(Self::Literal(value.into())));
        }
        if reference.is("data") {
            return text_of(decode_data(reference.rest)?, "data reference").map(Self::Literal).map(Some);
        }
        Ok(None)
    }

    /// The secret of now. Blocks.
    pub(crate) fn fetch(&self) -> Result<SecretString, ResolveError> {
        match self {
            Self::Literal(secret) => Ok(secret.clone()),
            Self::File(path) => text_of(read_file(path)?, &path.display().to_string()),
            Self::Resolver { reference, resolver } => text_of(resolver.resolve(reference)?, reference),
        }
    }

    /// Reading it again costs next to nothing.
    pub(crate) fn is_cheap(&self) -> bool {
        !matches!(self, Self::Resolver { .. })
    }

    /// How it is shown to people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Literal(_) => "(secret)".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Resolver { reference, .. } => reference.clone(),
        }
    }

    /// Others may read the file.
    #[cfg(unix)]
    pub(crate) fn exposed_file(&self) -> Option<&Path> {
        match self {
            Self::File(path) if is_exposed(path) => Some(path),
            _ => None,
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn exposed_file(&self) -> Option<&Path> {
        None
    }
}

#[cfg(unix)]
pub(crate) fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
pub(crate) fn is_exposed(_path: &Path) -> bool {
    false
}

/// The resolvers beside `file`, `env` and `data`.
#[derive(Clone, Debug)]
pub(crate) struct Resolvers(Vec<Arc<dyn SecretResolver>>);

impl Resolvers {
    pub(crate) fn add(&mut self, resolver: Arc<dyn SecretResolver>) {
        self.0.insert(0, resolver);
    }

    fn find(&self, scheme: &str) -> Option<Arc<dyn SecretResolver>> {
        let knows = |resolver: &&Arc<dyn SecretResolver>| {
            resolver.schemes().iter().any(|known| known.eq_ignore_ascii_case(scheme))
        };
        self.0.iter().find(knows).cloned()
    }
}

impl Default for Resolvers {
    fn default() -> Self {
        Self(vec![Arc::new(OnePassword::default()), Arc::new(Nsc::default())])
    }
}

pub(crate) fn read_file(path: &Path) -> Result<SecretBytes, ResolveError> {
    let fail = |error: std::io::Error| ResolveError::new(format!("`{}`: {error}", path.display()));
    let mut bytes = Vec::new();
    File::open(path).map_err(fail)?.take(MAX_SECRET + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_SECRET {
        return Err(ResolveError::new(format!("`{}` is larger than 1 MiB", path.display())));
    }
    Ok(bytes.into())
}

/// Text of secret bytes, without a trailing line end.
pub(crate) fn text_of(bytes: SecretBytes, what: &str) -> Result<SecretString, ResolveError> {
    match std::str::from_utf8(bytes.expose_secret()) {
        Ok(text) => Ok(cut_line_end(text).into()),
        Err(_) => Err(ResolveError::new(format!("`{what}` is no UTF-8"))),
    }
}

fn cut_line_end(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}
