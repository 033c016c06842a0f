use std::future::pending;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use sluicegate_batcher::{Batch, BatchContext, Handler, Verdicts};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::patience::Patience;
use crate::failure;
use crate::pipe::halt::{Halt, Trouble};
use crate::pipe::item::Item;
use crate::secrets::withhold_secrets;

/// What a command exits with that wants to be tried later (`EX_TEMPFAIL`).
const LATER: i32 = 75;

/// Runs a command for each batch.
#[derive(Debug)]
pub(super) struct Exec {
    program: String,
    arguments: Vec<String>,
    delimiter: u8,
    patience: Patience,
    halt: Arc<Halt>,
}

impl Exec {
    pub(super) fn new(
        program: &str,
        arguments: &[String],
        delimiter: u8,
        longest: Duration,
        halt: Arc<Halt>,
    ) -> Self {
        let patience = Patience::new(longest);
        Self { program: program.to_owned(), arguments: arguments.to_vec(), delimiter, patience, halt }
    }

    /// Runs the command to its end with that on its stdin. What it leaves unread is its own affair.
    async fn run(&self, input: &[u8]) -> io::Result<ExitStatus> {
        let mut command = Command::new(&self.program);
        // Its own group: Ctrl-C is for us, who let it finish its work.
        command.args(&self.arguments).stdin(Stdio::piped()).process_group(0).kill_on_drop(true);
        withhold_secrets(&mut command);
        let mut child = command.spawn()?;
        let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let stdin = child.stdin.take();
        let feeding = async {
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(input).await;
            }
            pending::<()>().await
        };
        let status = tokio::select! {
            biased;
            status = child.wait() => status,
            () = feeding => Err(io::Error::other("never")),
        };
        // What it leaves behind is left alone, as a shell does.
        group.spare();
        status
    }
}

#[async_trait]
impl Handler<Item, (), Trouble> for Exec {
    async fn handle(&self, batch: &mut Batch<Item>, _: &BatchContext) -> Verdicts<(), Trouble> {
        let mut input = Vec::new();
        for item in batch.iter() {
            input.extend_from_slice(&item.data);
            input.push(self.delimiter);
        }
        let status = match self.run(&input).await {
            Ok(status) => status,
            Err(error) => {
                use io::ErrorKind::{ExecutableFileBusy, OutOfMemory, WouldBlock};
                let passing = matches!(error.kind(), ExecutableFileBusy | OutOfMemory | WouldBlock);
                return Verdicts::failed(if passing {
                    Trouble::passing(format!("{}: {error}", self.program))
                } else {
                    Trouble::fatal(&self.halt, failure::not_run(&self.program, &error))
                });
            }
        };
        match (status.code(), status.signal()) {
            (Some(0), _) => {
                self.patience.restore();
                Verdicts::done()
            }
            (Some(LATER), _) => {
                let trouble = Trouble::passing(format!("{} wants to be tried later (exit 75)", self.program));
                Verdicts::throttled(Some(self.patience.pause()), trouble)
            }
            (Some(code), _) => Verdicts::failed(Trouble::passing(format!("{}: exit {code}", self.program))),
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                Verdicts::failed(Trouble::passing(format!("{}: ended by signal {signal}", self.program)))
            }
        }
    }
}

/// The processes of a command, which end with this.
struct Group(Option<Pid>);

impl Group {
    fn spare(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // An empty group needs no signal.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}
