use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use sluicegate_testkit::server::{NatsServer, PostgresServer};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const VICTIM: &str = "SLUICEGATE_TESTKIT_VICTIM";
const MARK: &str = "server at ";

/// This test runs itself as a second process, which starts a server and is killed before it can clean up.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_killed_test_takes_its_server_with_it() {
    if std::env::var_os(VICTIM).is_some() {
        let server = NatsServer::start().await.unwrap();
        println!("{MARK}{}", server.addr());
        return std::future::pending().await;
    }
    dies_with("a_killed_test_takes_its_server_with_it").await;
}

/// The same for a server that has processes of its own.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_killed_test_takes_its_database_with_it() {
    if std::env::var_os(VICTIM).is_some() {
        let server = PostgresServer::start().await.unwrap();
        println!("{MARK}{}", server.addr().unwrap());
        return std::future::pending().await;
    }
    dies_with("a_killed_test_takes_its_database_with_it").await;
}

#[cfg(target_os = "linux")]
async fn dies_with(test: &str) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("mortality::{test}"), "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let line =
        lines.map_while(Result::ok).find(|line| line.contains(MARK)).expect("the victim starts a server");
    let address = line.split(MARK).nth(1).unwrap().to_owned();
    assert!(TcpStream::connect(&address).await.is_ok(), "the victim's server does not run");

    victim.kill().unwrap();
    victim.wait().unwrap();

    // Nothing kills a container with its test: the next test run does.
    #[cfg(feature = "container")]
    if std::env::var_os("SLUICEGATE_CONTAINER").is_some() {
        sluicegate_testkit::server::remove_abandoned_containers().await.unwrap();
    }
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(&address).await.is_ok() {
        assert!(Instant::now() < until, "the server at {address} outlived its test");
        sleep(Duration::from_millis(5)).await;
    }
}
