//! Messages without acknowledgement.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use sluicegate_nats::{RequestErrorKind, Settings, connect};
use sluicegate_testkit::server::{Direction, Fault, NatsServer, Proxy};

use crate::support::connected;

const TIMEOUT: Duration = Duration::from_secs(5);

fn payloads(texts: &[&'static str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
}

#[tokio::test]
async fn all_are_taken_in_order() {
    let connection = connected(&NatsServer::shared().await.unwrap().url()).await;
    let mut messages = connection.client().subscribe("plain.order").await.unwrap();
    connection.publish_plain("plain.order", payloads(&["a", "b", "c"]), TIMEOUT).await.unwrap();
    for expected in ["a", "b", "c"] {
        assert_eq!(messages.next().await.unwrap().payload, expected);
    }
    connection.publish_plain("plain.order", Vec::new(), TIMEOUT).await.unwrap();
    let error = connection.publish_plain("not a subject", payloads(&["a"]), TIMEOUT).await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn what_is_denied_is_told_and_the_denial_of_answers_is_none() {
    let users = r#"authorization { users = [
        { user: "u", password: "p", permissions: { publish: { deny: ["no", "_INBOX.>"] } } },
        { user: "mute", password: "p", permissions: { publish: { deny: ["no"] }, subscribe: { deny: [">"] } } },
    ] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    for user in ["u", "mute"] {
        let settings =
            Settings::builder().server(&server.url()).user_and_password(user, "p").build().unwrap();
        let connection = connect(&settings).await.unwrap();
        connection.publish_plain("yes", payloads(&["a"]), TIMEOUT).await.unwrap();
        if user == "u" {
            for _ in 0..20 {
                let error = connection.publish_plain("no", payloads(&["a"; 50]), TIMEOUT).await.unwrap_err();
                assert_eq!(
                    (error.kind(), error.subject()),
                    (RequestErrorKind::NotPermitted, "no"),
                    "{error}"
                );
            }
        }
    }
}

#[tokio::test]
async fn without_an_answer_it_is_unknown_what_became_of_them() {
    let server = NatsServer::shared().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let connection = connected(&proxy.url()).await;
    connection.publish_plain("plain.lost", payloads(&["a"]), TIMEOUT).await.unwrap();
    proxy.set_one_way(Direction::ToClient, Fault::Hold);
    let short = Duration::from_millis(300);
    let error = connection.publish_plain("plain.lost", payloads(&["a"]), short).await.unwrap_err();
    assert!(error.is_unknown(), "{error}");
    let publishing = connection.publish_plain("plain.lost", payloads(&["a"]), TIMEOUT);
    let cutting = async {
        while proxy.held(Direction::ToClient) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.set(Fault::Pass);
        proxy.reset();
    };
    let (published, ()) = tokio::join!(publishing, cutting);
    let error = published.unwrap_err();
    assert!(error.is_unknown(), "a connection that was lost may have lost it: {error}");
}

#[tokio::test]
async fn what_another_connection_carried_the_rest_of_is_unknown() {
    let server = NatsServer::shared().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let connection = connected(&proxy.url()).await;
    proxy.set_one_way(Direction::ToServer, Fault::Hold);
    // More than fits on the way: the last of them are handed over once there is another connection.
    let many = vec![Bytes::from(vec![b'x'; 1_000]); 30_000];
    let publishing = connection.publish_plain("plain.halves", many, Duration::from_secs(60));
    let cutting = async {
        let mut before = 0;
        while before == 0 || proxy.held(Direction::ToServer) > before {
            before = proxy.held(Direction::ToServer);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        proxy.reset();
        proxy.set(Fault::Pass);
    };
    let (published, ()) = tokio::join!(publishing, cutting);
    let error = published.unwrap_err();
    assert!(error.is_unknown(), "{error}");
}
