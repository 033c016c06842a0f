//! One at a time, anywhere on the network: takes a governor's slot, works for two seconds, gives it back. Start it
//! several times.
//!
//! ```console
//! $ cargo xtask up                                                       # in another terminal
//! $ cargo run -p sluicegate-examples --bin one-at-a-time -- nats://127.0.0.1:4222
//! ```
//!
//! A governor is advisory unless the resource that it protects checks the fencing token: hand `permit.token()` to
//! whatever you write to.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::num::NonZeroU32;
use std::time::Duration;

use sluicegate_core::{Holder, LeasePool};
use sluicegate_governor::{CampaignPool, Governor, GovernorConfig};
use sluicegate_nats::{Settings, connect};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned());
    let connection = connect(&Settings::from_url(&url)?).await?;
    let config = GovernorConfig::try_new("one-at-a-time", NonZeroU32::MIN, Duration::from_secs(10))?;
    let pool = CampaignPool::ensure(&connection, &config).await?;

    let holder = Holder::try_new(format!("process {}", std::process::id()))?;
    let governor = Governor::builder(pool.clone(), holder.clone()).max_wait(Duration::from_secs(60)).build();
    println!("{holder}: waiting for the slot");
    let permit = match governor.acquire().await {
        Ok(permit) => permit,
        Err(error) if error.is_timeout() => {
            println!("{holder}: still taken after a minute by {:?}", pool.held().await?);
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    println!("{holder}: has it, token {}, for {:?}", permit.token(), permit.lease().remaining());
    tokio::select! {
        () = sleep(Duration::from_secs(2)) => println!("{holder}: done"),
        cause = permit.lost() => println!("{holder}: lost the slot: {cause}"),
    }
    println!("{holder}: {:?}", permit.release().await?);
    Ok(())
}
