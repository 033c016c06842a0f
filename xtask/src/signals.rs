//! Interrupted means tidy: what runs is told and waited for, then our servers end, then we do.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::shell::{Doing, Failure, Outcome};

/// Listens for INT, TERM, HUP, QUIT and TSTP. None of them ends this process any more.
#[derive(Debug)]
pub(crate) struct Signals {
    int: Stream,
    term: Stream,
    hup: Stream,
    quit: Stream,
    tstp: Stream,
}

impl Signals {
    pub(crate) fn listen() -> Outcome<Self> {
        let stream = |kind| signal(kind).doing("cannot listen for signals");
        Ok(Self {
            int: stream(SignalKind::interrupt())?,
            term: stream(SignalKind::terminate())?,
            hup: stream(SignalKind::hangup())?,
            quit: stream(SignalKind::quit())?,
            tstp: stream(SignalKind::from_raw(Signal::TSTP.as_raw()))?,
        })
    }

    /// The next one.
    ///
    /// # Cancel safety
    ///
    /// None is lost.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.int.recv() => Signal::INT,
            _ = self.term.recv() => Signal::TERM,
            _ = self.hup.recv() => Signal::HUP,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.tstp.recv() => Signal::TSTP,
        }
    }

    /// The next one that asks for the end.
    pub(crate) async fn end(&mut self) -> Signal {
        loop {
            match self.next().await {
                Signal::TSTP => stop_ourselves(),
                signal => return signal,
            }
        }
    }
}

/// Waits for a child that leads a group of its own, and tells the group what we are told: exactly once, whether
/// it came from the terminal or from another process.
pub(crate) async fn wait(mut child: Child, signals: &mut Signals) -> Outcome<ExitStatus> {
    let group = Pid::from_child(&child);
    let mut ended = tokio::task::spawn_blocking(move || child.wait());
    loop {
        tokio::select! {
            biased;
            ended = &mut ended => return ended.doing("wait")?.doing("wait"),
            signal = signals.next() => tell(group, signal),
        }
    }
}

/// Tells a child's group what we were told.
pub(crate) fn tell(group: Pid, signal: Signal) {
    // The group may just have ended: then it needs no signal.
    if signal == Signal::TSTP {
        let _ = kill_process_group(group, Signal::STOP);
        stop_ourselves();
        let _ = kill_process_group(group, Signal::CONT);
    } else {
        let _ = kill_process_group(group, signal);
    }
}

/// As if Ctrl-Z had stopped us; returns when the shell continues us.
fn stop_ourselves() {
    let _ = kill_process(getpid(), Signal::STOP);
}

/// Waits for something that has no child to tell; ends with a failure when a signal comes first.
pub(crate) async fn unless_interrupted<T>(what: impl Future<Output = T>) -> Outcome<T> {
    let mut signals = Signals::listen()?;
    tokio::select! {
        biased;
        signal = signals.end() => Err(interrupted(signal)),
        done = what => Ok(done),
    }
}

pub(crate) fn interrupted(signal: Signal) -> Failure {
    Failure::new("interrupted").with_code(128 + signal.as_raw())
}

/// The exit code as a shell would tell it.
pub(crate) fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}
