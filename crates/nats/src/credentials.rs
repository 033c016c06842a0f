use std::fmt;
use std::sync::Mutex;

use async_nats::{Auth, AuthError};
use nkeys::KeyPair;
use secrecy::{ExposeSecret, SecretString};

use crate::secret::{ResolveError, SecretSource};

/// Who we are, as settings name it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) identity: Identity,
    /// In addition to any identity.
    pub(crate) token: Option<SecretSource>,
}

#[derive(Clone, Debug, Default)]
pub(crate) enum Identity {
    #[default]
    Anonymous,
    User {
        user: String,
        password: Option<SecretSource>,
    },
    Creds(SecretSource),
    Nkey(SecretSource),
    /// Without a seed the JWT is a bearer token.
    Jwt {
        jwt: SecretSource,
        seed: Option<SecretSource>,
    },
}

impl Credentials {
    /// Every secret they are made of, by the name of its setting.
    pub(crate) fn sources(&self) -> Vec<(&'static str, &SecretSource)> {
        let mut sources = match &self.identity {
            Identity::Anonymous => Vec::new(),
            Identity::User { password, .. } => password.iter().map(|p| ("password", p)).collect(),
            Identity::Creds(creds) => vec![("creds", creds)],
            Identity::Nkey(seed) => vec![("nkey", seed)],
            Identity::Jwt { jwt, seed } => {
                let seed = seed.iter().map(|seed| ("seed", seed));
                std::iter::once(("jwt", jwt)).chain(seed).collect()
            }
        };
        sources.extend(self.token.iter().map(|token| ("token", token)));
        sources
    }

    pub(crate) fn shown(&self) -> String {
        let identity = match &self.identity {
            Identity::Anonymous => None,
            Identity::User { user, password: None } => Some(format!("user {user}")),
            Identity::User { user, password: Some(_) } => Some(format!("user {user} with password")),
            Identity::Creds(source) => Some(format!("creds {}", source.shown())),
            Identity::Nkey(source) => Some(format!("nkey {}", source.shown())),
            Identity::Jwt { seed: None, .. } => Some("bearer JWT".to_owned()),
            Identity::Jwt { seed: Some(_), .. } => Some("JWT and seed".to_owned()),
        };
        let token = self.token.as_ref().map(|_| "token".to_owned());
        let parts: Vec<_> = identity.into_iter().chain(token).collect();
        if parts.is_empty() { "none".to_owned() } else { parts.join(" and ") }
    }
}

/// What the settings' secrets were when last looked at, ready to answer a server's challenge.
///
/// Files are read again at every challenge. What costs more (a helper program, a resolver of somebody else's) is
/// asked again only when [`refresh`](Self::refresh) says so: a reconnect every quarter of a second must not start a
/// program each time.
pub(crate) struct Keyring {
    credentials: Credentials,
    held: Mutex<Option<Loaded>>,
}

#[derive(Clone, Default)]
struct Loaded {
    password: Option<SecretString>,
    creds: Option<SecretString>,
    nkey: Option<SecretString>,
    jwt: Option<SecretString>,
    seed: Option<SecretString>,
    token: Option<SecretString>,
}

impl Keyring {
    /// Not read yet.
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials, held: Mutex::new(None) }
    }

    /// Reads everything anew and checks that it can be used. Blocks.
    pub(crate) fn refresh(&self) -> Result<(), ResolveError> {
        let fresh = self.load(None)?;
        self.answer(&fresh, b"")?;
        *self.held() = Some(fresh);
        Ok(())
    }

    /// The answer to a server's challenge, from what the files hold now. Blocks.
    pub(crate) fn answer_challenge(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let before = self.held().clone();
        let now = self.load(before.as_ref()).map_err(AuthError::new)?;
        let auth = self.answer(&now, nonce).map_err(AuthError::new)?;
        *self.held() = Some(now);
        Ok(auth)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Loaded>> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn load(&self, before: Option<&Loaded>) -> Result<Loaded, ResolveError> {
        let mut loaded = Loaded::default();
        for (name, source) in self.credentials.sources() {
            let known = before.and_then(|before| before.get(name)).filter(|_| !source.is_cheap());
            let secret = match known {
                Some(secret) => secret.clone(),
                None => source.fetch().map_err(|error| ResolveError::new(format!("{name}: {error}")))?,
            };
            *loaded.slot(name) = Some(secret);
        }
        Ok(loaded)
    }

    fn answer(&self, loaded: &Loaded, nonce: &[u8]) -> Result<Auth, ResolveError> {
        let plain = |secret: &Option<SecretString>| secret.as_ref().map(|s| s.expose_secret().to_owned());
        let mut auth = Auth::new();
        auth.token = plain(&loaded.token);
        match &self.credentials.identity {
            Identity::Anonymous => {}
            Identity::User { user, .. } => {
                auth.username = Some(user.clone());
                auth.password = Some(plain(&loaded.password).unwrap_or_default());
            }
            Identity::Creds(source) => {
                let text = plain(&loaded.creds).unwrap_or_default();
                let what = || source.shown();
                let jwt = decorated(&text, "JWT")
                    .ok_or_else(|| ResolveError::new(format!("creds: `{}` holds no user JWT", what())))?;
                let seed = decorated(&text, "SEED")
                    .ok_or_else(|| ResolveError::new(format!("creds: `{}` holds no seed", what())))?;
                auth.jwt = Some(jwt.to_owned());
                auth.signature = Some(sign("creds", seed, nonce)?.1);
            }
            Identity::Nkey(_) => {
                let text = plain(&loaded.nkey).unwrap_or_default();
                let (public, signature) = sign("nkey", seed_of(&text), nonce)?;
                auth.nkey = Some(public);
                auth.signature = Some(signature);
            }
            Identity::Jwt { seed, .. } => {
                let text = plain(&loaded.jwt).unwrap_or_default();
                auth.jwt = Some(decorated(&text, "JWT").unwrap_or(text.trim()).to_owned());
                if seed.is_some() {
                    let text = plain(&loaded.seed).unwrap_or_default();
                    auth.signature = Some(sign("seed", seed_of(&text), nonce)?.1);
                }
            }
        }
        Ok(auth)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("credentials", &self.credentials.shown()).finish_non_exhaustive()
    }
}

impl Loaded {
    fn slot(&mut self, name: &str) -> &mut Option<SecretString> {
        match name {
            "password" => &mut self.password,
            "creds" => &mut self.creds,
            "nkey" => &mut self.nkey,
            "jwt" => &mut self.jwt,
            "seed" => &mut self.seed,
            _ => &mut self.token,
        }
    }

    fn get(&self, name: &str) -> Option<&SecretString> {
        match name {
            "password" => self.password.as_ref(),
            "creds" => self.creds.as_ref(),
            "nkey" => self.nkey.as_ref(),
            "jwt" => self.jwt.as_ref(),
            "seed" => self.seed.as_ref(),
            _ => self.token.as_ref(),
        }
    }
}

/// The line after `-----BEGIN … <what>-----`.
fn decorated<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("---") && line.contains("BEGIN") && line.contains(what))?;
    lines.find(|line| !line.is_empty()).filter(|line| !line.starts_with('-'))
}

/// A seed, bare or decorated.
fn seed_of(text: &str) -> &str {
    decorated(text, "SEED").unwrap_or_else(|| {
        // nsc and nk write remarks around bare seeds.
        text.lines().map(str::trim).find(|line| line.starts_with('S')).unwrap_or(text.trim())
    })
}

fn sign(setting: &str, seed: &str, nonce: &[u8]) -> Result<(String, Vec<u8>), ResolveError> {
    // The cause could quote the seed.
    let refuse = |_| ResolveError::new(format!("{setting}: that is no nkey seed"));
    let pair = KeyPair::from_seed(seed).map_err(refuse)?;
    let signature = pair.sign(nonce).map_err(refuse)?;
    Ok((pair.public_key(), signature))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::secret::{SecretBytes, SecretResolver};

    fn literal(text: &str) -> SecretSource {
        SecretSource::Literal(text.into())
    }

    fn auth(identity: Identity) -> Result<Auth, ResolveError> {
        let keyring = Keyring::new(Credentials { identity, token: None });
        keyring.refresh()?;
        Ok(keyring.answer_challenge(b"nonce").unwrap())
    }

    fn creds(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             -----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\n"
        )
    }

    #[test]
    fn creds_sign_the_challenge_with_their_seed() {
        let user = KeyPair::new_user();
        let text = creds("a.b.c", &user.seed().unwrap());
        let auth = auth(Identity::Creds(literal(&text))).unwrap();
        assert_eq!(auth.jwt.as_deref(), Some("a.b.c"));
        user.verify(b"nonce", &auth.signature.unwrap()).unwrap();
        assert_eq!(auth.nkey, None);
    }

    #[test]
    fn seeds_are_taken_bare_decorated_or_among_remarks() {
        let user = KeyPair::new_user();
        let seed = user.seed().unwrap();
        for text in [seed.clone(), format!("# mine\n{seed}\n"), creds("a.b.c", &seed)] {
            let auth = auth(Identity::Nkey(literal(&text))).unwrap();
            assert_eq!(auth.nkey.as_deref(), Some(user.public_key().as_str()));
            user.verify(b"nonce", &auth.signature.unwrap()).unwrap();
        }
    }

    #[test]
    fn a_jwt_without_seed_is_a_bearer_token() {
        let auth = auth(Identity::Jwt { jwt: literal("a.b.c"), seed: None }).unwrap();
        assert_eq!((auth.jwt.as_deref(), auth.signature), (Some("a.b.c"), None));
    }

    #[test]
    fn what_is_no_credential_is_refused_by_its_name_and_not_shown() {
        for (identity, name) in [
            (Identity::Creds(literal("canary")), "creds"),
            (Identity::Creds(literal(&creds("a.b.c", "SUcanary"))), "creds"),
            (Identity::Nkey(literal("SUcanary")), "nkey"),
            (Identity::Jwt { jwt: literal("a.b.c"), seed: Some(literal("SUcanary")) }, "seed"),
            (Identity::Nkey(SecretSource::File("/nonexistent/x.nk".into())), "nkey"),
        ] {
            let error = auth(identity).map(|_| ()).unwrap_err().to_string();
            assert!(error.starts_with(name) && !error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn files_are_read_again_at_every_challenge() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "old\n").unwrap();
        let password = Some(SecretSource::File(file.path().to_owned()));
        let identity = Identity::User { user: "bob".to_owned(), password };
        let keyring = Keyring::new(Credentials { identity, token: None });
        keyring.refresh().unwrap();
        assert_eq!(keyring.answer_challenge(b"").unwrap().password.as_deref(), Some("old"));
        std::fs::write(file.path(), "new\r\n").unwrap();
        assert_eq!(keyring.answer_challenge(b"").unwrap().password.as_deref(), Some("new"));
    }

    #[derive(Debug, Default)]
    struct Vault(AtomicU32);

    impl SecretResolver for Vault {
        fn schemes(&self) -> &[&str] {
            &["vault"]
        }

        fn resolve(&self, _reference: &str) -> Result<SecretBytes, ResolveError> {
            let calls = self.0.fetch_add(1, Ordering::Relaxed);
            Ok(format!("version {calls}").into_bytes().into())
        }
    }

    #[test]
    fn resolvers_are_asked_again_only_on_refresh() {
        let resolver = Arc::new(Vault::default());
        let token = Some(SecretSource::Resolver { reference: "vault://x".to_owned(), resolver });
        let keyring = Keyring::new(Credentials { identity: Identity::Anonymous, token });
        for version in ["version 0", "version 1"] {
            keyring.refresh().unwrap();
            for _ in 0..3 {
                assert_eq!(keyring.answer_challenge(b"").unwrap().token.as_deref(), Some(version));
            }
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let password = Some(literal("canary"));
        let identity = Identity::User { user: "bob".to_owned(), password };
        let keyring = Keyring::new(Credentials { identity, token: Some(literal("canary")) });
        keyring.refresh().unwrap();
        let shown = format!("{keyring:?} {:?} {}", keyring.credentials, keyring.credentials.shown());
        assert!(shown.contains("bob") && !shown.contains("canary"), "{shown}");
    }
}
