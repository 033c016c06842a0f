//! Children that die with this process, however it dies.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::process::Signal;

use super::{ServerError, ServerErrorKind};

type Job = (Command, Sender<io::Result<Child>>);

/// Whom a program runs as that refuses to be root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl User {
    /// `setpriv` as this user; the program and its arguments are still to come.
    pub(super) fn command(self) -> Command {
        let mut command = Command::new("setpriv");
        command.arg("--reuid").arg(self.uid.to_string()).arg("--regid").arg(self.gid.to_string());
        command.arg("--clear-groups");
        command
    }
}

/// A command whose process gets that signal (SIGQUIT or SIGKILL) from the kernel when the process that started it ends,
/// even by SIGKILL. Only Linux has that; elsewhere a killed test leaves its servers behind.
pub(super) fn mortal(program: &Path, end: Signal, user: Option<User>) -> Command {
    let mut command = if cfg!(target_os = "linux") {
        let mut command = user.map_or_else(|| Command::new("setpriv"), User::command);
        let end = if end == Signal::QUIT { "QUIT" } else { "KILL" };
        command.args(["--pdeathsig", end, "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    // Ctrl-C is for us, who then stop the server, not for both at once.
    command.process_group(0);
    command
}

/// Starts the command from one thread that lives as long as the process: the kernel kills a mortal child as
/// soon as the *thread* that started it ends, and test threads end before their servers do.
pub(super) fn spawn(command: Command) -> Result<Child, ServerError> {
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = channel();
        std::thread::spawn(move || run(&jobs));
        sender
    });
    let program = command.get_program().to_owned();
    let (reply, answer) = channel();
    let gone = || ServerError::new(ServerErrorKind::Start, "the thread that starts servers has ended");
    spawner.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?.map_err(|error| refused(&program, error))
}

fn run(jobs: &Receiver<Job>) {
    for (mut command, reply) in jobs {
        // Nobody waits for the answer any more: the child is killed with the process.
        let _ = reply.send(command.spawn());
    }
}

fn refused(program: &OsStr, error: io::Error) -> ServerError {
    let name = program.to_string_lossy();
    let remedy = if name == "setpriv" {
        "; it is in the package util-linux and kills servers with their test"
    } else {
        ""
    };
    ServerError::io(format!("cannot run {name}{remedy}"), error)
}
