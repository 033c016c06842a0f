//! PostgreSQL, for what writes into a database.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Signal, geteuid};

use super::locate::{version_of, which};
use super::process::{Manner, Process, free_address, loopback};
use super::spawn::User;
use super::workdir::WorkDir;
use super::{ServerError, ServerErrorKind};

const VARIABLE: &str = "SLUICEGATE_POSTGRES_URL";
const READY: &str = "database system is ready to accept connections";
/// Where Debian puts each version: `<here>/15/bin`.
const DEBIAN: &str = "/usr/lib/postgresql";
const SUPERUSER: &str = "postgres";

/// A PostgreSQL on the loopback interface, with a data directory of its own. Dropping it ends it and removes its data;
/// it also dies when this process is killed.
///
/// It does not sync to disk (`fsync=off`): what it has committed survives [`kill`](Self::kill), but not a crash of the
/// machine. Nobody should keep data in it.
#[derive(Debug)]
pub struct PostgresServer {
    url: String,
    /// None for a server that the environment names.
    process: Option<Process>,
    version: String,
}

impl PostgresServer {
    /// The newest PostgreSQL of this machine, with its defaults.
    ///
    /// # Errors
    ///
    /// There is none, or it did not start; the message says what to do.
    pub async fn start() -> Result<Self, ServerError> {
        Self::builder().start().await
    }

    /// With other options.
    pub fn builder() -> PostgresServerBuilder {
        PostgresServerBuilder::default()
    }

    /// What [`start`](Self::start) would start, for people.
    ///
    /// # Errors
    ///
    /// [`ServerErrorKind::Unavailable`] with every way to get one.
    pub fn find() -> Result<String, ServerError> {
        if let Ok(url) = std::env::var(VARIABLE) {
            return Ok(format!("PostgreSQL at {url}, from {VARIABLE}"));
        }
        let programs = find_programs()?;
        Ok(format!("PostgreSQL {}: {}", programs.version, programs.postgres.display()))
    }

    /// `postgres://postgres:PASSWORD@127.0.0.1:PORT/postgres`, a superuser; stays the same over restarts.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where clients connect; none for a server that the environment names.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.process.as_ref().map(Process::address)
    }

    /// The version of the server, for example `15.12`; empty for a server that the environment names.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The id of the first of its processes, if it runs here and now.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Process::pid)
    }

    /// What the server has logged since its first start.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// An immediate shutdown (SIGQUIT): connections are cut, transactions are lost, the next start recovers what was
    /// committed. Not SIGKILL, after which its other processes and a piece of shared memory stay for a while.
    ///
    /// # Errors
    ///
    /// It does not run, or it is not ours.
    ///
    /// # Cancel safety
    ///
    /// This and the other calls that disturb the server: the signal may have been sent.
    pub async fn kill(&self) -> Result<(), ServerError> {
        self.ours("kill")?.kill().await
    }

    /// A fast shutdown (SIGINT): connections are cut, transactions are rolled back. At once if it was down.
    ///
    /// # Errors
    ///
    /// It does not end within 15 s, or it is not ours.
    pub async fn stop(&self) -> Result<(), ServerError> {
        self.ours("stop")?.stop().await
    }

    /// Starts the server again with its port and its data; stops it first if it runs. Done when it is ready.
    ///
    /// # Errors
    ///
    /// It does not start, or it is not ours.
    pub async fn restart(&self) -> Result<(), ServerError> {
        self.ours("restart")?.restart().await
    }

    fn ours(&self, what: &str) -> Result<&Process, ServerError> {
        self.process.as_ref().ok_or_else(|| refuse(what))
    }
}

fn refuse(what: &str) -> ServerError {
    let context = format!("cannot {what} the server named by {VARIABLE}: unset it for this test");
    ServerError::new(ServerErrorKind::External, context)
}

/// How a [`PostgresServer`] shall be.
#[derive(Clone, Debug, Default)]
pub struct PostgresServerBuilder {
    port: Option<u16>,
    settings: Vec<(String, String)>,
}

impl PostgresServerBuilder {
    /// That port. Default: a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// How many connections it takes, with none reserved for superusers: one more is refused with 53300. Default: 100.
    #[must_use]
    pub fn max_connections(self, connections: u16) -> Self {
        self.setting("max_connections", connections)
    }

    /// A setting as in `postgresql.conf`, for example `("deadlock_timeout", "100ms")`. Leave ports and logging alone.
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Makes the data directory and starts the server; done when it is ready.
    ///
    /// # Errors
    ///
    /// There is no PostgreSQL on this machine, it did not start, or the environment names one that is not as asked.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop: the server ends, or never starts.
    pub async fn start(self) -> Result<PostgresServer, ServerError> {
        if let Ok(url) = std::env::var(VARIABLE) {
            if self.port.is_some() || !self.settings.is_empty() {
                return Err(refuse("configure"));
            }
            return Ok(PostgresServer { url, process: None, version: String::new() });
        }
        let port = self.port;
        let made = tokio::task::spawn_blocking(move || self.make());
        let (process, password, version) = made
            .await
            .map_err(|error| ServerError::io("the making of a PostgreSQL was stopped", error))??;
        let process = if port.is_some() { process.start_here().await? } else { process.start().await? };
        let url = format!("postgres://{SUPERUSER}:{password}@{}/postgres", process.address());
        Ok(PostgresServer { url, process: Some(process), version })
    }

    /// The server with its data directory, not started yet.
    fn make(self) -> Result<(Process, String, String), ServerError> {
        let programs = find_programs()?;
        let dir = WorkDir::create()?;
        let user = whom_to_be()?;
        if let Some(user) = user {
            let failed = |error| ServerError::io("cannot give PostgreSQL a directory", error);
            chown(dir.path(), Some(user.uid), Some(user.gid)).map_err(failed)?;
        }
        let (data, password) = (dir.path().join("data"), random_password());
        init(&programs.initdb, &data, &password, user, dir.path())?;
        // No socket in the file system: its path might be too long.
        let mut arguments: Vec<OsString> = vec!["-D".into(), data.into(), "-k".into(), "".into()];
        // Tests need no disk. Everything committed is with the system, which survives what we do to the server.
        let always = ["fsync=off", "full_page_writes=off", "superuser_reserved_connections=0"];
        let settings = self.settings.iter().map(|(name, value)| format!("{name}={value}"));
        for setting in always.map(str::to_owned).into_iter().chain(settings) {
            arguments.extend(["-c".into(), setting.into()]);
        }
        let manner =
            Manner { ready: READY, host_and_port: ["-h", "-p"], stop: Signal::INT, kill: Signal::QUIT, user };
        let address = self.port.map_or_else(free_address, |port| Ok(loopback(port)))?;
        let process = Process::new(programs.postgres, arguments, manner, address, dir);
        Ok((process, password, programs.version))
    }
}

struct Programs {
    initdb: PathBuf,
    postgres: PathBuf,
    version: String,
}

/// PATH first, as for the other servers; then the newest of Debian's.
fn find_programs() -> Result<Programs, ServerError> {
    let on_path = || Some((which("initdb")?, which("postgres")?));
    let in_debian = || {
        let bin = newest(Path::new(DEBIAN))?.join("bin");
        let pair = (bin.join("initdb"), bin.join("postgres"));
        (pair.0.is_file() && pair.1.is_file()).then_some(pair)
    };
    let Some((initdb, postgres)) = on_path().or_else(in_debian) else {
        return Err(ServerError::new(ServerErrorKind::Unavailable, explain()));
    };
    let version = version_of(&postgres).unwrap_or_default();
    Ok(Programs { initdb, postgres, version })
}

/// The directory in `dir` whose name is the largest number.
fn newest(dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    let numbered =
        entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    numbered.max_by_key(|(version, _): &(u32, PathBuf)| *version).map(|(_, path)| path)
}

fn explain() -> String {
    format!(
        "no PostgreSQL: neither are initdb and postgres on PATH nor in {DEBIAN}/*/bin\nany one of these helps:\n  \
         - apt-get install postgresql   (Debian, Ubuntu)\n  \
         - put the directory of another installation, with initdb and postgres, on PATH\n  \
         - export {VARIABLE}=postgres://USER:PASSWORD@HOST/DATABASE   (a server that runs already)"
    )
}

/// PostgreSQL refuses to be root: then it is `postgres`, or `nobody` where there is no such user.
fn whom_to_be() -> Result<Option<User>, ServerError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let users =
        fs::read_to_string("/etc/passwd").map_err(|error| ServerError::io("cannot read the users", error))?;
    let user = ["postgres", "nobody"].into_iter().find_map(|name| user_called(name, &users));
    let none = || {
        let context = "PostgreSQL does not run as root, and there is no user `postgres` or `nobody`";
        ServerError::new(ServerErrorKind::Unavailable, context)
    };
    user.ok_or_else(none).map(Some)
}

fn user_called(name: &str, passwd: &str) -> Option<User> {
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields[0] == name)?;
    Some(User { uid: line.get(2)?.parse().ok()?, gid: line.get(3)?.parse().ok()? })
}

/// Others on this machine must not get in: a superuser may run programs.
fn random_password() -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

fn init(
    initdb: &Path,
    data: &Path,
    password: &str,
    user: Option<User>,
    dir: &Path,
) -> Result<(), ServerError> {
    let failed = |error| ServerError::io("cannot write PostgreSQL's password", error);
    let password_file = dir.join("password");
    fs::write(&password_file, password).map_err(failed)?;
    if let Some(user) = user {
        chown(&password_file, Some(user.uid), Some(user.gid)).map_err(failed)?;
    }
    let mut command = match user {
        Some(user) => {
            let mut command = user.command();
            command.arg("--").arg(initdb);
            command
        }
        None => Command::new(initdb),
    };
    command.arg("-D").arg(data).arg("--pwfile").arg(&password_file).args(["-U", SUPERUSER]);
    command.args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    let output = command.current_dir(dir).stdin(Stdio::null()).output();
    let output =
        output.map_err(|error| ServerError::io(format!("cannot run {}", initdb.display()), error))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let context = format!("{} failed\n{}", initdb.display(), errors.trim_end());
    Err(ServerError::new(ServerErrorKind::Start, context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_found_by_number() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["9", "15", "common"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(newest(dir.path()), Some(dir.path().join("15")));
        assert_eq!(newest(&dir.path().join("common")), None);
    }

    #[test]
    fn users_are_read_by_their_whole_name() {
        let passwd = "root:x:0:0::/:/bin/sh\npostgresql:x:7:8:::\npostgres:x:101:104:,,,:/var/lib:/bin/sh\n";
        assert_eq!(user_called("postgres", passwd), Some(User { uid: 101, gid: 104 }));
        assert_eq!(user_called("nobody", passwd), None);
    }

    #[test]
    fn a_failed_search_names_every_way() {
        let text = explain();
        for part in ["apt-get install postgresql", "PATH", VARIABLE] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }

    #[test]
    fn passwords_differ() {
        assert_ne!(random_password(), random_password());
        assert_eq!(random_password().len(), 32);
    }
}
