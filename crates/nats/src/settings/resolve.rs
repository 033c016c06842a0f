use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sluicegate_core::HumanDuration;

use super::group::{self, Level, Levels};
use super::{COLORS, Origin, Setting, Settings, servers};
use crate::env::{Env, non_empty};
use crate::error::{ConnectError, ConnectErrorKind};
use crate::secret::{Nsc, NscProfile, Reference, Resolvers, is_exposed};
use crate::{ConnectArgs, Context, Supervision, expand};

const DEFAULT_SERVER: &str = "nats://127.0.0.1:4222";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn resolve(
    args: &ConnectArgs,
    env: &dyn Env,
    context: Option<&Context>,
    resolvers: &Resolvers,
) -> Result<Settings, ConnectError> {
    let pick = Pick { env, context };
    let mut warnings = Vec::new();
    refuse_unsupported(args, &pick)?;
    let nsc = nsc_profile(context)?;

    let mut url = pick.secret(&args.server, Some("NATS_URL"), |c| c.url.clone());
    if let Origin::Env(name) = url.origin
        && let Some(context) = context.filter(|context| context.url.is_some())
    {
        warnings.push(format!("{name} is used instead of the url of context `{}`", context.name));
    }
    if url.value.is_none()
        && let (Some(profile), Some(context)) = (&nsc, context)
        && !profile.servers.is_empty()
    {
        url = Setting::new(Some(profile.servers.join(",").into()), Origin::Context(context.path.clone()));
    }
    let text = url.value.as_ref().map_or(DEFAULT_SERVER, |url| url.expose_secret());
    let (servers, url_user) = servers::parse(text)?;
    let servers = Setting::new(servers, url.origin.clone());

    let nsc_creds = nsc.map(|profile| SecretString::from(profile.creds.display().to_string()));
    let levels = Levels {
        flags: Level::of_args(args),
        env: Level::of_env(env),
        context: context.map(|c| (Level::of_context(c, nsc_creds), Origin::Context(c.path.clone()))),
        url: url_user.map(|user| (user, url.origin)),
    };
    let credentials = group::credentials(levels, env, resolvers, &mut warnings)?;
    warn_about_exposed_files(&credentials.value, context, &mut warnings);

    Ok(Settings {
        servers,
        credentials,
        tls_cert: certificate(args, &pick)?,
        tls_ca: pick.path(&args.tls_ca, "NATS_CA", "ca", |c| c.ca.clone())?,
        tls_first: match (args.wants_tls_first(), context.and_then(|c| c.tls_first), context) {
            (Some(first), _, _) => Setting::new(first, Origin::Flag),
            (None, Some(first), Some(context)) => Setting::new(first, Origin::Context(context.path.clone())),
            _ => Setting::default(false),
        },
        js_domain: pick.prefix(&args.js_domain, |c| c.jetstream_domain.clone()),
        js_api_prefix: pick.prefix(&args.js_api_prefix, |c| c.jetstream_api_prefix.clone()),
        js_event_prefix: pick.prefix(&args.js_event_prefix, |c| c.jetstream_event_prefix.clone()),
        inbox_prefix: inbox_prefix(args, &pick)?,
        timeout: timeout(args, env)?,
        name: match args.connection_name.clone().filter(|name| !name.is_empty()) {
            Some(name) => Setting::new(name, Origin::Flag),
            None => Setting::default(format!(
                "sluicegate/{} pid {}",
                env!("CARGO_PKG_VERSION"),
                std::process::id()
            )),
        },
        colors: colors(args, &pick, &mut warnings),
        supervision: Supervision::default(),
        context: context.map(|context| context.path.clone()),
        warnings,
    })
}

/// Flag, else environment, else context. Empty is unset everywhere.
struct Pick<'a> {
    env: &'a dyn Env,
    context: Option<&'a Context>,
}

impl Pick<'_> {
    fn secret(
        &self,
        flag: &Option<SecretString>,
        variable: Option<&'static str>,
        key: impl Fn(&Context) -> Option<SecretString>,
    ) -> Setting<Option<SecretString>> {
        let flag = flag.clone().filter(|value| !value.expose_secret().is_empty());
        if flag.is_some() {
            return Setting::new(flag, Origin::Flag);
        }
        if let Some(name) = variable
            && let Some(value) = non_empty(self.env, name)
        {
            return Setting::new(Some(value.into()), Origin::Env(name));
        }
        let from_context = self.context.and_then(|context| key(context).map(|value| (value, context)));
        match from_context {
            Some((value, context)) => Setting::new(Some(value), Origin::Context(context.path.clone())),
            None => Setting::default(None),
        }
    }

    fn text(
        &self,
        flag: &Option<String>,
        variable: Option<&'static str>,
        key: impl Fn(&Context) -> Option<String>,
    ) -> Setting<Option<String>> {
        let flag = flag.clone().map(SecretString::from);
        let picked = self.secret(&flag, variable, |context| key(context).map(SecretString::from));
        Setting::new(picked.value.map(|value| value.expose_secret().to_owned()), picked.origin)
    }

    /// A subject prefix or domain; a trailing dot is cut.
    fn prefix(
        &self,
        flag: &Option<String>,
        key: impl Fn(&Context) -> Option<String>,
    ) -> Setting<Option<String>> {
        let picked = self.text(flag, None, key);
        let cut = picked.value.map(|value| value.trim_end_matches('.').to_owned());
        Setting::new(cut.filter(|value| !value.is_empty()), picked.origin)
    }

    fn path(
        &self,
        flag: &Option<String>,
        variable: &'static str,
        setting: &str,
        key: impl Fn(&Context) -> Option<String>,
    ) -> Result<Setting<Option<PathBuf>>, ConnectError> {
        let picked = self.text(flag, Some(variable), key);
        let path = match picked.value.as_deref() {
            None => None,
            Some(text) => match Reference::parse(text) {
                None => Some(expand::path(text, self.env)),
                Some(reference) if reference.is("file") => Some(expand::path(reference.rest, self.env)),
                Some(reference) => {
                    let text = format!(
                        "{setting} ({}): scheme `{}` is not possible here, give a path or `file://…`",
                        picked.origin, reference.scheme
                    );
                    return Err(ConnectError::new(ConnectErrorKind::Configuration, text));
                }
            },
        };
        Ok(Setting::new(path, picked.origin))
    }
}

fn refuse_unsupported(args: &ConnectArgs, pick: &Pick<'_>) -> Result<(), ConnectError> {
    let proxy = pick.text(&args.socks_proxy, Some("NATS_SOCKS_PROXY"), |c| c.socks_proxy.clone());
    let key = match (proxy.value, pick.context) {
        (Some(_), _) => Some(("socks_proxy", proxy.origin)),
        (None, Some(context)) => {
            context.windows_keys.first().map(|key| (*key, Origin::Context(context.path.clone())))
        }
        (None, None) => None,
    };
    match key {
        None => Ok(()),
        Some((key, origin)) => {
            let text = format!("{key} ({origin}): the NATS client has no means for it, unset it");
            Err(ConnectError::new(ConnectErrorKind::UnsupportedSetting, text))
        }
    }
}

/// The deprecated key `nsc`, unless both of what it could give are given.
fn nsc_profile(context: Option<&Context>) -> Result<Option<NscProfile>, ConnectError> {
    let Some(context) = context.filter(|context| context.creds.is_none() || context.url.is_none()) else {
        return Ok(None);
    };
    let profile = context.nsc.as_deref().map(|reference| Nsc::default().profile(reference)).transpose();
    profile.map_err(|error| {
        let text = format!("nsc (context {})", context.path.display());
        ConnectError::new(ConnectErrorKind::Credentials, text).with_source(error)
    })
}

fn certificate(
    args: &ConnectArgs,
    pick: &Pick<'_>,
) -> Result<Setting<Option<(PathBuf, PathBuf)>>, ConnectError> {
    let cert = pick.path(&args.tls_cert, "NATS_CERT", "cert", |c| c.cert.clone())?;
    let key = pick.path(&args.tls_key, "NATS_KEY", "key", |c| c.key.clone())?;
    let (missing, given, origin) = match (cert.value, key.value) {
        (Some(file), Some(key)) => return Ok(Setting::new(Some((file, key)), cert.origin)),
        (None, None) => return Ok(Setting::default(None)),
        (Some(_), None) => ("key", "cert", cert.origin),
        (None, Some(_)) => ("cert", "key", key.origin),
    };
    let text = format!("{given} ({origin}) is given without {missing}, a client certificate needs both");
    Err(ConnectError::new(ConnectErrorKind::Configuration, text))
}

fn inbox_prefix(args: &ConnectArgs, pick: &Pick<'_>) -> Result<Setting<Option<String>>, ConnectError> {
    let picked = pick.prefix(&args.inbox_prefix, |c| c.inbox_prefix.clone());
    let bad =
        |token: &str| token.is_empty() || token.contains(|c: char| c.is_whitespace() || "*>".contains(c));
    match &picked.value {
        Some(prefix) if prefix.split('.').any(bad) => {
            let text =
                format!("inbox prefix `{prefix}` ({}): no blanks, `*`, `>` or empty parts", picked.origin);
            Err(ConnectError::new(ConnectErrorKind::Configuration, text))
        }
        _ => Ok(picked),
    }
}

fn timeout(args: &ConnectArgs, env: &dyn Env) -> Result<Setting<Duration>, ConnectError> {
    let picked = match (args.timeout, non_empty(env, "NATS_TIMEOUT")) {
        (Some(HumanDuration(time)), _) => Setting::new(time, Origin::Flag),
        (None, Some(text)) => {
            let parsed: HumanDuration = text.parse().map_err(|error| {
                ConnectError::new(ConnectErrorKind::Configuration, "NATS_TIMEOUT").with_source(error)
            })?;
            Setting::new(parsed.into(), Origin::Env("NATS_TIMEOUT"))
        }
        (None, None) => Setting::default(DEFAULT_TIMEOUT),
    };
    if picked.value.is_zero() {
        let text = format!("timeout ({}) must be longer than 0", picked.origin);
        return Err(ConnectError::new(ConnectErrorKind::Configuration, text));
    }
    Ok(picked)
}

fn colors(args: &ConnectArgs, pick: &Pick<'_>, warnings: &mut Vec<String>) -> Setting<Option<String>> {
    let picked = pick.text(&args.colors, Some("NATS_COLOR"), |c| c.color_scheme.clone());
    match picked.value.as_deref() {
        Some(scheme) if !COLORS.contains(&scheme) => {
            warnings.push(format!(
                "no colour scheme `{scheme}` ({}), known: {}",
                picked.origin,
                COLORS.join(", ")
            ));
            Setting::default(None)
        }
        _ => picked,
    }
}

fn warn_about_exposed_files(
    credentials: &crate::credentials::Credentials,
    context: Option<&Context>,
    warnings: &mut Vec<String>,
) {
    let warning =
        |path: &std::path::Path| format!("others may read `{}`, a secret: chmod 600", path.display());
    for (_, source) in credentials.sources() {
        warnings.extend(source.exposed_file().map(warning));
    }
    let holds_secret = |context: &&Context| {
        [&context.password, &context.token, &context.user_jwt, &context.user_seed].iter().any(|secret| {
            secret.as_ref().is_some_and(|secret| Reference::parse(secret.expose_secret()).is_none())
        })
    };
    if let Some(context) = context.filter(holds_secret)
        && is_exposed(&context.path)
    {
        warnings.push(warning(&context.path));
    }
}
