use std::time::Duration;

use sluicegate_testkit::server::{Direction, Fault, NatsServer, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::wire::Wire;

const SOON: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends back what it is sent.
async fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    address
}

async fn round_trip(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut answer = [0; 4];
    stream.write_all(b"ping").await?;
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("an answer in time")?;
    assert_eq!(&answer, b"ping");
    Ok(())
}

#[tokio::test]
async fn a_held_connection_is_silent_and_loses_nothing() {
    let proxy = Proxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    round_trip(&mut stream).await.unwrap();
    assert_eq!(proxy.connections(), 1);

    proxy.set(Fault::Hold);
    stream.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    assert!(timeout(SOON, stream.read_exact(&mut answer)).await.is_err(), "a black hole answered");
    assert_eq!(proxy.held(Direction::ToServer), 4);

    // A new one is accepted, and is as silent.
    let mut second = TcpStream::connect(proxy.addr()).await.unwrap();
    second.write_all(b"ping").await.unwrap();
    assert!(timeout(SOON, second.read_exact(&mut [0; 4])).await.is_err());

    proxy.set(Fault::Pass);
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("held bytes go on").unwrap();
    assert_eq!(&answer, b"ping");
    timeout(PATIENCE, second.read_exact(&mut answer)).await.expect("held bytes go on").unwrap();
    assert_eq!(proxy.held(Direction::ToServer), 0);
}

#[tokio::test]
async fn one_direction_can_be_held_alone() {
    let proxy = Proxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    round_trip(&mut stream).await.unwrap();
    proxy.set_one_way(Direction::ToClient, Fault::Hold);
    stream.write_all(b"ping").await.unwrap();
    assert!(timeout(SOON, stream.read_exact(&mut [0; 4])).await.is_err());
    assert_eq!((proxy.held(Direction::ToServer), proxy.held(Direction::ToClient)), (0, 4));
    proxy.set_one_way(Direction::ToClient, Fault::Pass);
    timeout(PATIENCE, stream.read_exact(&mut [0; 4])).await.expect("held bytes go on").unwrap();
}

#[tokio::test]
async fn a_delay_counts_each_way_and_keeps_the_throughput() {
    let proxy = Proxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let delay = Duration::from_millis(50);
    proxy.set(Fault::Delay(delay));
    let start = Instant::now();
    round_trip(&mut stream).await.unwrap();
    assert!(start.elapsed() >= 2 * delay, "{:?} for a round trip", start.elapsed());

    // Sent one after the other without waiting: together they take a delay, not a delay each.
    let messages = 100;
    let start = Instant::now();
    for _ in 0..messages {
        stream.write_all(b"ping").await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    timeout(PATIENCE, stream.read_exact(&mut vec![0; 4 * messages])).await.expect("all in time").unwrap();
    assert!(start.elapsed() < delay * 50, "{:?} for {messages} messages in a row", start.elapsed());
}

#[tokio::test]
async fn reset_cuts_what_is_there_and_close_also_what_comes() {
    let proxy = Proxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    round_trip(&mut stream).await.unwrap();
    proxy.reset();
    let error = timeout(PATIENCE, stream.read_exact(&mut [0; 4])).await.expect("an end in time").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    round_trip(&mut stream).await.unwrap();

    proxy.set(Fault::Close);
    assert!(timeout(PATIENCE, stream.read_exact(&mut [0; 4])).await.expect("an end in time").is_err());
    let mut refused = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(timeout(PATIENCE, refused.read_exact(&mut [0; 4])).await.expect("an end in time").is_err());
    proxy.set(Fault::Pass);
    round_trip(&mut TcpStream::connect(proxy.addr()).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_connection_is_cut_in_the_middle_of_a_message() {
    let proxy = Proxy::start(echo().await).await.unwrap();
    proxy.set_one_way(Direction::ToClient, Fault::CutAfter(6));
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    stream.write_all(b"pingping").await.unwrap();
    let mut seen = Vec::new();
    // Whether it ends with an end or a reset depends on what was still on its way.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut seen)).await.expect("an end in time");
    assert_eq!(seen, b"pingpi");
}

#[tokio::test]
async fn a_server_behind_a_proxy_is_the_same_server() {
    let server = NatsServer::shared().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let mut wire = Wire::connect(proxy.addr()).await;
    let created = wire.create_stream("PROXIED").await;
    assert_eq!(created["config"]["name"], "PROXIED", "{created}");
    assert_eq!(Wire::connect(server.addr()).await.stored("PROXIED").await, 0);
    drop(proxy);
    assert!(!wire.answers(PATIENCE).await, "a dropped proxy still carries bytes");
}
