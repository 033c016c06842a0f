use std::time::Duration;

use sluicegate_nats::{
    Connection, NatsEvent, Operation, Outcome, Publish, PublishErrorKind, RequestErrorKind, Settings, connect,
};
use sluicegate_testkit::server::NatsServer;
use tokio::time::{Instant, timeout};

use crate::support::{PATIENCE, connected, echo, stored, stream, text, until};

const USERS: &str = r#"
authorization { users: [
  { user: admin, password: pw },
  { user: worker, password: pw, permissions: { publish: ["allowed", "$JS.API.>"], subscribe: ["_INBOX.>"] } },
  { user: deaf, password: pw, permissions: { publish: ">", subscribe: ["_INBOX.of.somebody.else.>"] } }
] }
"#;

async fn server() -> NatsServer {
    NatsServer::builder().config(USERS).start().await.unwrap()
}

async fn user(server: &NatsServer, user: &str) -> Connection {
    connected(&server.url().replace("nats://", &format!("nats://{user}:pw@"))).await
}

#[tokio::test]
async fn a_denied_request_is_answered_at_once_with_its_subject() {
    let server = server().await;
    let (admin, worker) = (user(&server, "admin").await, user(&server, "worker").await);
    echo(&admin, "allowed").await;
    let mut events = worker.events();
    // The same again: each is answered, not only the first.
    for _ in 0..3 {
        let started = Instant::now();
        let error = worker.request("denied", None, text("x"), PATIENCE).await.unwrap_err();
        assert_eq!(error.kind(), RequestErrorKind::NotPermitted, "{error}");
        assert_eq!(error.subject(), "denied");
        assert!(started.elapsed() < PATIENCE, "no timeout");
    }
    let denied = NatsEvent::PermissionDenied { subject: "denied".to_owned(), operation: Operation::Publish };
    until(&mut events, |event| *event == denied).await;
    let (denied, allowed) = tokio::join!(
        worker.request("denied", None, text("x"), PATIENCE),
        worker.request("allowed", None, text("x"), PATIENCE),
    );
    assert_eq!(denied.unwrap_err().kind(), RequestErrorKind::NotPermitted);
    assert_eq!(allowed.unwrap().payload, "x");
}

#[tokio::test]
async fn an_api_call_that_is_denied_names_the_subject() {
    let server = NatsServer::builder()
        .config(r#"authorization { users: [{ user: u, password: pw, permissions: { publish: "x" } }] }"#)
        .start()
        .await
        .unwrap();
    let connection = user(&server, "u").await;
    let error = connection.api::<serde_json::Value>("STREAM.INFO.S", &(), PATIENCE).await.unwrap_err();
    assert_eq!(error.subject(), "$JS.API.STREAM.INFO.S");
    assert_eq!(error.kind(), sluicegate_nats::ApiErrorKind::Request(RequestErrorKind::NotPermitted));
}

#[tokio::test]
async fn a_denied_inbox_is_told_to_every_request() {
    let server = server().await;
    let (admin, deaf) = (user(&server, "admin").await, user(&server, "deaf").await);
    echo(&admin, "allowed").await;
    for _ in 0..3 {
        let error = deaf.request("allowed", None, text("x"), PATIENCE).await.unwrap_err();
        assert_eq!(error.kind(), RequestErrorKind::NotPermitted, "{error}");
        assert!(error.subject().starts_with("_INBOX."), "{error}");
        assert!(error.to_string().contains("answers to `allowed`"), "{error}");
    }
}

#[tokio::test]
async fn an_inbox_prefix_of_ones_own_is_used() {
    let server = server().await;
    let admin = user(&server, "admin").await;
    echo(&admin, "allowed").await;
    let settings = Settings::builder()
        .server(&server.url())
        .user_and_password("deaf", "pw")
        .inbox_prefix("_INBOX.of.somebody.else")
        .build()
        .unwrap();
    let connection = connect(&settings).await.unwrap();
    let answer = connection.request("allowed", None, text("x"), PATIENCE).await.unwrap();
    assert!(answer.subject.starts_with("_INBOX.of.somebody.else."), "{}", answer.subject);
}

#[tokio::test]
async fn a_denied_publish_to_a_stream_is_not_done() {
    let server = server().await;
    let (admin, worker) = (user(&server, "admin").await, user(&server, "worker").await);
    stream(&admin, "DENIED", serde_json::json!({})).await;
    let error = worker.publish(Publish::new("DENIED", "x").timeout(PATIENCE)).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::NotPermitted, "{error}");
    assert_eq!((error.outcome(), error.subject()), (Outcome::NotDone, "DENIED"));
}

#[tokio::test]
async fn a_publish_whose_answer_is_denied_may_be_stored() {
    let server = server().await;
    let (admin, deaf) = (user(&server, "admin").await, user(&server, "deaf").await);
    stream(&admin, "UNHEARD", serde_json::json!({})).await;
    let error = deaf.publish(Publish::new("UNHEARD", "x").timeout(PATIENCE)).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::NotPermitted, "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown);
    let arrived = async { while stored(&admin, "UNHEARD").await == 0 {} };
    timeout(PATIENCE, arrived).await.expect("it is stored all the same");
}

#[tokio::test]
async fn a_foreign_client_reports_a_timeout_that_names_permissions() {
    let server = server().await;
    let url = server.url().replace("nats://", "nats://worker:pw@");
    let client =
        sluicegate_nats::async_nats::ConnectOptions::with_user_and_password("worker".into(), "pw".into())
            .connect(url)
            .await
            .unwrap();
    let foreign = Connection::from_client(client);
    let short = Duration::from_millis(200);
    let error = foreign.request("denied", None, text("x"), short).await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::TimedOut);
    assert!(error.to_string().contains("permissions"), "{error}");
}
