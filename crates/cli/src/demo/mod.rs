//! `sluicegate demo`: the main job, guided.

mod check;
mod ending;
mod gauge;
mod narrator;
mod patience;
mod payment;
mod publisher;
mod report;
mod shop;
mod store;
mod story;
mod world;

use std::sync::Arc;

use sluicegate_nats::ConnectArgs;
#[cfg(feature = "demo")]
use sluicegate_nats::Settings;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use self::narrator::Narrator;
use self::report::{Parameters, Report};
#[cfg(feature = "demo")]
use self::world::NatsWorld;
use self::world::{CAPACITY_LEASES, MemoryWorld, PAYMENT_SLOTS, World};
use crate::Failure;
use crate::cli::{DemoArgs, OutputArgs, Speed};
use crate::code::Code;
use crate::error::CliError;
#[cfg(feature = "demo")]
use crate::failure;
use crate::output::{self, Format};
use crate::signal::Interrupt;

/// Runs the demo on the runtime that its world needs.
pub(crate) fn run(args: &DemoArgs, connect: &ConnectArgs, output: &OutputArgs) -> Result<(), Failure> {
    // Only what was typed leads to a server.
    let on_server = connect.server.is_some() || connect.context.is_some();
    refuse_what_has_no_effect(args, on_server)?;
    let real = on_server || args.speed == Some(Speed::Real);
    runtime(on_server, real)?.block_on(async {
        let narrator = Narrator::new(output.quiet, real, args.orders);
        let interrupt = Interrupt::listen()?;
        let world: Arc<dyn World> = match on_server {
            false => Arc::new(MemoryWorld::create().await?),
            true => self::on_server(args, connect, &narrator).await?,
        };
        let told = tell(args, &world, on_server, &narrator, &interrupt).await;
        narrator.finish();
        // Before anything is removed: what fails from here on does not take the result away.
        let printed = told.as_ref().map_or(Ok(()), |report| show(report, output.format()));
        let left = world.leave(args.keep).await;
        let told = told.and_then(Report::verdict);
        match (&told, &left) {
            (_, Ok(Some(kept))) => narrator.line(kept),
            // The first failure is the one to end with.
            (Err(_), Err(left)) => output::note(&left.render(output.format(), output.verbose > 0)),
            _ => {}
        }
        printed?;
        told?;
        left?;
        if let Some(signal) = interrupt.number() {
            let message = "interrupted; what was measured until then is above";
            return Err(CliError::new(Code::Interrupted(signal), message).into());
        }
        if output.format() == Format::Table && !on_server {
            narrator.line("Next: run it on a server: sluicegate demo --server nats://127.0.0.1:4222");
        }
        Ok(())
    })
}

fn refuse_what_has_no_effect(args: &DemoArgs, on_server: bool) -> Result<(), CliError> {
    let (flag, why, help) = match () {
        () if on_server && args.speed.is_some() => {
            ("--speed", "a server has only real time", "leave --speed away, or --server and --context")
        }
        () if !on_server && args.keep => {
            ("--keep", "in memory there is nothing to keep", "add --server URL, or leave --keep away")
        }
        () if !on_server && args.id.is_some() => {
            ("--id", "in memory nothing has a name", "add --server URL, or leave --id away")
        }
        () => return Ok(()),
    };
    Err(CliError::new(Code::Usage, format!("{flag} has no effect here: {why}")).help(help))
}

fn runtime(on_server: bool, real: bool) -> Result<Runtime, CliError> {
    let mut builder = if on_server { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.enable_all();
    if !real {
        builder.start_paused(true);
    }
    builder.build().map_err(|error| CliError::new(Code::Internal, format!("no runtime: {error}")))
}

fn show(report: &Report, format: Format) -> Result<(), Failure> {
    Ok(output::print(&report.render(format)?)?)
}

async fn tell(
    args: &DemoArgs,
    world: &Arc<dyn World>,
    on_server: bool,
    narrator: &Narrator,
    interrupt: &Interrupt,
) -> Result<Report, CliError> {
    let begin = Instant::now();
    #[expect(clippy::disallowed_types, reason = "a paused clock cannot tell how long it really took")]
    let wall = std::time::Instant::now();
    let orders = output::thousands(args.orders);
    narrator.line(&format!(
        "Sluicegate demo: seed {}, {orders} orders in two bursts, {}.",
        args.seed,
        world.title()
    ));
    let parameters = Parameters {
        backend: if on_server { "nats" } else { "memory" },
        orders: args.orders,
        bursts: 2,
        seed: args.seed,
        capacity_per_second: story::CAPACITY,
        capacity_leases: CAPACITY_LEASES,
        writers: story::WRITERS,
        payment_slots: PAYMENT_SLOTS,
        max_workers: story::MAX_WORKERS,
    };
    let report = story::tell(Arc::clone(world), parameters, narrator, interrupt.token()).await?;
    let (story, real) = (begin.elapsed().as_secs_f64(), wall.elapsed().as_secs_f64());
    narrator.line(&format!("{story:.0} s of story in {real:.1} s"));
    Ok(report)
}

#[cfg(feature = "demo")]
async fn on_server(
    args: &DemoArgs,
    connect: &ConnectArgs,
    narrator: &Narrator,
) -> Result<Arc<dyn World>, CliError> {
    let settings = Settings::load(connect, &|name: &str| std::env::var(name).ok());
    let settings = settings.map_err(|error| failure::connecting(&error))?;
    settings.warnings().iter().for_each(|warning| narrator.line(&format!("warning: {warning}")));
    let name = format!("sluicegate/{} demo {}", env!("CARGO_PKG_VERSION"), std::process::id());
    let connection = sluicegate_nats::connect(&settings.with_default_name(name)).await;
    let connection = connection.map_err(|error| failure::connecting(&error))?;
    let id = args.id.clone().unwrap_or_else(random_id);
    Ok(Arc::new(NatsWorld::create(connection, &id).await?))
}

#[cfg(not(feature = "demo"))]
async fn on_server(_: &DemoArgs, _: &ConnectArgs, _: &Narrator) -> Result<Arc<dyn World>, CliError> {
    Err(CliError::new(Code::UnsupportedSetting, "this build runs the demo in memory only")
        .help("leave --server and --context away, or build with feature `demo`, which brings SQLite"))
}

#[cfg(feature = "demo")]
fn random_id() -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut random = sluicegate_core::Random::fresh();
    (0..6).map(|_| char::from(LETTERS[random.below(32) as usize])).collect()
}
