use secrecy::{ExposeSecret, SecretString};

use super::{Origin, Setting};
use crate::credentials::{Credentials, Identity};
use crate::env::{Env, non_empty};
use crate::error::{ConnectError, ConnectErrorKind};
use crate::secret::{ResolveError, Resolvers, SecretSource};
use crate::{ConnectArgs, Context};

/// What one level (flags, environment, context) says about credentials.
#[derive(Clone, Default)]
pub(super) struct Level {
    user: Option<SecretString>,
    password: Option<SecretString>,
    token: Option<SecretString>,
    creds: Option<SecretString>,
    nkey: Option<SecretString>,
    jwt: Option<SecretString>,
    seed: Option<SecretString>,
}

impl Level {
    pub(super) fn of_args(args: &ConnectArgs) -> Self {
        let given = |value: &Option<SecretString>| value.clone().filter(|v| !v.expose_secret().is_empty());
        Self {
            user: given(&args.user),
            password: given(&args.password),
            token: given(&args.token),
            creds: given(&args.creds),
            nkey: given(&args.nkey),
            jwt: given(&args.jwt),
            seed: given(&args.seed),
        }
    }

    pub(super) fn of_env(env: &dyn Env) -> Self {
        let var = |name| non_empty(env, name).map(SecretString::from);
        Self {
            user: var("NATS_USER"),
            password: var("NATS_PASSWORD"),
            token: var("NATS_TOKEN"),
            creds: var("NATS_CREDS"),
            nkey: var("NATS_NKEY"),
            jwt: var("NATS_JWT"),
            seed: var("NATS_SEED"),
        }
    }

    /// `nsc_creds` is what the context's nsc profile names; explicit `creds` win.
    pub(super) fn of_context(context: &Context, nsc_creds: Option<SecretString>) -> Self {
        Self {
            user: context.user.clone().map(SecretString::from),
            password: context.password.clone(),
            token: context.token.clone(),
            creds: context.creds.clone().or(nsc_creds),
            nkey: context.nkey.clone(),
            jwt: context.user_jwt.clone(),
            seed: context.user_seed.clone(),
        }
    }

    /// User part of a server's address.
    pub(super) fn of_url(user: &str, password: Option<&str>) -> Self {
        Self { user: Some(user.into()), password: password.map(SecretString::from), ..Self::default() }
    }

    /// It names somebody, so it replaces the levels below.
    fn decides(&self) -> bool {
        self.kinds() > 0 || self.token.is_some()
    }

    fn kinds(&self) -> usize {
        [&self.user, &self.creds, &self.nkey, &self.jwt].into_iter().flatten().count()
    }

    /// The variable that decides, for [`Origin`].
    fn env_name(&self) -> &'static str {
        let names = [
            (&self.user, "NATS_USER"),
            (&self.creds, "NATS_CREDS"),
            (&self.nkey, "NATS_NKEY"),
            (&self.jwt, "NATS_JWT"),
        ];
        names.into_iter().find(|(value, _)| value.is_some()).map_or("NATS_TOKEN", |(_, name)| name)
    }
}

/// What may be found at each level, and the user part of the servers' addresses, which counts last.
pub(super) struct Levels {
    pub(super) flags: Level,
    pub(super) env: Level,
    pub(super) context: Option<(Level, Origin)>,
    pub(super) url: Option<(Level, Origin)>,
}

/// Picks the level that decides and makes credentials of it. A password or seed of a higher level completes the
/// user or JWT of the one that decides: passwords live in the environment, users in flags or contexts.
pub(super) fn credentials(
    levels: Levels,
    env: &dyn Env,
    resolvers: &Resolvers,
    warnings: &mut Vec<String>,
) -> Result<Setting<Credentials>, ConnectError> {
    let Levels { flags, env: variables, context, url } = levels;
    let password = flags.password.clone().or_else(|| variables.password.clone());
    let seed = flags.seed.clone().or_else(|| variables.seed.clone());
    let (mut level, origin, bare_user_is_token) = if flags.decides() {
        (flags, Origin::Flag, true)
    } else if variables.decides() {
        let origin = Origin::Env(variables.env_name());
        (variables, origin, true)
    } else if let Some((level, origin)) = context.filter(|(level, _)| level.decides()) {
        (level, origin, false)
    } else if let Some((level, origin)) = url {
        (level, origin, true)
    } else {
        return Ok(Setting::default(Credentials::default()));
    };
    level.password = password.or(level.password);
    level.seed = seed.or(level.seed);
    if level.kinds() > 1 {
        warnings.push(format!(
            "several kinds of credentials ({origin}): the first of user, creds, nkey, jwt is taken"
        ));
    }
    let fail = |setting: &str, error: ResolveError| {
        ConnectError::new(ConnectErrorKind::Credentials, format!("{setting} ({origin})")).with_source(error)
    };
    let path = |setting: &str, value: &SecretString| {
        SecretSource::path_or_reference(value.expose_secret(), env, resolvers).map_err(|e| fail(setting, e))
    };
    let literal = |setting: &str, value: &Option<SecretString>| {
        let source = value
            .as_ref()
            .map(|value| SecretSource::literal_or_reference(value.expose_secret(), env, resolvers));
        source.transpose().map_err(|error| fail(setting, error))
    };
    let mut token = literal("token", &level.token)?;
    let identity = if let Some(user) = &level.user {
        let user = user.expose_secret();
        match literal("password", &level.password)? {
            None if bare_user_is_token => {
                // A token that is named as such says more clearly what is meant.
                token = token.or(literal("user", &level.user)?);
                Identity::Anonymous
            }
            password => Identity::User { user: user.to_owned(), password },
        }
    } else if let Some(creds) = &level.creds {
        Identity::Creds(path("creds", creds)?)
    } else if let Some(nkey) = &level.nkey {
        Identity::Nkey(path("nkey", nkey)?)
    } else if let Some(jwt) = &level.jwt {
        warn_about_path("jwt", jwt, warnings);
        if let Some(seed) = &level.seed {
            warn_about_path("seed", seed, warnings);
        }
        match literal("jwt", &level.jwt)? {
            Some(jwt) => Identity::Jwt { jwt, seed: literal("seed", &level.seed)? },
            None => Identity::Anonymous,
        }
    } else {
        Identity::Anonymous
    };
    Ok(Setting::new(Credentials { identity, token }, origin))
}

/// A JWT or seed is taken literally; a path there is a mistake that a server would only call "refused".
fn warn_about_path(setting: &str, value: &SecretString, warnings: &mut Vec<String>) {
    let text = value.expose_secret();
    let looks_like_path = text.starts_with(['/', '.', '~', '$']) || std::path::Path::new(text).exists();
    if looks_like_path {
        warnings
            .push(format!("{setting} is taken literally and looks like a path: did you mean `file://…`?"));
    }
}
