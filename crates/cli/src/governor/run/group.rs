//! A command and all that it started.

use std::io::{self, IsTerminal};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions};
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::process;

/// How often it is looked whether the last process is gone, at first and at last.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// The processes of a command.
///
/// It gets a process group of its own unless stdin is a terminal: a background group that reads its terminal would be
/// stopped. In our own group, which may hold other commands of a pipeline, its processes are our descendants: for that
/// to be so also when their parents have ended, this process adopts orphans.
#[derive(Debug)]
pub(super) struct Group {
    leader: Pid,
    own: bool,
}

impl Group {
    /// Starts the command.
    ///
    /// # Errors
    /// It is not there, or cannot be executed.
    pub(super) fn spawn(command: &mut Command) -> io::Result<(Child, Self)> {
        let own = !io::stdin().is_terminal();
        if own {
            command.process_group(0);
        } else {
            #[cfg(target_os = "linux")]
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        }
        let child = command.spawn()?;
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        // A child that has not been waited for has an id.
        let leader = leader.ok_or_else(|| io::Error::other("the command has no process id"))?;
        Ok((child, Self { leader, own }))
    }

    /// The terminal tells it of Ctrl-C itself: both are in the group that has the terminal.
    pub(super) fn hears_the_terminal(&self) -> bool {
        let foreground = rustix::termios::tcgetpgrp(io::stdin());
        !self.own && foreground.is_ok_and(|group| group == rustix::process::getpgrp())
    }

    /// Sends a signal to every process there is.
    pub(super) fn send(&self, signal: Signal) {
        if self.own {
            // An empty group needs none.
            let _ = rustix::process::kill_process_group(self.leader, signal);
            return;
        }
        match self.members() {
            Some(members) => members.iter().for_each(|member| process::send(*member, signal)),
            None => process::send(self.leader.as_raw_pid(), signal),
        }
    }

    /// Completes when no process is left. To be called once the first one has ended, and was waited for.
    pub(super) async fn gone(&self) {
        let mut pause = LOOK.0;
        while self.is_alive() {
            sleep(pause).await;
            pause = (pause * 2).min(LOOK.1);
        }
    }

    /// Whether a process is left, the first one aside.
    pub(super) fn is_alive(&self) -> bool {
        let empty =
            self.own && rustix::process::test_kill_process_group(self.leader) == Err(rustix::io::Errno::SRCH);
        !empty && self.members().map_or(self.own, |members| !members.is_empty())
    }

    /// The processes that have not ended, or nothing where that cannot be told.
    fn members(&self) -> Option<Vec<i32>> {
        let all = process::all()?;
        let ours = std::process::id().cast_signed();
        let group = if self.own { self.leader } else { rustix::process::getpgrp() }.as_raw_pid();
        let candidates = if self.own { all } else { process::descendants(&all, ours) };
        if !self.own {
            let adopted =
                |p: &&process::Process| p.ended && p.parent == ours && p.pid != self.leader.as_raw_pid();
            for orphan in candidates.iter().filter(adopted) {
                // Its status interests nobody.
                let _ = rustix::process::waitpid(Pid::from_raw(orphan.pid), WaitOptions::NOHANG);
            }
        }
        let members = candidates.iter().filter(|process| process.group == group && !process.ended);
        Some(members.map(|process| process.pid).collect())
    }

    /// Waits for those that were adopted and have ended meanwhile.
    pub(super) fn reap(&self) {
        if !self.own {
            let _ = self.members();
        }
    }
}
