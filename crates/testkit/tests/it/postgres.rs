//! PostgreSQL as a server of tests. What it does with SQL is the examples' business: here its port and its words are
//! enough, so that the testkit needs no client.

use std::process::Command;

use sluicegate_testkit::server::{PostgresServer, ServerErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the server says first to somebody who wants in: `R` asks for a password, `E` is an error.
async fn first_word(server: &PostgresServer) -> (TcpStream, u8, String) {
    let mut stream = TcpStream::connect(server.addr().unwrap()).await.unwrap();
    let mut startup = Vec::from(196_608_u32.to_be_bytes());
    startup.extend_from_slice(b"user\0postgres\0database\0postgres\0\0");
    let length = u32::try_from(startup.len() + 4).unwrap();
    stream.write_all(&length.to_be_bytes()).await.unwrap();
    stream.write_all(&startup).await.unwrap();
    let kind = stream.read_u8().await.unwrap();
    let length = stream.read_u32().await.unwrap() as usize;
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await.unwrap();
    (stream, kind, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn it_asks_for_a_password_and_comes_back_with_its_port() {
    let server = PostgresServer::start().await.unwrap();
    let url = server.url().to_owned();
    assert!(url.contains(&server.addr().unwrap().to_string()), "{url}");
    assert!(server.version().starts_with(|c: char| c.is_ascii_digit()), "{:?}", server.version());
    let (_stream, kind, body) = first_word(&server).await;
    assert_eq!(kind, b'R', "{body}");
    assert!(body.contains("SCRAM-SHA-256"), "nobody gets in without a password: {body}");

    server.kill().await.unwrap();
    assert_eq!(server.pid(), None);
    assert!(TcpStream::connect(server.addr().unwrap()).await.is_err(), "a killed server accepts connections");
    assert_eq!(server.kill().await.unwrap_err().kind(), ServerErrorKind::State);
    server.restart().await.unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(first_word(&server).await.1, b'R');
    assert!(server.log().contains("was not properly shut down"), "it recovered: {}", server.log());

    server.stop().await.unwrap();
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(first_word(&server).await.1, b'R');
}

#[tokio::test]
async fn connections_run_out_where_the_test_wants_it() {
    let server = PostgresServer::builder().max_connections(2).start().await.unwrap();
    let (_one, kind, body) = first_word(&server).await;
    assert_eq!(kind, b'R', "{body}");
    let (_two, kind, body) = first_word(&server).await;
    assert_eq!(kind, b'R', "{body}");
    let (_three, kind, body) = first_word(&server).await;
    assert!(kind == b'E' && body.contains("C53300"), "{body}");
}

#[tokio::test]
async fn a_wrong_setting_is_reported_with_the_servers_words() {
    let error = PostgresServer::builder().setting("no_such_setting", 1).start().await.unwrap_err();
    assert_eq!(error.kind(), ServerErrorKind::Start);
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn a_port_that_is_asked_for_is_had_or_refused() {
    let first = PostgresServer::start().await.unwrap();
    let taken = first.addr().unwrap().port();
    let error = PostgresServer::builder().port(taken).start().await.unwrap_err();
    assert_eq!(error.kind(), ServerErrorKind::Start);
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}

const CHILD: &str = "SLUICEGATE_TESTKIT_POSTGRES_CHILD";

/// This test runs itself as a second process, with another environment.
#[tokio::test]
async fn a_server_of_ones_own_is_taken_as_it_is() {
    if std::env::var_os(CHILD).is_some() {
        let server = PostgresServer::start().await.unwrap();
        println!("url: {}", server.url());
        assert_eq!(server.kill().await.unwrap_err().kind(), ServerErrorKind::External);
        let error = PostgresServer::builder().max_connections(2).start().await.unwrap_err();
        return assert_eq!(error.kind(), ServerErrorKind::External);
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "postgres::a_server_of_ones_own_is_taken_as_it_is", "--nocapture"]);
    command.env(CHILD, "1").env("SLUICEGATE_POSTGRES_URL", "postgres://me@example/db");
    let output = command.output().unwrap();
    assert!(output.status.success());
    let output = String::from_utf8(output.stdout).unwrap();
    assert!(output.contains("url: postgres://me@example/db"), "{output}");
}
