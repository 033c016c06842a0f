mod builder;
mod group;
mod resolve;
mod servers;
mod setting;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use async_nats::ServerAddr;

pub use builder::SettingsBuilder;
pub use setting::{Explanation, Origin, Setting};

use crate::credentials::Credentials;
use crate::env::Env;
use crate::error::ConnectError;
use crate::{ConnectArgs, Context, ContextStore, Supervision, redact};

/// The colour schemes of tables.
pub(crate) const COLORS: [&str; 8] =
    ["double", "rounded", "blue", "cyan", "green", "magenta", "red", "yellow"];

/// How to connect: every setting with its value and where it came from. `Debug` and [`explain`](Self::explain) show
/// no secret.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) servers: Setting<Vec<ServerAddr>>,
    pub(crate) credentials: Setting<Credentials>,
    pub(crate) tls_cert: Setting<Option<(PathBuf, PathBuf)>>,
    pub(crate) tls_ca: Setting<Option<PathBuf>>,
    pub(crate) tls_first: Setting<bool>,
    pub(crate) js_domain: Setting<Option<String>>,
    pub(crate) js_api_prefix: Setting<Option<String>>,
    pub(crate) js_event_prefix: Setting<Option<String>>,
    pub(crate) inbox_prefix: Setting<Option<String>>,
    pub(crate) timeout: Setting<Duration>,
    pub(crate) name: Setting<String>,
    pub(crate) colors: Setting<Option<String>>,
    pub(crate) supervision: Supervision,
    pub(crate) context: Option<PathBuf>,
    pub(crate) warnings: Vec<String>,
}

impl Settings {
    /// One or several servers, separated by commas, and the default of everything else. Reads no environment and
    /// no context.
    ///
    /// # Errors
    /// `Configuration` if an address is none, `UnsupportedSetting` for websockets.
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        Self::builder().server(url).build()
    }

    /// Settings that the calling program decides. Reads no environment and no context.
    pub fn builder() -> SettingsBuilder {
        SettingsBuilder::default()
    }

    /// What flags, environment and the context that they choose say: setting by setting flag, else environment,
    /// else context, else default. Credentials are one group, so `--creds` replaces the `user` of a context.
    ///
    /// May run `nsc`, for at most 10 s, if the context says so.
    ///
    /// # Errors
    /// `ContextNotFound`, `UnsupportedSetting`, `Configuration`, `Credentials`.
    pub fn load(args: &ConnectArgs, env: &dyn Env) -> Result<Self, ConnectError> {
        let context = ContextStore::choose(args, env)?;
        Self::resolve(args, env, context.as_ref())
    }

    /// The context of that name, with nothing from flags or environment but the directory and what the context
    /// itself refers to.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_context(name: &str, env: &dyn Env) -> Result<Self, ConnectError> {
        let context = ContextStore::of(env)?.load(name)?;
        // The context's `$HOME` is meant, an exported NATS_URL is not.
        let without_ours = |name: &str| env.var(name).filter(|_| !name.starts_with("NATS_"));
        Self::resolve(&ConnectArgs::default(), &without_ours, Some(&context))
    }

    /// As [`load`](Self::load), with the context chosen by the caller.
    ///
    /// # Errors
    /// `UnsupportedSetting`, `Configuration`, `Credentials`.
    pub fn resolve(
        args: &ConnectArgs,
        env: &dyn Env,
        context: Option<&Context>,
    ) -> Result<Self, ConnectError> {
        Self::builder().args(args).build_with(env, context)
    }

    /// The servers, without credentials.
    pub fn servers(&self) -> Vec<String> {
        self.servers.value.iter().map(redact::address).collect()
    }

    /// How long to wait for a connection, an answer or an acknowledgement.
    pub fn timeout(&self) -> Duration {
        self.timeout.value
    }

    /// The name of this client, as servers show it.
    pub fn name(&self) -> &str {
        &self.name.value
    }

    /// The same settings with another name, unless one was given by flag.
    #[must_use]
    pub fn with_default_name(mut self, name: impl Into<String>) -> Self {
        if self.name.origin == Origin::Default {
            self.name.value = name.into();
        }
        self
    }

    /// The same settings, watched over in another way.
    #[must_use]
    pub fn with_supervision(mut self, supervision: Supervision) -> Self {
        self.supervision = supervision;
        self
    }

    /// Prefix of the JetStream API's subjects: `$JS.API`, or that of the domain, or the one given.
    pub fn api_prefix(&self) -> String {
        match (&self.js_domain.value, &self.js_api_prefix.value) {
            (Some(domain), _) => format!("$JS.{domain}.API"),
            (None, Some(prefix)) => prefix.clone(),
            (None, None) => "$JS.API".to_owned(),
        }
    }

    /// Prefix of JetStream's advisories, `$JS.EVENT` by default.
    pub fn event_prefix(&self) -> &str {
        self.js_event_prefix.value.as_deref().unwrap_or("$JS.EVENT")
    }

    /// Colour scheme of tables, if one was named.
    pub fn colors(&self) -> Option<&str> {
        self.colors.value.as_deref()
    }

    /// The context file that was read.
    pub fn context(&self) -> Option<&std::path::Path> {
        self.context.as_deref()
    }

    /// What somebody should know: a variable that beats the context, a secret file that others may read, several
    /// kinds of credentials at once. For the caller to show once.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Every setting, its value without secrets, and where it came from.
    pub fn explain(&self) -> Vec<Explanation> {
        fn row<T>(setting: &'static str, from: &Setting<T>, shown: impl Fn(&T) -> String) -> Explanation {
            Explanation { setting, value: shown(&from.value), origin: from.origin.clone() }
        }
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        vec![
            row("servers", &self.servers, |_| self.servers().join(",")),
            row("credentials", &self.credentials, Credentials::shown),
            row("tls certificate", &self.tls_cert, |files| {
                files.as_ref().map(|(cert, _)| cert.display().to_string()).unwrap_or_default()
            }),
            row("tls roots", &self.tls_ca, |file| {
                file.as_ref().map(|file| file.display().to_string()).unwrap_or_default()
            }),
            row("tls first", &self.tls_first, bool::to_string),
            row("jetstream domain", &self.js_domain, text),
            row("jetstream api prefix", &self.js_api_prefix, text),
            row("jetstream event prefix", &self.js_event_prefix, text),
            row("inbox prefix", &self.inbox_prefix, text),
            row("timeout", &self.timeout, |time| sluicegate_core::HumanDuration(*time).to_string()),
            row("name", &self.name, String::clone),
            row("colors", &self.colors, text),
        ]
    }

    /// TLS is wanted, whatever the server says.
    pub(crate) fn requires_tls(&self) -> bool {
        self.tls_first.value
            || self.tls_ca.value.is_some()
            || self.tls_cert.value.is_some()
            || self.servers.value.iter().any(ServerAddr::tls_required)
    }
}
