//! `governor run` and `governor hold`: work under the protection of a slot.

mod ending;
mod environment;
mod gaps;
mod group;
mod guard;
mod hold;
mod obtain;
mod process;

mod slot;
mod status;
mod voice;

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use sluicegate_governor::Governor;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use self::ending::exit_code;
use self::group::Group;
use self::guard::{Ended, Policy, watch};
pub(super) use self::hold::hold;
use self::obtain::{Found, Wish, acquire, find, governor};
use self::slot::Slot;
use self::voice::Voice;
use super::args::{OnLost, RunArgs, Unreachable};
use crate::Failure;
use crate::code::Code;
use crate::cx::{Cx, FLUSHING};
use crate::error::CliError;
use crate::failure::not_run;
use crate::signals::Signals;

/// How long the open attempt of somebody who leaves is resolved.
const LEAVING: Duration = Duration::from_millis(1_500);
/// How long a slot is given back whoever asks to end: what ended the command may reach us a little later, or again.
const GIVING_BACK: Duration = Duration::from_secs(2);

pub(super) async fn run(cx: &Cx<'_>, args: &RunArgs) -> Result<u8, Failure> {
    let begun = Instant::now();
    let (program, arguments) = args.command.split_first().ok_or_else(no_command)?;
    let voice = Voice::new(cx.output, &args.name, &program.to_string_lossy());
    let mut signals = listen()?;
    let margin = Duration::from(args.kill_after).max(Duration::from_millis(100));
    let wish = Wish { verb: "run", name: &args.name, args: &args.slot, margin: Some(margin), begun };
    let held = match take(cx, &wish, &voice, &mut signals).await {
        Ok(held) => Some(held),
        Err(error) if error.code() == Code::Unreachable && args.slot.if_unreachable == Unreachable::Run => {
            voice.unreachable(&error.to_string());
            None
        }
        Err(error) => return Err(error.into()),
    };
    let slot = held.as_ref().map(|held| &held.slot);
    if let Some(slot) = slot {
        voice.acquired(slot.id(), begun.elapsed(), slot.ttl());
    }
    let policy = Policy { kill_after: args.kill_after.into(), on_lost: args.on_lost };
    let started = Instant::now();
    let outcome = work(&args.name, program, arguments, slot, policy, &mut signals, &voice).await;
    let exit = outcome.as_ref().ok().map(|ended| exit_code(ended.status));
    match held {
        Some(held) => held.give_back(&voice, exit, &mut signals).await,
        None => exit.into_iter().for_each(|exit| voice.ended(started.elapsed(), exit)),
    }
    let ended = outcome.map_err(|error| not_run(&program.to_string_lossy(), &error))?;
    match ended.lost {
        Some(cause) if args.on_lost != OnLost::Warn => {
            let exit = exit_code(ended.status);
            let message = format!(
                "lease of governor {} lost ({cause}): the command was stopped, exit {exit}",
                args.name
            );
            let help = "choose a longer time to live, or a native governor, which renews";
            Err(CliError::new(Code::LeaseLost, message).help(help).into())
        }
        _ => Ok(exit_code(ended.status)),
    }
}

/// Runs the command until it is gone.
async fn work(
    governor: &str,
    program: &OsString,
    arguments: &[OsString],
    slot: Option<&Slot>,
    policy: Policy,
    signals: &mut Signals,
    voice: &Voice,
) -> io::Result<Ended> {
    let mut command = Command::new(program);
    command.args(arguments);
    environment::set(&mut command, governor, slot.map(Slot::told).as_ref());
    let (mut child, group) = Group::spawn(&mut command)?;
    watch(&mut child, &group, signals, slot, policy, voice).await
}

/// A slot, and all that it came from.
#[derive(Debug)]
struct Held {
    slot: Slot,
    governor: Governor,
    found: Found,
}

/// Gets a slot; a signal ends the wait and leaves no slot behind.
async fn take(cx: &Cx<'_>, wish: &Wish<'_>, voice: &Voice, signals: &mut Signals) -> Result<Held, CliError> {
    let found = tokio::select! {
        biased;
        signal = signals.next_end() => return Err(interrupted(wish.name, signal)),
        found = find(cx, wish, voice) => found?,
    };
    let governor = governor(wish, &found.pool)?;
    let taken = tokio::select! {
        biased;
        signal = signals.next_end() => Err(interrupted(wish.name, signal)),
        slot = acquire(wish, &governor, &found, voice) => slot,
    };
    voice.clear();
    match taken {
        Ok(slot) => Ok(Held { slot, governor, found }),
        Err(error) => {
            tokio::select! {
                biased;
                // Asked again: whatever is open ends with its time to live.
                _ = signals.next_end() => {}
                // What could not be resolved in that time was said by the library.
                _ = found.pool.close(LEAVING) => {}
            }
            Err(error)
        }
    }
}

impl Held {
    /// Gives the slot back; where that takes long, a signal ends the waiting for it.
    async fn give_back(self, voice: &Voice, exit: Option<u8>, signals: &mut Signals) {
        let (id, Self { slot, governor, found }) = (self.slot.id(), self);
        let giving = async {
            slot.release(voice, exit).await;
            governor.close(FLUSHING).await;
            // What is not flushed in time are hints, which others do without.
            let _ = found.pool.close(FLUSHING).await;
            let _ = found.connection.drain(FLUSHING).await;
        };
        let asked = async {
            sleep(GIVING_BACK).await;
            signals.forget();
            signals.next_end().await
        };
        tokio::select! {
            biased;
            () = giving => {}
            _ = asked => voice.not_released(id, "interrupted"),
        }
    }
}

fn listen() -> Result<Signals, CliError> {
    Signals::listen()
        .map_err(|error| CliError::new(Code::Internal, format!("cannot listen to signals: {error}")))
}

fn interrupted(name: &str, signal: u8) -> CliError {
    let message = format!("interrupted while waiting for a slot of governor {name}");
    CliError::new(Code::Interrupted(signal), message)
}

fn no_command() -> CliError {
    CliError::new(Code::Usage, "no command is given").help("sluicegate governor run NAME CMD ARG…")
}
