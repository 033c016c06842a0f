//! One at a time, anywhere on the network: takes a governor's slot, works for two seconds, gives it back. Start it
//! several times.
//!
//! ```console
//! $ cargo xtask up                                                       # in another terminal
//! $ cargo run -p sluicegate-examples --bin one-at-a-time -- nats://127.0.0.1:4222
//! ```
//!
//! A governor is advisory unless the resource that it protects checks the fencing token: hand `lease.token()` to
//! whatever you write to.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::num::NonZeroU32;
use std::time::Duration;

use sluicegate_core::{Holder, LeasePool, LeasePoolExt, Request, Wait};
use sluicegate_governor::{CampaignPool, GovernorConfig};
use sluicegate_nats::{Settings, connect};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned());
    let connection = connect(&Settings::from_url(&url)?).await?;
    let config = GovernorConfig::try_new("one-at-a-time", NonZeroU32::MIN, Duration::from_secs(10))?;
    let pool = CampaignPool::ensure(&connection, &config).await?;

    let holder = Holder::try_new(format!("process {}", std::process::id()))?;
    println!("{holder}: waiting for the slot");
    let wait = Wait::new().at_most(Duration::from_secs(60));
    let Some(lease) = pool.acquire(&Request::new(holder.clone()), &wait).await? else {
        println!("{holder}: still taken after a minute by {:?}", pool.held().await?);
        return Ok(());
    };
    println!("{holder}: has it, token {}, for {:?}", lease.token(), lease.remaining());
    tokio::select! {
        () = sleep(Duration::from_secs(2)) => println!("{holder}: done"),
        cause = pool.lost(&lease) => println!("{holder}: lost the slot: {cause}"),
    }
    let freed = pool.release(&lease).await?;
    println!("{holder}: {}", if freed { "gave it back" } else { "it was gone already" });
    Ok(())
}
