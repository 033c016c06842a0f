use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice};
use serde_json::Value;

use super::{ResolveError, SecretBytes};

/// How long a helper program may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// Runs a helper program and takes its output, which is never shown. Blocks, at most for `limit`.
pub(crate) fn run(program: &Path, args: &[&str], limit: Duration) -> Result<SecretBytes, ResolveError> {
    let name = program.display();
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| {
            ResolveError::new(format!("`{name}` cannot be started, is it installed? {error}"))
        })?;
    let Some(mut stdout) = child.stdout.take() else {
        return Err(ResolveError::new(format!("`{name}` has no output")));
    };
    let (sender, output) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.read_to_end(&mut bytes);
        // The receiver is gone when the limit was over.
        let _ = sender.send(read.map(|_| SecretBytes::from(bytes)));
    });
    let received = output.recv_timeout(limit);
    if received.is_err() {
        // It may have ended by itself in between.
        let _ = child.kill();
    }
    let status = child.wait();
    match (received, status) {
        (Ok(Ok(bytes)), Ok(status)) if status.success() => Ok(bytes),
        (Ok(Ok(_)), Ok(status)) => {
            Err(ResolveError::new(format!("`{name}` failed ({status}), run it by hand to see why")))
        }
        (Err(_), _) => Err(ResolveError::new(format!("`{name}` took longer than {limit:?}"))),
        (Ok(Err(error)), _) | (_, Err(error)) => Err(ResolveError::new(format!("`{name}`: {error}"))),
    }
}

/// What `nsc generate profile` tells.
#[derive(Debug)]
pub(crate) struct NscProfile {
    pub(crate) creds: PathBuf,
    pub(crate) servers: Vec<String>,
}

impl NscProfile {
    pub(crate) fn generate(nsc: &Path, reference: &str, limit: Duration) -> Result<Self, ResolveError> {
        let json = run(nsc, &["generate", "profile", reference], limit)?;
        Self::parse(&json)
    }

    fn parse(json: &SecretSlice<u8>) -> Result<Self, ResolveError> {
        let profile: Value = serde_json::from_slice(json.expose_secret())
            .map_err(|_| ResolveError::new("`nsc generate profile` wrote no JSON"))?;
        let creds = profile
            .get("user_creds")
            .and_then(Value::as_str)
            .filter(|path| !path.is_empty())
            .ok_or_else(|| ResolveError::new("the nsc profile names no `user_creds`"))?;
        // The ADR has a text, jsm.go a list.
        let servers = match profile.pointer("/operator/service") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => {
                many.iter().filter_map(|service| service.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        };
        Ok(Self { creds: PathBuf::from(creds), servers })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<SecretBytes, ResolveError> {
        run(Path::new("/bin/sh"), &["-c", script], limit)
    }

    #[test]
    fn takes_the_output_of_a_program_that_succeeds() {
        assert_eq!(sh("printf hello", LIMIT).unwrap().expose_secret(), b"hello");
    }

    #[test]
    fn shows_nothing_of_the_output_of_a_program_that_fails() {
        let error = sh("printf canary; printf canary >&2; exit 3", LIMIT).unwrap_err().to_string();
        assert!(error.contains("failed") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn ends_a_program_that_takes_too_long() {
        let error = sh("exec sleep 600", Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("took longer"), "{error}");
    }

    #[test]
    fn names_a_program_that_is_not_there() {
        let error = run(Path::new("/nonexistent/op"), &[], LIMIT).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/op") && error.contains("installed"), "{error}");
    }

    #[test]
    fn reads_both_shapes_of_an_nsc_profile() {
        for (service, servers) in [
            (r#""nats://a:4222""#, vec!["nats://a:4222"]),
            (r#"["nats://a","nats://b"]"#, vec!["nats://a", "nats://b"]),
            ("null", vec![]),
        ] {
            let json = format!(r#"{{"user_creds":"/keys/u.creds","operator":{{"service":{service}}}}}"#);
            let profile = NscProfile::parse(&json.into_bytes().into()).unwrap();
            assert_eq!(profile.creds, PathBuf::from("/keys/u.creds"));
            assert_eq!(profile.servers, servers);
        }
        for json in ["", "[]", "{}", r#"{"user_creds":""}"#] {
            assert!(NscProfile::parse(&json.as_bytes().to_vec().into()).is_err(), "{json}");
        }
    }
}
