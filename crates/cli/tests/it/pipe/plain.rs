//! Into a subject, without acknowledgement.

use futures::StreamExt;
use sluicegate_testkit::server::{Fault, NatsServer, Proxy};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::{LONG, connection, fed, numbers, spawn_on, start, summary};
use crate::tool::{ended, tool, until_says};

#[tokio::test]
async fn a_message_an_item_in_order() {
    let server = NatsServer::shared().await.unwrap();
    let mut messages = connection(server).await.client().subscribe("pipe.plain").await.unwrap();
    let told = fed(spawn_on(server, &["--to", "nats:pipe.plain", "--json"]), numbers(2_000)).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), ""), "{told:#?}");
    for number in 1..=2_000 {
        let message = timeout(LONG, messages.next()).await.unwrap().unwrap();
        assert_eq!(message.payload, number.to_string().as_bytes());
        assert!(message.headers.is_none() && message.reply.is_none());
    }
    assert_eq!(summary(&told)["batches"], 4);
}

#[tokio::test]
async fn what_the_server_does_not_take_is_told_and_the_rest_goes_on() {
    let server = NatsServer::builder().config("max_payload: 1000").start().await.unwrap();
    let text = format!("small\n{}\nalso small\n", "x".repeat(2_000));
    let mut messages = connection(&server).await.client().subscribe("s").await.unwrap();
    let told = fed(spawn_on(&server, &["--to", "nats:s", "--json"]), text).await;
    assert_eq!(told.code, Some(1), "{told:#?}");
    assert!(
        told.stderr.contains("number=2") && told.stderr.contains("2000 bytes, the server takes at most 1000"),
        "{told:#?}"
    );
    for expected in ["small", "also small"] {
        assert_eq!(messages.next().await.unwrap().payload, expected);
    }
}

#[tokio::test]
async fn nothing_counts_as_delivered_that_a_lost_connection_swallowed() {
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let mut messages = connection(&server).await.client().subscribe("cut").await.unwrap();
    let mut command =
        tool(&["pipe", "--to", "nats:cut", "--max-items", "1", "--timeout", "1s", "-v", "--json"]);
    let (mut child, mut stdin) = start(command.env("NATS_URL", proxy.url()));
    stdin.write_all(b"before\n").await.unwrap();
    assert_eq!(timeout(LONG, messages.next()).await.unwrap().unwrap().payload, "before");
    proxy.set(Fault::Hold);
    stdin.write_all(b"during\n").await.unwrap();
    let rest = until_says(&mut child, "OperationRetried").await;
    proxy.reset();
    proxy.set(Fault::Pass);
    let arrived = async {
        // Of what came before the tool may not have heard either: then it comes again.
        while messages.next().await.unwrap().payload != "during" {}
    };
    timeout(LONG, arrived).await.expect("it is sent again");
    drop(stdin);
    let told = timeout(LONG, ended(child)).await.unwrap();
    assert_eq!(told.code, Some(0), "{told:#?} {}", rest.await.unwrap());
}
