use std::fmt;

use secrecy::SecretString;
use sluicegate_core::HumanDuration;

/// The connection flags of the `nats` tool, for any program; with feature `clap` a `clap::Args` to flatten.
///
/// Every flag is global, booleans also take `=true` and `=false`. The environment variables are not clap's to read:
/// [`Settings::resolve`](crate::Settings::resolve) does, to know where each value came from.
#[derive(Clone, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[cfg_attr(feature = "clap", command(next_help_heading = "Connection"))]
pub struct ConnectArgs {
    /// Servers, separated by commas [env: NATS_URL] [default: nats://127.0.0.1:4222]
    #[cfg_attr(feature = "clap", arg(id = "nats-server", short = 's', long = "server", global = true))]
    #[cfg_attr(feature = "clap", arg(value_name = "URL[,URL…]"))]
    pub server: Option<SecretString>,
    /// User; without a password it is a token [env: NATS_USER]
    #[cfg_attr(feature = "clap", arg(id = "nats-user", long = "user", global = true, value_name = "USER"))]
    pub user: Option<SecretString>,
    /// Password [env: NATS_PASSWORD]
    #[cfg_attr(feature = "clap", arg(id = "nats-password", long = "password", global = true))]
    #[cfg_attr(feature = "clap", arg(value_name = "PASSWORD"))]
    pub password: Option<SecretString>,
    /// Token, in addition to any other credential [env: NATS_TOKEN]
    #[cfg_attr(
        feature = "clap",
        arg(id = "nats-token", long = "token", global = true, value_name = "TOKEN")
    )]
    pub token: Option<SecretString>,
    /// Credentials file, read again at every reconnect [env: NATS_CREDS]
    #[cfg_attr(feature = "clap", arg(id = "nats-creds", long = "creds", global = true, value_name = "FILE"))]
    pub creds: Option<SecretString>,
    /// File with an nkey seed, read again at every reconnect [env: NATS_NKEY]
    #[cfg_attr(feature = "clap", arg(id = "nats-nkey", long = "nkey", global = true, value_name = "FILE"))]
    pub nkey: Option<SecretString>,
    /// User JWT, or file://PATH [env: NATS_JWT]
    #[cfg_attr(feature = "clap", arg(id = "nats-jwt", long = "jwt", global = true, value_name = "JWT"))]
    pub jwt: Option<SecretString>,
    /// Seed that belongs to the JWT, or file://PATH [env: NATS_SEED]
    #[cfg_attr(
        feature = "clap",
        arg(id = "nats-user-seed", long = "user-seed", global = true, value_name = "SEED")
    )]
    pub seed: Option<SecretString>,
    /// Client certificate file [env: NATS_CERT]
    #[cfg_attr(
        feature = "clap",
        arg(id = "nats-tlscert", long = "tlscert", global = true, value_name = "FILE")
    )]
    pub tls_cert: Option<String>,
    /// Key file of the client certificate [env: NATS_KEY]
    #[cfg_attr(
        feature = "clap",
        arg(id = "nats-tlskey", long = "tlskey", global = true, value_name = "FILE")
    )]
    pub tls_key: Option<String>,
    /// File of root certificates [env: NATS_CA]
    #[cfg_attr(feature = "clap", arg(id = "nats-tlsca", long = "tlsca", global = true, value_name = "FILE"))]
    pub tls_ca: Option<String>,
    /// TLS before the server's first word
    #[cfg_attr(
        feature = "clap",
        arg(id = "nats-tlsfirst", long = "tlsfirst", alias = "tls-first", global = true)
    )]
    #[cfg_attr(feature = "clap", arg(num_args = 0..=1, require_equals = true, default_missing_value = "true"))]
    #[cfg_attr(feature = "clap", arg(value_parser = clap::builder::BoolishValueParser::new(), value_name = "BOOL"))]
    pub tls_first: Option<bool>,
    /// JetStream domain; wins over the prefix
    #[cfg_attr(
        feature = "clap",
        arg(id = "nats-js-domain", long = "js-domain", alias = "domain", global = true)
    )]
    #[cfg_attr(feature = "clap", arg(value_name = "DOMAIN"))]
    pub js_domain: Option<String>,
    /// Prefix of the JetStream API's subjects
    #[cfg_attr(feature = "clap", arg(id = "nats-js-api-prefix", long = "js-api-prefix", global = true))]
    #[cfg_attr(feature = "clap", arg(value_name = "PREFIX"))]
    pub js_api_prefix: Option<String>,
    /// Prefix of JetStream's advisories
    #[cfg_attr(feature = "clap", arg(id = "nats-js-event-prefix", long = "js-event-prefix", global = true))]
    #[cfg_attr(feature = "clap", arg(value_name = "PREFIX"))]
    pub js_event_prefix: Option<String>,
    /// Prefix of inboxes [default: one of this process below _INBOX]
    #[cfg_attr(feature = "clap", arg(id = "nats-inbox-prefix", long = "inbox-prefix", global = true))]
    #[cfg_attr(feature = "clap", arg(value_name = "PREFIX"))]
    pub inbox_prefix: Option<String>,
    /// How long to wait for a connection, an answer or an acknowledgement [env: NATS_TIMEOUT] [default: 5s]
    #[cfg_attr(feature = "clap", arg(id = "nats-timeout", long = "timeout", global = true))]
    #[cfg_attr(feature = "clap", arg(value_name = "DURATION"))]
    pub timeout: Option<HumanDuration>,
    /// Name of this client, as servers show it
    #[cfg_attr(feature = "clap", arg(id = "nats-connection-name", long = "connection-name", global = true))]
    #[cfg_attr(feature = "clap", arg(value_name = "NAME"))]
    pub connection_name: Option<String>,
    /// Context of the nats tool, by name or file [env: NATS_CONTEXT] [default: the selected one]
    #[cfg_attr(feature = "clap", arg(id = "nats-context", long = "context", global = true))]
    #[cfg_attr(feature = "clap", arg(value_name = "NAME|FILE.json"))]
    pub context: Option<String>,
    /// Read no context at all
    #[cfg_attr(feature = "clap", arg(id = "nats-no-context", long = "no-context", global = true))]
    #[cfg_attr(feature = "clap", arg(num_args = 0..=1, require_equals = true, default_missing_value = "true"))]
    #[cfg_attr(feature = "clap", arg(value_parser = clap::builder::BoolishValueParser::new(), value_name = "BOOL"))]
    #[cfg_attr(feature = "clap", arg(default_value = "false", hide_default_value = true))]
    pub no_context: bool,
    /// Show JetStream API requests and replies
    #[cfg_attr(feature = "clap", arg(id = "nats-trace", long = "trace", global = true))]
    #[cfg_attr(feature = "clap", arg(num_args = 0..=1, require_equals = true, default_missing_value = "true"))]
    #[cfg_attr(feature = "clap", arg(value_parser = clap::builder::BoolishValueParser::new(), value_name = "BOOL"))]
    #[cfg_attr(feature = "clap", arg(default_value = "false", hide_default_value = true))]
    pub trace: bool,
    /// Borders of tables: double, rounded, blue, cyan, green, magenta, red, yellow [env: NATS_COLOR]
    #[cfg_attr(
        feature = "clap",
        arg(id = "nats-colors", long = "colors", global = true, value_name = "SCHEME")
    )]
    #[cfg_attr(feature = "clap", arg(value_parser = crate::settings::COLORS, hide_possible_values = true))]
    pub colors: Option<String>,
    /// SOCKS5 proxy (not supported yet) [env: NATS_SOCKS_PROXY]
    #[cfg_attr(
        feature = "clap",
        arg(id = "nats-socks-proxy", long = "socks-proxy", global = true, hide = true)
    )]
    #[cfg_attr(feature = "clap", arg(value_name = "PROXY"))]
    pub socks_proxy: Option<String>,
    #[cfg(feature = "clap")]
    #[command(flatten)]
    negated: Negated,
}

/// `--no-X` of the boolean flags: the `nats` tool hands its globals to plugins that way.
#[cfg(feature = "clap")]
#[derive(Clone, Copy, Default, clap::Args)]
struct Negated {
    #[arg(id = "nats-no-tlsfirst", long = "no-tlsfirst", alias = "no-tls-first", global = true, hide = true)]
    #[arg(overrides_with = "nats-tlsfirst")]
    no_tls_first: bool,
    #[arg(id = "nats-no-trace", long = "no-trace", global = true, hide = true)]
    #[arg(overrides_with = "nats-trace")]
    no_trace: bool,
}

impl ConnectArgs {
    /// JetStream API requests and replies are to be shown: raise the level of the tracing target
    /// `sluicegate_nats::api` to `trace`.
    pub fn wants_trace(&self) -> bool {
        #[cfg(feature = "clap")]
        if self.negated.no_trace {
            return false;
        }
        self.trace
    }

    pub(crate) fn wants_tls_first(&self) -> Option<bool> {
        #[cfg(feature = "clap")]
        if self.negated.no_tls_first {
            return Some(false);
        }
        self.tls_first
    }
}

impl fmt::Debug for ConnectArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Which secrets are given, never what they are; a path given as `--creds` may be a `data:` reference.
        f.debug_struct("ConnectArgs")
            .field("server", &self.server)
            .field("user", &self.user)
            .field("password", &self.password)
            .field("token", &self.token)
            .field("creds", &self.creds)
            .field("nkey", &self.nkey)
            .field("jwt", &self.jwt)
            .field("seed", &self.seed)
            .field("context", &self.context)
            .field("no_context", &self.no_context)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
