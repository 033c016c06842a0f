//! Running other programs, in the open.

use std::fmt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::signals::{self, Signals};

/// Why a verb failed, for people.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    code: u8,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1 }
    }

    /// With another exit code than 1, for example that of a command.
    pub(crate) fn with_code(self, code: i32) -> Self {
        Self { code: u8::try_from(code).unwrap_or(1), ..self }
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    pub(crate) fn is_interruption(&self) -> bool {
        self.code > 128
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Adds what was being done to an error.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Failure::new(format!("{what}: {error}")))
    }
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    manifest.as_deref().and_then(Path::parent).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// A program, run in the root of the workspace.
pub(crate) fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root());
    command
}

/// The cargo that runs this.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = program("cargo", arguments);
    // What cargo sets for us is not meant for what we run: build scripts that watch it would run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text == "CARGO_MANIFEST_DIR" || text == "CARGO_MANIFEST_PATH" || text.starts_with("CARGO_PKG_") {
            command.env_remove(&name);
        }
    }
    command
}

/// The command line as one would type it.
pub(crate) fn show(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}={}", name.to_string_lossy(), quote(&value?.to_string_lossy())))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| quote(&word.to_string_lossy()));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+*".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

/// Prints the command and runs it. Signals are for the command: it ends as it likes, and we end with its code.
pub(crate) async fn run(command: &mut Command) -> Outcome {
    let shown = show(command);
    eprintln!("\n$ {shown}");
    // Who is not in the terminal's group must not read from it.
    command.stdin(Stdio::null()).process_group(0);
    let mut signals = Signals::listen()?;
    let status = signals::wait(command.spawn().doing(&shown)?, &mut signals).await?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("`{shown}` failed: {status}")).with_code(signals::code(status)))
}

/// Runs the command silently and returns what it printed.
pub(crate) fn read(command: &mut Command) -> Outcome<String> {
    let shown = show(command);
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).stderr(Stdio::piped()).output().doing(&shown)?;
    if !status.success() {
        return Err(Failure::new(format!(
            "`{shown}` failed: {status}\n{}",
            String::from_utf8_lossy(&stderr)
        )));
    }
    String::from_utf8(stdout).doing(shown)
}

/// Whether cargo has that subcommand.
pub(crate) fn cargo_has(subcommand: &str) -> bool {
    let mut command = cargo(&[subcommand, "--version"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("cargo");
        command.args(["test", "two words", ""]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(show(&command), "RUSTDOCFLAGS='-D warnings' cargo test 'two words' ''");
    }
}
