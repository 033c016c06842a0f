use std::fs;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use sluicegate_core::HumanDuration;

use super::*;
use crate::credentials::Identity;
use crate::env::NoEnv;
use crate::error::ConnectErrorKind;
use crate::secret::SecretSource;

type Vars = &'static [(&'static str, &'static str)];

fn env(vars: Vars) -> impl Env {
    move |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

fn context(json: &str) -> Context {
    Context::parse(PathBuf::from("/ctx/prod.json"), json).unwrap()
}

fn from_context() -> Origin {
    Origin::Context(PathBuf::from("/ctx/prod.json"))
}

fn secret(text: &str) -> Option<SecretString> {
    Some(text.into())
}

fn resolve(args: &ConnectArgs, vars: Vars, json: &str) -> Settings {
    Settings::resolve(args, &env(vars), Some(&context(json))).unwrap()
}

fn refused(args: &ConnectArgs, vars: Vars, json: &str) -> (ConnectErrorKind, String) {
    let error = Settings::resolve(args, &env(vars), Some(&context(json))).unwrap_err();
    (error.kind(), error.to_string())
}

fn args(change: impl FnOnce(&mut ConnectArgs)) -> ConnectArgs {
    let mut args = ConnectArgs::default();
    change(&mut args);
    args
}

/// Identity in a form that can be compared, literals shown.
fn who(settings: &Settings) -> String {
    use secrecy::ExposeSecret;
    let shown = |source: &SecretSource| match source {
        SecretSource::Literal(secret) => secret.expose_secret().to_owned(),
        other => other.shown(),
    };
    let Credentials { identity, token } = &settings.credentials.value;
    let identity = match identity {
        Identity::Anonymous => "anonymous".to_owned(),
        Identity::User { user, password } => {
            format!("user {user}:{}", password.as_ref().map(shown).unwrap_or_default())
        }
        Identity::Creds(source) => format!("creds {}", shown(source)),
        Identity::Nkey(source) => format!("nkey {}", shown(source)),
        Identity::Jwt { jwt, seed } => {
            format!("jwt {} {}", shown(jwt), seed.as_ref().map(shown).unwrap_or_default())
        }
    };
    match token {
        Some(token) => format!("{identity} + token {}", shown(token)),
        None => identity,
    }
}

#[test]
fn flag_beats_environment_beats_context_beats_default() {
    let flag = args(|args| args.server = secret("nats://flag"));
    let none = ConnectArgs::default();
    let vars: Vars = &[("NATS_URL", "nats://env")];
    let json = r#"{"url":"nats://context"}"#;
    for (args, vars, json, server, origin) in [
        (&flag, vars, json, "nats://flag", Origin::Flag),
        (&none, vars, json, "nats://env", Origin::Env("NATS_URL")),
        (&none, &[], json, "nats://context", from_context()),
        (&none, &[], "{}", "nats://127.0.0.1:4222", Origin::Default),
        (&none, &[("NATS_URL", "")], json, "nats://context", from_context()),
    ] {
        let settings = resolve(args, vars, json);
        assert_eq!(settings.servers(), [server]);
        assert_eq!(settings.servers.origin, origin);
    }
}

#[test]
fn every_setting_has_its_own_origin() {
    let settings = resolve(
        &args(|args| {
            args.js_domain = Some("flag".to_owned());
            args.timeout = Some(HumanDuration(Duration::from_secs(1)));
        }),
        &[("NATS_CA", "~/env.pem"), ("HOME", "/h"), ("NATS_COLOR", "blue"), ("NATS_TIMEOUT", "9s")],
        r#"{"ca":"/context.pem","inbox_prefix":"_I.x.","tls_first":true,"jetstream_api_prefix":"P"}"#,
    );
    assert_eq!(settings.js_domain, Setting::new(Some("flag".to_owned()), Origin::Flag));
    assert_eq!(settings.timeout, Setting::new(Duration::from_secs(1), Origin::Flag));
    assert_eq!(settings.tls_ca, Setting::new(Some("/h/env.pem".into()), Origin::Env("NATS_CA")));
    assert_eq!(settings.colors, Setting::new(Some("blue".to_owned()), Origin::Env("NATS_COLOR")));
    assert_eq!(settings.inbox_prefix, Setting::new(Some("_I.x".to_owned()), from_context()));
    assert_eq!(settings.tls_first, Setting::new(true, from_context()));
    assert_eq!(settings.name.origin, Origin::Default);
    assert_eq!(settings.api_prefix(), "$JS.flag.API", "the domain wins over the prefix");
    assert!(settings.requires_tls());
    let rows = settings.explain();
    let row = rows.iter().find(|row| row.setting == "timeout").unwrap();
    assert_eq!((row.value.as_str(), &row.origin), ("1s", &Origin::Flag));
}

#[test]
fn the_environment_gives_a_timeout_where_no_flag_does() {
    let settings = resolve(&ConnectArgs::default(), &[("NATS_TIMEOUT", "9s")], "{}");
    assert_eq!(settings.timeout, Setting::new(Duration::from_secs(9), Origin::Env("NATS_TIMEOUT")));
    let (kind, text) = refused(&ConnectArgs::default(), &[("NATS_TIMEOUT", "9")], "{}");
    assert_eq!(kind, ConnectErrorKind::Configuration);
    assert!(text.contains("NATS_TIMEOUT"), "{text}");
}

#[test]
fn credentials_are_one_group() {
    let none = ConnectArgs::default();
    let creds = args(|args| args.creds = secret("/x.creds"));
    let user = args(|args| args.user = secret("flag"));
    let token = args(|args| args.token = secret("t"));
    let password = args(|args| args.password = secret("typed"));
    let bob = r#"{"user":"bob","password":"pw"}"#;
    for (args, vars, json, expected, origin) in [
        (&creds, &[][..], bob, "creds /x.creds", Origin::Flag),
        (&creds, &[("NATS_USER", "eve"), ("NATS_TOKEN", "e")], bob, "creds /x.creds", Origin::Flag),
        (&none, &[("NATS_NKEY", "/n")], bob, "nkey /n", Origin::Env("NATS_NKEY")),
        (&none, &[], bob, "user bob:pw", from_context()),
        (&token, &[], bob, "anonymous + token t", Origin::Flag),
        // By flag or environment a user without a password is a token, in a context it is a user.
        (&user, &[], bob, "anonymous + token flag", Origin::Flag),
        (&none, &[("NATS_USER", "eve")], bob, "anonymous + token eve", Origin::Env("NATS_USER")),
        (&none, &[], r#"{"user":"bob"}"#, "user bob:", from_context()),
        // Passwords and seeds complete what a lower level or the same one names.
        (&user, &[("NATS_PASSWORD", "p")], "{}", "user flag:p", Origin::Flag),
        (&password, &[], bob, "user bob:typed", from_context()),
        (&none, &[("NATS_PASSWORD", "p")], bob, "user bob:p", from_context()),
        (&none, &[("NATS_SEED", "s")], r#"{"user_jwt":"j"}"#, "jwt j s", from_context()),
        (&none, &[], r#"{"user_jwt":"j"}"#, "jwt j ", from_context()),
        // In addition to any other.
        (&none, &[], r#"{"creds":"/c","token":"t"}"#, "creds /c + token t", from_context()),
        (&none, &[], "{}", "anonymous", Origin::Default),
    ] {
        let settings = resolve(args, Box::leak(vars.to_vec().into_boxed_slice()), json);
        assert_eq!(who(&settings), expected);
        assert_eq!(settings.credentials.origin, origin, "{expected}");
    }
}

#[test]
fn the_user_part_of_an_address_counts_last() {
    let none = ConnectArgs::default();
    let url = r#"{"url":"nats://bob:p%40ss@h"}"#;
    assert_eq!(who(&resolve(&none, &[], url)), "user bob:p@ss");
    assert_eq!(who(&resolve(&none, &[], r#"{"url":"nats://tok@h"}"#)), "anonymous + token tok");
    assert_eq!(who(&resolve(&none, &[], r#"{"url":"nats://bob:@h"}"#)), "user bob:");
    assert_eq!(who(&resolve(&none, &[], r#"{"url":"nats://bob:x@h","nkey":"/n"}"#)), "nkey /n");
    assert_eq!(resolve(&none, &[], url).servers(), ["nats://h"]);
}

#[test]
fn several_kinds_are_decided_and_told() {
    let settings = resolve(&ConnectArgs::default(), &[], r#"{"creds":"/c","nkey":"/n","user":"u"}"#);
    assert_eq!(who(&settings), "user u:");
    assert!(settings.warnings().iter().any(|w| w.contains("several kinds")), "{:?}", settings.warnings());
}

#[test]
fn secrets_may_be_references() {
    let vars: Vars = &[("PW", "from env"), ("HOME", "/h"), ("D", "/d")];
    let none = ConnectArgs::default();
    for (json, expected) in [
        (r#"{"user":"u","password":"env://PW"}"#, "user u:from env"),
        (r#"{"user":"u","password":"ENV://PW"}"#, "user u:from env"),
        (r#"{"user":"u","password":"data:;base64,cHc="}"#, "user u:pw"),
        (r#"{"user":"u","password":"file://~/pw"}"#, "user u:/h/pw"),
        (r#"{"user":"u","password":"op://vault/item"}"#, "user u:op://vault/item"),
        (r#"{"user":"u","password":"http://literal"}"#, "user u:http://literal"),
        ("{\"user\":\"u\",\"password\":\"pw\\r\\n\"}", "user u:pw"),
        (r#"{"token":"C:\\literal"}"#, "anonymous + token C:\\literal"),
        (r#"{"creds":"$D/x.creds"}"#, "creds /d/x.creds"),
        (r#"{"creds":"${D}/~"}"#, "creds /d/~"),
        (r#"{"creds":"~/x.creds"}"#, "creds /h/x.creds"),
        (r#"{"creds":"$MISSING/x"}"#, "creds /x"),
        (r#"{"creds":"file:///a/b"}"#, "creds /a/b"),
        (r#"{"creds":"file://$D/b"}"#, "creds /d/b"),
        (r#"{"creds":"env://PW"}"#, "creds from env"),
        (r#"{"creds":"nsc://o/a/u"}"#, "creds nsc://o/a/u"),
        (r#"{"creds":"C:\\x.creds"}"#, "creds C:\\x.creds"),
        (r#"{"nkey":"~/x.nk"}"#, "nkey /h/x.nk"),
    ] {
        assert_eq!(who(&resolve(&none, vars, json)), expected, "{json}");
    }
    for (json, hint) in [
        (r#"{"creds":"env://MISSING"}"#, "MISSING"),
        (r#"{"creds":"vault://x"}"#, "unknown scheme"),
        (r#"{"token":"data:text,canary"}"#, "token"),
    ] {
        let error = Settings::resolve(&none, &env(vars), Some(&context(json))).unwrap_err();
        assert_eq!(error.kind(), ConnectErrorKind::Credentials);
        let text = format!("{error} {}", std::error::Error::source(&error).unwrap());
        assert!(text.contains(hint) && !text.contains("canary"), "{text}");
    }
}

#[test]
fn tls_files_are_paths_and_certificates_have_keys() {
    let none = ConnectArgs::default();
    let settings = resolve(&none, &[], r#"{"cert":"file:///c","key":"/k"}"#);
    assert_eq!(settings.tls_cert.value, Some(("/c".into(), "/k".into())));
    assert!(settings.requires_tls());
    let (kind, text) = refused(&none, &[], r#"{"cert":"/c"}"#);
    assert_eq!(kind, ConnectErrorKind::Configuration);
    assert!(text.contains("without key"), "{text}");
    let (kind, text) = refused(&none, &[], r#"{"ca":"data:;base64,eA=="}"#);
    assert_eq!(kind, ConnectErrorKind::Configuration);
    assert!(text.contains("ca") && text.contains("`data`"), "{text}");
    assert!(Settings::from_url("tls://h").unwrap().requires_tls());
    assert!(!Settings::from_url("nats://h").unwrap().requires_tls());
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let none = ConnectArgs::default();
    for (args, vars, json, name) in [
        (&args(|args| args.socks_proxy = Some("p:1".to_owned())), &[][..], "{}", "socks_proxy"),
        (&none, &[("NATS_SOCKS_PROXY", "p:1")], "{}", "NATS_SOCKS_PROXY"),
        (&none, &[], r#"{"socks_proxy":"p:1"}"#, "socks_proxy"),
        (&none, &[], r#"{"windows_cert_store":"x"}"#, "windows_cert_store"),
        (&none, &[], r#"{"url":"wss://h"}"#, "wss://h"),
    ] {
        let (kind, text) = refused(args, Box::leak(vars.to_vec().into_boxed_slice()), json);
        assert_eq!(kind, ConnectErrorKind::UnsupportedSetting);
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn an_inbox_prefix_must_be_a_subject() {
    for prefix in ["a b", "a.*", ">", "a..b"] {
        let error = Settings::builder().inbox_prefix(prefix).build().unwrap_err();
        assert_eq!(error.kind(), ConnectErrorKind::Configuration, "{prefix}");
    }
}

#[test]
fn traps_are_told() {
    let warned = |args: &ConnectArgs, vars, json, part: &str| {
        let settings = resolve(args, vars, json);
        let warnings = settings.warnings().join("; ");
        assert!(warnings.contains(part), "{warnings}");
    };
    let none = ConnectArgs::default();
    warned(&none, &[("NATS_URL", "nats://e")], r#"{"url":"nats://c"}"#, "NATS_URL");
    warned(&args(|args| args.jwt = secret("/x.jwt")), &[], "{}", "file://");
    warned(&none, &[("NATS_COLOR", "pink")], "{}", "pink");
    assert_eq!(resolve(&none, &[("NATS_URL", "nats://e")], "{}").warnings(), [] as [&str; 0]);
}

#[cfg(unix)]
#[test]
fn secret_files_that_others_may_read_are_told() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.creds");
    let warnings = |mode| {
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Settings::builder().creds(path.to_str().unwrap()).build().unwrap().warnings().len()
    };
    assert_eq!((warnings(0o600), warnings(0o640), warnings(0o604)), (0, 1, 1));
}

#[cfg(unix)]
#[test]
fn contexts_are_found_loaded_and_never_guessed() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("nats/context");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("prod.json"), r#"{"url":"nats://prod"}"#).unwrap();
    let root = home.path().to_str().unwrap().to_owned();
    let env = move |name: &str| match name {
        "XDG_CONFIG_HOME" => Some(root.clone()),
        "NATS_URL" => Some("nats://env".to_owned()),
        _ => None,
    };
    let named = args(|args| args.context = Some("prod".to_owned()));
    let settings = Settings::load(&named, &env).unwrap();
    assert_eq!(settings.servers(), ["nats://env"], "the variable beats the context, as in the nats tool");
    assert_eq!(settings.context(), Some(directory.join("prod.json").as_path()));
    assert_eq!(Settings::from_context("prod", &env).unwrap().servers(), ["nats://prod"]);
    let missing = args(|args| args.context = Some("prdo".to_owned()));
    assert_eq!(Settings::load(&missing, &env).unwrap_err().kind(), ConnectErrorKind::ContextNotFound);
}

#[cfg(unix)]
#[test]
fn a_helper_program_is_asked_for_its_references() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("op");
    fs::write(&program, "#!/bin/sh\nprintf 'secret of %s\\n' \"$2\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let settings = Settings::builder()
        .resolver(std::sync::Arc::new(crate::OnePassword::with_program(&program)))
        .token("op://vault/item")
        .build()
        .unwrap();
    use secrecy::ExposeSecret;
    let token = settings.credentials.value.token.as_ref().unwrap().fetch().unwrap();
    assert_eq!(token.expose_secret(), "secret of op://vault/item");
}

#[test]
fn nothing_that_is_shown_holds_a_secret() {
    let json = r#"{"url":"nats://canary:canary@h","password":"canary","user":"bob","token":"canary"}"#;
    let settings = resolve(
        &args(|args| args.server = secret("nats://canary:canary@flag")),
        &[("NATS_PASSWORD", "canary")],
        json,
    );
    let shown = format!("{settings:?} {:?} {:?}", settings.explain(), settings.servers());
    assert!(shown.contains("bob") && shown.contains("nats://flag") && !shown.contains("canary"), "{shown}");
    let args = args(|args| {
        args.server = secret("canary");
        args.password = secret("canary");
        args.jwt = secret("canary");
    });
    assert!(!format!("{args:?}").contains("canary"));
}

#[test]
fn programs_decide_for_themselves() {
    let settings = Settings::builder()
        .server("nats://a, nats://b")
        .user_and_password("bob", "pw")
        .domain("hub")
        .name("worker")
        .timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    assert_eq!(settings.servers(), ["nats://a", "nats://b"]);
    assert_eq!(settings.api_prefix(), "$JS.hub.API");
    assert_eq!(settings.event_prefix(), "$JS.EVENT");
    assert_eq!(settings.timeout(), Duration::from_secs(2));
    assert_eq!(settings.clone().with_default_name("other").name(), "worker");
    let unnamed = Settings::from_url("h").unwrap().with_default_name("sluicegate/0.1.0 demo");
    assert_eq!(unnamed.name(), "sluicegate/0.1.0 demo");
    assert!(Settings::resolve(&ConnectArgs::default(), &NoEnv, None).is_ok());
    assert_eq!(settings.context(), None::<&Path>);
}

#[cfg(feature = "clap")]
mod flags {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        connect: ConnectArgs,
        #[command(subcommand)]
        command: Option<Command>,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Command {
        Run,
    }

    fn parse(line: &str) -> ConnectArgs {
        Program::try_parse_from(line.split_whitespace()).unwrap().connect
    }

    #[test]
    fn flags_stand_before_or_after_the_subcommand() {
        for line in ["p -s nats://x --user u run", "p run --user u --server nats://x"] {
            assert_eq!(
                Settings::resolve(&parse(line), &NoEnv, None).unwrap().servers(),
                ["nats://x"],
                "{line}"
            );
        }
    }

    #[test]
    fn booleans_are_written_in_three_ways() {
        for (line, first) in [
            ("p", None),
            ("p --tlsfirst", Some(true)),
            ("p --tls-first", Some(true)),
            ("p --tlsfirst=false", Some(false)),
            ("p --tlsfirst=true", Some(true)),
            ("p --no-tlsfirst", Some(false)),
            ("p --no-tlsfirst --tlsfirst=true", Some(true)),
            ("p --tlsfirst --no-tlsfirst", Some(false)),
        ] {
            assert_eq!(parse(line).wants_tls_first(), first, "{line}");
        }
        for (line, trace) in
            [("p --trace=true", true), ("p --trace", true), ("p", false), ("p --trace --no-trace", false)]
        {
            assert_eq!(parse(line).wants_trace(), trace, "{line}");
        }
        assert!(parse("p run --no-context").no_context);
        assert!(!parse("p run --no-context=false").no_context);
    }

    #[test]
    fn flags_that_are_wrong_are_named() {
        for line in ["p --timeout 5", "p --colors pink"] {
            assert!(Program::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
        assert_eq!(parse("p --timeout 5s --domain hub").js_domain.as_deref(), Some("hub"));
    }
}
