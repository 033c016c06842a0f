//! `cargo xtask up`

use sluicegate_testkit::server::{NatsServer, PostgresServer, StanServer, StanStore};

use crate::shell::{Doing, Outcome};
use crate::signals::Signals;

#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// A NATS Streaming (STAN) server, with its file store
    #[arg(long, conflicts_with = "version")]
    stan: bool,
    /// A PostgreSQL instead, for the example `into-postgres`
    #[arg(long, conflicts_with_all = ["stan", "version"])]
    postgres: bool,
    /// Default: a free one
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Another version, for example 2.10.26
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
}

pub(crate) async fn run(flags: Flags) -> Outcome {
    if flags.stan {
        let builder = StanServer::builder().store(StanStore::File);
        let builder = flags.port.into_iter().fold(builder, |builder, port| builder.port(port));
        let server = builder.start().await.doing("cannot start a STAN server")?;
        announce("nats-streaming-server", server.version(), &server.url());
        println!("cluster id: {}", server.cluster_id());
        wait().await?;
        return server.stop().await.doing("cannot stop it");
    }
    if flags.postgres {
        let builder = PostgresServer::builder();
        let builder = flags.port.into_iter().fold(builder, |builder, port| builder.port(port));
        let server = builder.start().await.doing("cannot start a PostgreSQL")?;
        let url = server.url();
        println!("PostgreSQL {} at {url}\nexport DATABASE_URL={url}\n{ENDS}", server.version());
        wait().await?;
        return server.stop().await.doing("cannot stop it");
    }
    let builder = flags.port.into_iter().fold(NatsServer::builder(), |builder, port| builder.port(port));
    let builder = flags.version.into_iter().fold(builder, |builder, version| builder.version(version));
    let server = builder.start().await.doing("cannot start a NATS server")?;
    announce("nats-server", server.version(), &server.url());
    wait().await?;
    server.stop().await.doing("cannot stop it")
}

const ENDS: &str = "Ctrl-C stops it and removes its data.";

fn announce(name: &str, version: &str, url: &str) {
    println!("{name} {version} at {url}\nexport NATS_URL={url}\n{ENDS}");
}

async fn wait() -> Outcome {
    Signals::listen()?.end().await;
    Ok(())
}
