//! From nothing to a slot.

use std::time::Duration;

use sluicegate_core::{Holder, LeaseError, LeaseErrorKind};
use sluicegate_governor::{
    CampaignPool, Governor, GovernorAdmin, GovernorError, GovernorErrorKind, NativePool, PoolOptions, Wire,
};
use sluicegate_nats::{ConnectErrorKind, Connection};
use tokio::time::{Instant, sleep};

use super::slot::{Pool, Slot};
use super::status::Status;
use super::voice::Voice;
use crate::code::Code;
use crate::cx::Cx;
use crate::error::CliError;
use crate::failure;
use crate::governor::args::{SlotArgs, Unreachable};
use crate::governor::{capacity, refused};
use crate::output::exact;
use crate::session;

/// Pauses between two tries to reach NATS, at first and at last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// How to get a slot.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub(super) verb: &'static str,
    pub(super) name: &'a str,
    pub(super) args: &'a SlotArgs,
    /// How long the work needs to stop; none: what the library thinks.
    pub(super) margin: Option<Duration>,
    pub(super) begun: Instant,
}

impl Wish<'_> {
    fn remaining(&self) -> Duration {
        self.args.max_wait().saturating_sub(self.begun.elapsed())
    }

    fn refused(&self, error: &LeaseError) -> CliError {
        refused(self.verb, self.name, error)
    }

    /// Whether to go on for as long as NATS cannot be reached.
    fn is_patient(&self) -> bool {
        self.args.if_unreachable == Unreachable::Wait && !self.remaining().is_zero()
    }
}

/// The pool of a governor, and the governor itself where it may be looked at.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) connection: Connection,
    pub(super) admin: Option<GovernorAdmin>,
    pub(super) pool: Pool,
}

/// Connects, and finds the governor.
///
/// # Errors
/// `Unreachable` once that is not waited for any longer.
pub(super) async fn find(cx: &Cx<'_>, wish: &Wish<'_>, voice: &Voice) -> Result<Found, CliError> {
    let settings = session::settings(cx.connect, cx.output, &format!("governor-{}", wish.verb))?;
    let mut pause = AGAIN.0;
    loop {
        let failed = match session::try_connect(&settings).await {
            Ok(connection) => match open(&connection, wish).await {
                Ok((admin, pool)) => {
                    admin.as_ref().and_then(capacity).into_iter().for_each(|told| voice.remark(&told));
                    return Ok(Found { connection, admin, pool });
                }
                Err(error) if error.is_transient() => wish.refused(&error),
                Err(error) => return Err(denied(wish, &error)),
            },
            Err(error) if error.kind() == ConnectErrorKind::Unreachable => failure::connecting(&error),
            Err(error) => return Err(failure::connecting(&error)),
        };
        if !wish.is_patient() {
            return Err(failed);
        }
        if pause == AGAIN.0 {
            voice.retrying(&failed.to_string());
        }
        sleep(pause.min(wish.remaining())).await;
        pause = (pause * 2).min(AGAIN.1);
    }
}

async fn open(connection: &Connection, wish: &Wish<'_>) -> Result<(Option<GovernorAdmin>, Pool), LeaseError> {
    let mut options = PoolOptions::default();
    if wish.args.lifecycle {
        options = options.lifecycle_events("sluicegate");
    }
    if let Some((ttl, subject)) = wish.args.blind(wish.name) {
        let pool = CampaignPool::without_info_with(connection, wish.name, subject, ttl, options)?;
        return Ok((None, Pool::Campaign(pool)));
    }
    let admin = GovernorAdmin::bind(connection, wish.name).await?;
    let pool = match admin.wire() {
        Wire::Campaign => Pool::Campaign(CampaignPool::bind_with(connection, wish.name, options).await?),
        Wire::Native => Pool::Native(NativePool::bind_with(connection, wish.name, options).await?),
    };
    Ok((Some(admin), pool))
}

fn denied(wish: &Wish<'_>, error: &LeaseError) -> CliError {
    let failed = wish.refused(error);
    match error.kind() {
        LeaseErrorKind::NotPermitted => {
            failed.help("grant the subject to this user, or say --ttl and --subject, to work without it")
        }
        _ => failed,
    }
}

/// The governor over that pool, which hands out permits as it is wished.
pub(super) fn governor(wish: &Wish<'_>, pool: &Pool) -> Result<Governor, CliError> {
    let holder = match &wish.args.holder {
        Some(holder) => Holder::try_new(holder),
        None => Holder::try_new(default_holder()),
    };
    let holder = holder.map_err(|error| CliError::new(Code::Usage, format!("--holder: {error}")))?;
    let builder = match pool {
        Pool::Campaign(pool) => Governor::builder(pool.clone(), holder),
        Pool::Native(pool) => Governor::builder(pool.clone(), holder),
    };
    let mut builder = builder
        .max_wait(wish.remaining())
        .poll_interval(wish.args.interval.into())
        .keep_on_finish(wish.args.max_per_period)
        .renew(wish.args.renew());
    if wish.is_patient() {
        builder = builder.patience(wish.remaining());
    }
    if let Some(margin) = wish.margin {
        builder = builder.margin(margin);
    }
    Ok(builder.build())
}

/// A slot, or why there is none.
///
/// # Cancel safety
/// The open attempt is resolved by the pool, which has to be closed.
pub(super) async fn acquire(
    wish: &Wish<'_>,
    governor: &Governor,
    found: &Found,
    voice: &Voice,
) -> Result<Slot, CliError> {
    let acquired = if wish.remaining().is_zero() {
        governor.try_acquire().await
    } else {
        let status = Status { name: wish.name, found, begun: wish.begun, at_most: wish.args.max_wait() };
        tokio::select! {
            biased;
            permit = governor.acquire() => permit.map(Some),
            never = status.show(voice) => match never {},
        }
    };
    match acquired {
        Ok(Some(permit)) => Ok(Slot::new(permit, found.pool.clone())),
        Ok(None) => Err(no_slot(wish, found).await),
        Err(error) if error.is_timeout() => Err(no_slot(wish, found).await),
        Err(error) => Err(failed(wish, &error)),
    }
}

fn failed(wish: &Wish<'_>, error: &GovernorError) -> CliError {
    match (error.lease_error(), error.kind()) {
        (Some(error), _) => wish.refused(error),
        (None, GovernorErrorKind::Closed) => CliError::new(Code::Internal, "the governor was closed"),
        (None, _) => CliError::new(Code::NoSlot, error.to_string()),
    }
}

/// That all slots are taken, and how many there are, where that may be known.
async fn no_slot(wish: &Wish<'_>, found: &Found) -> CliError {
    let name = wish.name;
    let summary = match &found.admin {
        Some(admin) => admin.summary().await.ok(),
        None => None,
    };
    let counts = summary.and_then(|summary| summary.active.zip(summary.limit));
    let waited = wish.args.max_wait();
    let message = match counts {
        Some((active, limit)) if active >= limit => {
            format!("governor {name} is full: {active} of {limit} held")
        }
        _ if waited.is_zero() => format!("governor {name} is full"),
        _ => format!("no slot of governor {name} became free in {}", exact(waited)),
    };
    let help = format!("wait with --max-wait, or see who holds them: sluicegate governor view {name}");
    CliError::new(Code::NoSlot, message).help(help).exits(wish.args.conflict_exit_code)
}

/// `user@host pid`
fn default_holder() -> String {
    let user =
        ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let user = user.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    let clean = |text: String| text.chars().filter(|c| !c.is_control()).take(100).collect::<String>();
    format!("{}@{} {}", clean(user), clean(session::host()), std::process::id())
}
