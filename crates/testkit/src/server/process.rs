use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::time::{Instant, sleep};

use super::spawn::{User, mortal, spawn};
use super::workdir::WorkDir;
use super::{ServerError, ServerErrorKind};

const READY_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(4);
/// Below the range that systems take ports from by themselves, so that nobody is given the port of a server
/// that is down just now.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// In what the programs differ, apart from their arguments.
#[derive(Debug)]
pub(super) struct Manner {
    /// The line of the log that says the server answers.
    pub(super) ready: &'static str,
    /// The flags before the host and the port.
    pub(super) host_and_port: [&'static str; 2],
    /// Ends it in order.
    pub(super) stop: Signal,
    /// Ends it at once.
    pub(super) kill: Signal,
    /// Who it runs as, where that is not who we are.
    pub(super) user: Option<User>,
}

impl Manner {
    /// That of nats-server and of all that grew from it.
    pub(super) fn nats(ready: &'static str) -> Self {
        Self { ready, host_and_port: ["-a", "-p"], stop: Signal::TERM, kill: Signal::KILL, user: None }
    }
}

/// A server program as a child process, with a fixed port and a log.
#[derive(Debug)]
pub(super) struct Process {
    program: PathBuf,
    arguments: Vec<OsString>,
    manner: Manner,
    address: SocketAddr,
    dir: WorkDir,
    child: Mutex<Option<Child>>,
    /// One start, stop or kill at a time.
    turn: tokio::sync::Mutex<()>,
}

enum StartFailure {
    PortTaken(ServerError),
    Other(ServerError),
}

impl Process {
    /// A process that has not been started yet.
    pub(super) fn new(
        program: PathBuf,
        arguments: Vec<OsString>,
        manner: Manner,
        address: SocketAddr,
        dir: WorkDir,
    ) -> Self {
        let (child, turn) = (Mutex::new(None), tokio::sync::Mutex::new(()));
        Self { program, arguments, manner, address, dir, child, turn }
    }

    /// Starts the program on this port, or not at all.
    pub(super) async fn start_here(self) -> Result<Self, ServerError> {
        let address = self.address;
        let taken =
            || ServerError::new(ServerErrorKind::Start, format!("{address} is taken: choose another port"));
        if self.try_start().await? { Ok(self) } else { Err(taken()) }
    }

    /// Starts the program; if somebody took its port, on another one.
    pub(super) async fn start(mut self) -> Result<Self, ServerError> {
        while !self.try_start().await? {
            self.address = free_address()?;
        }
        Ok(self)
    }

    /// Starts the program; `false` = a port it needs is taken.
    pub(super) async fn try_start(&self) -> Result<bool, ServerError> {
        let _turn = self.turn.lock().await;
        match self.launch().await {
            Ok(()) => Ok(true),
            Err(StartFailure::PortTaken(_)) => Ok(false),
            Err(StartFailure::Other(error)) => Err(error),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id while the server runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.dir.log()).unwrap_or_default()
    }

    /// Starts the server again on its port and its data; stops it first if it runs.
    pub(super) async fn restart(&self) -> Result<(), ServerError> {
        self.stop().await?;
        let _turn = self.turn.lock().await;
        let until = Instant::now() + READY_WITHIN;
        loop {
            match self.launch().await {
                Ok(()) => return Ok(()),
                Err(StartFailure::PortTaken(error)) if Instant::now() >= until => return Err(error),
                Err(StartFailure::PortTaken(_)) => sleep(POLL).await,
                Err(StartFailure::Other(error)) => return Err(error),
            }
        }
    }

    /// SIGKILL, or what the program has in its place. Done when the process is gone.
    pub(super) async fn kill(&self) -> Result<(), ServerError> {
        let _turn = self.turn.lock().await;
        self.signal(self.manner.kill)?;
        self.gone(STOP_WITHIN).await
    }

    /// SIGTERM, or what the program has in its place, also for a paused server. Done when the process is gone; fine if it already was.
    pub(super) async fn stop(&self) -> Result<(), ServerError> {
        let _turn = self.turn.lock().await;
        if self.pid().is_none() {
            return Ok(());
        }
        self.signal(self.manner.stop)?;
        self.signal(Signal::CONT)?;
        self.gone(STOP_WITHIN).await
    }

    /// SIGSTOP. Done when every thread of the server stands still.
    pub(super) fn pause(&self) -> Result<(), ServerError> {
        let pid = self.signal(Signal::STOP)?;
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let failed = |error| ServerError::io("cannot wait for the server to stop", error);
        match waitid(WaitId::Pid(pid), options).map_err(failed)? {
            Some(status) if status.stopped() => Ok(()),
            _ => Err(ServerError::new(ServerErrorKind::State, "the server ended instead of pausing")),
        }
    }

    /// SIGCONT.
    pub(super) fn resume(&self) -> Result<(), ServerError> {
        self.signal(Signal::CONT).map(drop)
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: Signal) -> Result<Pid, ServerError> {
        let child = self.child();
        let not_running =
            || ServerError::new(ServerErrorKind::State, "the server does not run: restart it first");
        let pid = Pid::from_child(child.as_ref().ok_or_else(not_running)?);
        kill_process(pid, signal).map_err(|error| ServerError::io("cannot signal the server", error))?;
        Ok(pid)
    }

    /// Waits until the process has been reaped.
    async fn gone(&self, within: Duration) -> Result<(), ServerError> {
        let until = Instant::now() + within;
        while !self.reaped()? {
            if Instant::now() >= until {
                let context = format!("the server did not end within {within:?}\n{}", self.tail(0));
                return Err(ServerError::new(ServerErrorKind::State, context));
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    fn reaped(&self) -> Result<bool, ServerError> {
        let mut child = self.child();
        let Some(running) = child.as_mut() else { return Ok(true) };
        let status =
            running.try_wait().map_err(|error| ServerError::io("cannot wait for the server", error))?;
        if status.is_some() {
            *child = None;
        }
        Ok(status.is_some())
    }

    /// Starts the process and waits until it says that it is ready.
    async fn launch(&self) -> Result<(), StartFailure> {
        let from = self.spawn().map_err(StartFailure::Other)?;
        let until = Instant::now() + READY_WITHIN;
        loop {
            // First the process, then the log: a server that ended has written everything.
            let ended = self.reaped().map_err(StartFailure::Other)?;
            let log = self.log_from(from);
            if ended {
                let context = format!("{} ended at its start\n{}", self.program.display(), self.tail(from));
                let error = ServerError::new(ServerErrorKind::Start, context);
                let taken = log.to_lowercase().contains("address already in use");
                return Err(if taken { StartFailure::PortTaken(error) } else { StartFailure::Other(error) });
            }
            if log.contains(self.manner.ready) {
                return Ok(());
            }
            if Instant::now() >= until {
                let name = self.program.display();
                let context = format!("{name} was not ready after {READY_WITHIN:?}\n{}", self.tail(from));
                return Err(StartFailure::Other(ServerError::new(ServerErrorKind::Start, context)));
            }
            sleep(POLL).await;
        }
    }

    /// Starts the process; returns where its part of the log begins.
    fn spawn(&self) -> Result<u64, ServerError> {
        let failed = |error| ServerError::io("cannot write the server's log", error);
        let log = OpenOptions::new().create(true).append(true).open(self.dir.log()).map_err(failed)?;
        let from = log.metadata().map_err(failed)?.len();
        let mut command = mortal(&self.program, self.manner.kill, self.manner.user);
        command.args(&self.arguments);
        let [host, port] = self.manner.host_and_port;
        command.arg(host).arg(self.address.ip().to_string()).arg(port).arg(self.address.port().to_string());
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(failed)?).stderr(log);
        *self.child() = Some(spawn(command)?);
        Ok(from)
    }

    fn log_from(&self, from: u64) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(self.dir.log()) {
            let _ = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines of the log.
    fn tail(&self, from: u64) -> String {
        let log = self.log_from(from);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.signal(self.manner.kill).is_err() {
            return;
        }
        if let Some(child) = self.child().as_mut() {
            let _ = child.wait();
        }
    }
}

pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// An address of the loopback interface that is free just now. Somebody may take it before the server does:
/// callers try another one then.
pub(super) fn free_address() -> Result<SocketAddr, ServerError> {
    const ATTEMPTS: usize = 100;
    for _ in 0..ATTEMPTS {
        let address = loopback(random_port());
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    let context = format!("no free port among {ATTEMPTS} of {PORTS:?}");
    Err(ServerError::new(ServerErrorKind::Start, context))
}

fn random_port() -> u16 {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let width = u64::from(PORTS.end - PORTS.start);
    PORTS.start + u16::try_from(random % width).unwrap_or_default()
}
