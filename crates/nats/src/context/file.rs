use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::error::{ConnectError, ConnectErrorKind};
use crate::redact;

/// A connection context as the `nats` tool writes them (ADR-21), as it stands in its file: nothing expanded,
/// nothing resolved. Keys that are `null` or `""` are unset, unknown ones are ignored. `Debug` shows no secret.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Context {
    /// Its name, or that of the file.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Servers, separated by commas. May hold credentials.
    pub url: Option<SecretString>,
    /// User.
    pub user: Option<String>,
    /// Password, or a reference to it.
    pub password: Option<SecretString>,
    /// Token, or a reference to it.
    pub token: Option<SecretString>,
    /// Path of or reference to a credentials file. A `data:` reference is the secret itself.
    pub creds: Option<SecretString>,
    /// Path of or reference to an nkey seed. A `data:` reference is the secret itself.
    pub nkey: Option<SecretString>,
    /// User JWT, or a reference to it.
    pub user_jwt: Option<SecretString>,
    /// The seed that belongs to the JWT, or a reference to it.
    pub user_seed: Option<SecretString>,
    /// Client certificate file.
    pub cert: Option<String>,
    /// Its key file.
    pub key: Option<String>,
    /// Root certificates file.
    pub ca: Option<String>,
    /// TLS before the server's first word.
    pub tls_first: Option<bool>,
    /// `nsc://operator/account/user` (deprecated).
    pub nsc: Option<String>,
    /// JetStream domain.
    pub jetstream_domain: Option<String>,
    /// Prefix of the JetStream API's subjects.
    pub jetstream_api_prefix: Option<String>,
    /// Prefix of JetStream's advisories.
    pub jetstream_event_prefix: Option<String>,
    /// Prefix of inboxes.
    pub inbox_prefix: Option<String>,
    /// Colours of tables.
    pub color_scheme: Option<String>,
    /// SOCKS5 proxy (unsupported).
    pub socks_proxy: Option<String>,
    /// Set keys about Windows' certificate store (unsupported).
    pub windows_keys: Vec<&'static str>,
}

const WINDOWS: [&str; 4] =
    ["windows_cert_store", "windows_cert_match_by", "windows_cert_match", "windows_ca_certs_match"];

impl Context {
    /// Reads one file.
    ///
    /// # Errors
    /// `ContextNotFound` if it is not there, `Configuration` if it is no context; the message names file and key.
    pub fn load_file(path: impl Into<PathBuf>) -> Result<Self, ConnectError> {
        let path = path.into();
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => ConnectErrorKind::ContextNotFound,
                _ => ConnectErrorKind::Configuration,
            };
            ConnectError::new(kind, format!("context file `{}`", path.display())).with_source(error)
        })?;
        Self::parse(path, &text)
    }

    pub(crate) fn parse(path: PathBuf, json: &str) -> Result<Self, ConnectError> {
        let json = json.strip_prefix('\u{feff}').unwrap_or(json);
        // The cause of a JSON error quotes nothing, it gives line and column only.
        let map: Map<String, Value> = serde_json::from_str(json).map_err(|error| {
            let text = format!("context file `{}` is no JSON object", path.display());
            ConnectError::new(ConnectErrorKind::Configuration, text).with_source(error)
        })?;
        let keys = Keys { path: &path, map };
        let context = Self {
            name: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
            url: keys.secret("url")?,
            user: keys.text("user")?,
            password: keys.secret("password")?,
            token: keys.secret("token")?,
            creds: keys.secret("creds")?,
            nkey: keys.secret("nkey")?,
            user_jwt: keys.secret("user_jwt")?,
            user_seed: keys.secret("user_seed")?,
            cert: keys.text("cert")?,
            key: keys.text("key")?,
            ca: keys.text("ca")?,
            tls_first: keys.boolean("tls_first")?,
            nsc: keys.text("nsc")?,
            jetstream_domain: keys.text("jetstream_domain")?,
            jetstream_api_prefix: keys.text("jetstream_api_prefix")?,
            jetstream_event_prefix: keys.text("jetstream_event_prefix")?,
            inbox_prefix: keys.text("inbox_prefix")?,
            color_scheme: keys.text("color_scheme")?,
            socks_proxy: keys.text("socks_proxy")?,
            windows_keys: WINDOWS.into_iter().filter(|key| keys.is_set(key)).collect(),
            path: PathBuf::new(),
        };
        Ok(Self { path, ..context })
    }
}

struct Keys<'a> {
    path: &'a Path,
    map: Map<String, Value>,
}

impl Keys<'_> {
    fn is_set(&self, key: &str) -> bool {
        match self.map.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(items)) => !items.is_empty(),
            Some(_) => true,
        }
    }

    fn text(&self, key: &'static str) -> Result<Option<String>, ConnectError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    fn secret(&self, key: &'static str) -> Result<Option<SecretString>, ConnectError> {
        Ok(self.text(key)?.map(SecretString::from))
    }

    fn boolean(&self, key: &'static str) -> Result<Option<bool>, ConnectError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    fn wrong(&self, key: &str, wanted: &str) -> ConnectError {
        let text = format!("context file `{}`: `{key}` must be {wanted}", self.path.display());
        ConnectError::new(ConnectErrorKind::Configuration, text)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use secrecy::ExposeSecret;
        let url = self.url.as_ref().map(|url| {
            url.expose_secret().split(',').map(|part| redact::url(part.trim())).collect::<Vec<_>>().join(",")
        });
        f.debug_struct("Context")
            .field("name", &self.name)
            .field("path", &self.path)
            .field("url", &url)
            .field("user", &self.user)
            .field("password", &self.password)
            .field("token", &self.token)
            .field("creds", &self.creds)
            .field("nkey", &self.nkey)
            .field("user_jwt", &self.user_jwt)
            .field("user_seed", &self.user_seed)
            .field("cert", &self.cert)
            .field("key", &self.key)
            .field("ca", &self.ca)
            .field("tls_first", &self.tls_first)
            .field("jetstream_domain", &self.jetstream_domain)
            .field("jetstream_api_prefix", &self.jetstream_api_prefix)
            .field("inbox_prefix", &self.inbox_prefix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    fn parse(json: &str) -> Result<Context, ConnectError> {
        Context::parse(PathBuf::from("/ctx/prod.json"), json)
    }

    #[test]
    fn null_and_empty_mean_unset_and_unknown_keys_are_ignored() {
        let context = parse(
            r#"{"name":"other","description":"x","url":"","token":null,"user":"bob","future":{"a":1},
                "tls_first":null,"windows_ca_certs_match":[],"windows_cert_store":""}"#,
        )
        .unwrap();
        assert_eq!(context.name, "prod");
        assert!(context.url.is_none() && context.token.is_none() && context.tls_first.is_none());
        assert_eq!(context.user.as_deref(), Some("bob"));
        assert!(context.windows_keys.is_empty());
    }

    #[test]
    fn every_key_is_read() {
        let context = parse(
            r#"{"url":"nats://h","token":"t","user":"u","password":"p","creds":"c","nkey":"n","cert":"ce","key":"k",
                "ca":"ca","nsc":"nsc://a/b/c","jetstream_domain":"d","jetstream_api_prefix":"ap",
                "jetstream_event_prefix":"ep","inbox_prefix":"i","user_jwt":"j","user_seed":"s","color_scheme":"blue",
                "tls_first":true,"socks_proxy":"x:1","windows_cert_match":"m"}"#,
        )
        .unwrap();
        let secrets = [
            (&context.url, "nats://h"),
            (&context.token, "t"),
            (&context.password, "p"),
            (&context.creds, "c"),
            (&context.nkey, "n"),
            (&context.user_jwt, "j"),
            (&context.user_seed, "s"),
        ];
        for (secret, text) in secrets {
            assert_eq!(secret.as_ref().map(|s| s.expose_secret()), Some(text));
        }
        let texts = [
            (&context.user, "u"),
            (&context.cert, "ce"),
            (&context.key, "k"),
            (&context.ca, "ca"),
            (&context.nsc, "nsc://a/b/c"),
            (&context.jetstream_domain, "d"),
            (&context.jetstream_api_prefix, "ap"),
            (&context.jetstream_event_prefix, "ep"),
            (&context.inbox_prefix, "i"),
            (&context.color_scheme, "blue"),
            (&context.socks_proxy, "x:1"),
        ];
        for (value, text) in texts {
            assert_eq!(value.as_deref(), Some(text));
        }
        assert_eq!(context.tls_first, Some(true));
        assert_eq!(context.windows_keys, ["windows_cert_match"]);
    }

    #[test]
    fn wrong_types_are_named_with_file_and_key() {
        for (json, key) in [(r#"{"user":1}"#, "user"), (r#"{"tls_first":"yes"}"#, "tls_first")] {
            let error = parse(json).unwrap_err();
            assert_eq!(error.kind(), ConnectErrorKind::Configuration);
            assert!(
                error.to_string().contains(key) && error.to_string().contains("/ctx/prod.json"),
                "{error}"
            );
        }
        assert_eq!(parse("[]").unwrap_err().kind(), ConnectErrorKind::Configuration);
    }

    #[test]
    fn debug_shows_no_secret() {
        let json = r#"{"url":"nats://canary:canary@h,b:canary@i","token":"canary","password":"canary","creds":"data:;base64,canary",
            "nkey":"canary","user_jwt":"canary","user_seed":"canary","user":"bob"}"#;
        let shown = format!("{:#?}", parse(json).unwrap());
        assert!(shown.contains("bob") && shown.contains("xxxxx@h") && !shown.contains("canary"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_text_panics(json in "\\PC*") {
            let _ = parse(&json);
        }

        #[test]
        fn no_value_panics(value in "null|true|-1|1e400|\"\\PC*\"|\\[\\]|\\{\\}") {
            let _ = parse(&format!(r#"{{"url":{value},"creds":{value},"tls_first":{value}}}"#));
        }
    }
}
