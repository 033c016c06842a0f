use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use sluicegate_core::HumanDuration;

use super::Settings;
use crate::env::{Env, NoEnv};
use crate::error::ConnectError;
use crate::secret::Resolvers;
use crate::{ConnectArgs, Context, ContextStore, SecretResolver, Supervision};

/// Builds [`Settings`] in a program.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SettingsBuilder {
    args: ConnectArgs,
    resolvers: Resolvers,
    supervision: Supervision,
}

impl SettingsBuilder {
    /// Servers, separated by commas. Default `nats://127.0.0.1:4222`.
    pub fn server(mut self, url: &str) -> Self {
        self.args.server = Some(url.into());
        self
    }

    /// User and password; the password may be a reference (`file://…`, `env://…`, `data:…`, `op://…`).
    pub fn user_and_password(mut self, user: &str, password: impl Into<SecretString>) -> Self {
        self.args.user = Some(user.into());
        self.args.password = Some(password.into());
        self
    }

    /// Token, in addition to any other credential; may be a reference.
    pub fn token(mut self, token: impl Into<SecretString>) -> Self {
        self.args.token = Some(token.into());
        self
    }

    /// Credentials file, by path or reference. A file is read again at every reconnect.
    pub fn creds(mut self, path: &str) -> Self {
        self.args.creds = Some(path.into());
        self
    }

    /// File with an nkey seed, by path or reference. A file is read again at every reconnect.
    pub fn nkey(mut self, path: &str) -> Self {
        self.args.nkey = Some(path.into());
        self
    }

    /// User JWT and the seed that signs; both may be references. Without a seed the JWT is a bearer token.
    pub fn jwt(mut self, jwt: impl Into<SecretString>, seed: Option<SecretString>) -> Self {
        self.args.jwt = Some(jwt.into());
        self.args.seed = seed;
        self
    }

    /// Client certificate and its key.
    pub fn tls_certificate(mut self, cert: &str, key: &str) -> Self {
        self.args.tls_cert = Some(cert.to_owned());
        self.args.tls_key = Some(key.to_owned());
        self
    }

    /// Root certificates.
    pub fn tls_roots(mut self, file: &str) -> Self {
        self.args.tls_ca = Some(file.to_owned());
        self
    }

    /// TLS before the server's first word.
    pub fn tls_first(mut self, first: bool) -> Self {
        self.args.tls_first = Some(first);
        self
    }

    /// JetStream domain.
    pub fn domain(mut self, domain: &str) -> Self {
        self.args.js_domain = Some(domain.to_owned());
        self
    }

    /// Prefix of the JetStream API's subjects.
    pub fn api_prefix(mut self, prefix: &str) -> Self {
        self.args.js_api_prefix = Some(prefix.to_owned());
        self
    }

    /// Prefix of inboxes, as the user's permissions may demand. Default: one of this process below `_INBOX`.
    pub fn inbox_prefix(mut self, prefix: &str) -> Self {
        self.args.inbox_prefix = Some(prefix.to_owned());
        self
    }

    /// How long to wait for a connection. Default 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.args.timeout = Some(HumanDuration(timeout));
        self
    }

    /// Name of this client, as servers show it.
    pub fn name(mut self, name: &str) -> Self {
        self.args.connection_name = Some(name.to_owned());
        self
    }

    /// The flags of a program instead of what was said so far.
    pub fn args(mut self, args: &ConnectArgs) -> Self {
        self.args = args.clone();
        self
    }

    /// A resolver for references of a scheme of its own.
    pub fn resolver(mut self, resolver: Arc<dyn SecretResolver>) -> Self {
        self.resolvers.add(resolver);
        self
    }

    /// How the connection is watched over.
    pub fn supervision(mut self, supervision: Supervision) -> Self {
        self.supervision = supervision;
        self
    }

    /// Checks and resolves, from nothing but what was said here.
    ///
    /// # Errors
    /// `Configuration`, `UnsupportedSetting`, `Credentials`; the message names the setting.
    pub fn build(self) -> Result<Settings, ConnectError> {
        self.build_with(&NoEnv, None)
    }

    /// Checks and resolves, with what environment and the chosen context add.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load(self, env: &dyn Env) -> Result<Settings, ConnectError> {
        let context = ContextStore::choose(&self.args, env)?;
        self.build_with(env, context.as_ref())
    }

    pub(super) fn build_with(
        self,
        env: &dyn Env,
        context: Option<&Context>,
    ) -> Result<Settings, ConnectError> {
        let settings = super::resolve::resolve(&self.args, env, context, &self.resolvers)?;
        Ok(settings.with_supervision(self.supervision))
    }
}
