//! What choria's scripts call: answers and errors are JSON on stdout, in the words that they expect.

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use serde::Serialize;
use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_governor::{Filter, Force, GovernorAdmin, GovernorConfig, Wire};
use sluicegate_nats::Connection;

use crate::Failure;
use crate::cx::Cx;
use crate::governor::args::ApiArgs;
use crate::output;

#[derive(Debug, Serialize)]
struct Checked {
    api: &'static str,
}

#[derive(Debug, Serialize)]
struct Refused {
    error: String,
}

/// The fields in the order of their names, as choria's `--ensure` writes them.
#[derive(Debug, Serialize)]
struct Governor {
    capacity: u64,
    collective: String,
    expire: u64,
    name: String,
    replicas: u8,
}

/// The same in the order of choria's `--list`.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    capacity: u64,
    expire: u64,
    replicas: u8,
    collective: String,
}

pub(crate) async fn api(cx: &Cx<'_>, args: &ApiArgs) -> Result<u8, Failure> {
    let (answer, code) = match call(cx, args).await {
        Ok(answer) => (answer, 0),
        Err(error) => (output::json(&Refused { error })?, 1),
    };
    output::print_lines(&answer)?;
    Ok(code)
}

async fn call(cx: &Cx<'_>, args: &ApiArgs) -> Result<String, String> {
    if args.check {
        return json(&Checked { api: "ok" });
    }
    if args.ensure {
        let config = config(args)?;
        return ensure(cx, &connection(cx).await?, &config, args).await;
    }
    if args.list {
        return list(&connection(cx).await?, args).await;
    }
    if args.delete {
        if args.name.is_empty() {
            return Err("no name given".to_owned());
        }
        return delete(cx, &connection(cx).await?, &args.name).await.map(|()| String::new());
    }
    Err("no command given".to_owned())
}

async fn connection(cx: &Cx<'_>) -> Result<Connection, String> {
    cx.connection("api").await.map_err(|error| error.to_string())
}

fn config(args: &ApiArgs) -> Result<GovernorConfig, String> {
    if args.name.is_empty() {
        return Err("name required".to_owned());
    }
    let capacity = u32::try_from(args.capacity).ok().and_then(NonZeroU32::new);
    let capacity = capacity.ok_or("capacity can not be 0")?;
    let expire = u64::try_from(args.expire).map_err(|_| "expire must be >= 0")?;
    let replicas = u8::try_from(args.replicas).ok().and_then(NonZeroU8::new);
    let replicas = replicas.filter(|replicas| replicas.get() <= 5).ok_or("replicas should be 1-5")?;
    if args.collective.is_empty() {
        return Err("collective is required".to_owned());
    }
    let subject = format!("{}.governor.{}", args.collective, args.name);
    let config = GovernorConfig::try_new(&args.name, capacity, Duration::from_secs(expire)).map_err(said)?;
    Ok(config.replicas(replicas).subject(subject))
}

/// Choria's moves the subject too, without a word.
async fn ensure(
    cx: &Cx<'_>,
    connection: &Connection,
    config: &GovernorConfig,
    args: &ApiArgs,
) -> Result<String, String> {
    let subject = config.subject.clone().unwrap_or_default();
    match GovernorAdmin::bind_on(connection, &args.name, config.wire).await {
        Ok(governor) => governor.set_subject(&subject, Force::Yes).await.map_err(said)?,
        Err(error) if error.kind() == LeaseErrorKind::NotFound => {}
        Err(error) => return Err(said(error)),
    }
    let (governor, _) = GovernorAdmin::ensure(connection, config).await.map_err(said)?;
    let view = governor.view().await.map_err(said)?;
    cx.flush(&governor).await;
    json(&Governor {
        capacity: view.limit.unwrap_or_default(),
        collective: collective(view.subject.as_deref()),
        expire: view.ttl.unwrap_or_default().as_secs(),
        name: view.name.to_string(),
        replicas: view.replicas,
    })
}

async fn list(connection: &Connection, args: &ApiArgs) -> Result<String, String> {
    let filter =
        if args.collective.is_empty() { Filter::all() } else { Filter::all().collective(&args.collective) };
    let found = GovernorAdmin::list(connection, &filter).await.map_err(said)?;
    // Choria knows no other wire.
    let found = found.into_iter().filter(|governor| governor.wire == Wire::Campaign);
    let listed: Vec<_> = found
        .map(|governor| Listed {
            capacity: governor.limit.unwrap_or_default(),
            expire: governor.ttl.unwrap_or_default().as_secs(),
            replicas: governor.replicas,
            collective: collective(governor.subject.as_deref()),
            name: governor.name,
        })
        .collect();
    json(&listed)
}

/// One that is not there is as good as removed.
async fn delete(cx: &Cx<'_>, connection: &Connection, name: &str) -> Result<(), String> {
    match GovernorAdmin::bind(connection, name).await {
        Ok(governor) => {
            governor.delete().await.map_err(said)?;
            cx.flush(&governor).await;
            Ok(())
        }
        Err(error) if error.kind() == LeaseErrorKind::NotFound => Ok(()),
        Err(error) => Err(said(error)),
    }
}

/// The first token of the subject.
fn collective(subject: Option<&str>) -> String {
    subject.and_then(|subject| subject.split('.').next()).unwrap_or_default().to_owned()
}

fn json(answer: &impl Serialize) -> Result<String, String> {
    output::json(answer).map_err(|error| error.to_string())
}

fn said(error: LeaseError) -> String {
    error.to_string()
}
