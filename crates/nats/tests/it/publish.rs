use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use sluicegate_nats::{
    Connection, Outcome, PubAck, Publish, PublishError, PublishErrorKind, Settings, code, connect,
};
use sluicegate_testkit::server::{Direction, Fault, NatsServer, Proxy};

use crate::support::{PATIENCE, connected, eventually, stored, stream, subscribed};

#[tokio::test]
async fn an_id_is_stored_once() {
    let connection = connected(&NatsServer::shared().await.unwrap().url()).await;
    stream(&connection, "PUBLISH_ONCE", json!({})).await;
    let publish = Publish::new("PUBLISH_ONCE", "x").msg_id("one");
    let first = connection.publish(publish.clone()).await.unwrap();
    assert_eq!((first.stream.as_str(), first.sequence, first.duplicate), ("PUBLISH_ONCE", 1, false));
    let second = connection.publish(publish).await.unwrap();
    assert_eq!((second.sequence, second.duplicate), (1, true));
    assert_eq!(connection.publish(Publish::new("PUBLISH_ONCE", "y")).await.unwrap().sequence, 2);
    assert_eq!(stored(&connection, "PUBLISH_ONCE").await, 2);
}

#[tokio::test]
async fn expectations_that_fail_keep_their_codes() {
    let connection = connected(&NatsServer::shared().await.unwrap().url()).await;
    stream(&connection, "PUBLISH_CAS", json!({})).await;
    let publish = || Publish::new("PUBLISH_CAS", "x");
    connection.publish(publish().expect_last_sequence(0).expect_stream("PUBLISH_CAS")).await.unwrap();
    connection.publish(publish().expect_last_subject_sequence(1)).await.unwrap();
    for refused in [publish().expect_last_sequence(0), publish().expect_last_subject_sequence(1)] {
        let error = connection.publish(refused).await.unwrap_err();
        assert!(code::is_cas_conflict(error.err_code().unwrap()), "{error}");
        assert_eq!(error.outcome(), Outcome::NotDone);
    }
    let error = connection.publish(publish().expect_stream("OTHER")).await.unwrap_err();
    assert_eq!(error.err_code(), Some(code::STREAM_NOT_MATCH));
    assert_eq!(stored(&connection, "PUBLISH_CAS").await, 2);
}

#[tokio::test]
async fn a_full_stream_says_so_and_stores_nothing() {
    let connection = connected(&NatsServer::shared().await.unwrap().url()).await;
    stream(&connection, "PUBLISH_FULL", json!({ "max_msgs": 1, "discard": "new" })).await;
    connection.publish(Publish::new("PUBLISH_FULL", "x")).await.unwrap();
    let error = connection.publish(Publish::new("PUBLISH_FULL", "y")).await.unwrap_err();
    assert!(code::is_full(error.err_code().unwrap(), error.description()), "{error}");
    assert_eq!(error.outcome(), Outcome::NotDone);
}

#[tokio::test]
async fn a_message_expires() {
    let connection = connected(&NatsServer::shared().await.unwrap().url()).await;
    stream(&connection, "PUBLISH_TTL", json!({ "allow_msg_ttl": true })).await;
    let publish = Publish::new("PUBLISH_TTL", "x").ttl(Duration::from_secs(1));
    connection.publish(publish).await.unwrap();
    let expiring = async {
        while stored(&connection, "PUBLISH_TTL").await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, expiring).await.unwrap();
    stream(&connection, "PUBLISH_NO_TTL", json!({})).await;
    let error = connection.publish(Publish::new("PUBLISH_NO_TTL", "x").ttl(Duration::from_secs(1))).await;
    assert_eq!(error.unwrap_err().err_code(), Some(code::MESSAGE_TTL_DISABLED));
}

#[tokio::test]
async fn a_missing_stream_is_found_out_when_patience_ends() {
    let connection = connected(&NatsServer::shared().await.unwrap().url()).await;
    let publish = Publish::new("PUBLISH_MISSING", "x").patience(Duration::from_millis(200));
    for publish in [publish.clone(), publish.expect_stream("PUBLISH_MISSING")] {
        let error = connection.publish(publish).await.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::StreamNotFound, "{error}");
        assert_eq!(error.outcome(), Outcome::NotDone);
    }
}

#[tokio::test]
async fn a_stream_that_comes_within_patience_gets_the_message() {
    let connection = connected(&NatsServer::shared().await.unwrap().url()).await;
    let publishing = tokio::spawn({
        let connection = connection.clone();
        async move { connection.publish(Publish::new("PUBLISH_LATE", "x").patience(PATIENCE)).await }
    });
    // As an election looks: first nobody answers.
    let nobody = connection.request("PUBLISH_LATE", None, "probe".into(), PATIENCE).await.unwrap_err();
    assert!(nobody.is_transient());
    stream(&connection, "PUBLISH_LATE", json!({})).await;
    assert_eq!(publishing.await.unwrap().unwrap().sequence, 1);
}

/// Publishes while answers are held back, lets them through after the second one, and returns the outcome.
async fn publish_twice_unheard(
    api_prefix: &str,
    publish: Publish,
    before: impl AsyncFnOnce(&Connection),
) -> (Result<PubAck, PublishError>, u64) {
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let direct = connected(&server.url()).await;
    let settings = Settings::builder().server(&proxy.url()).api_prefix(api_prefix).build().unwrap();
    let through = connect(&settings).await.unwrap();
    stream(&direct, "S", json!({ "subjects": ["S", "T"] })).await;
    before(&through).await;
    proxy.set_one_way(Direction::ToClient, Fault::Hold);
    let publishing =
        tokio::spawn(async move { through.publish(publish.timeout(Duration::from_millis(200))).await });
    eventually("the answer is held", || proxy.held(Direction::ToClient) > 0).await;
    // The first try is over when the second one is answered.
    let answer = proxy.held(Direction::ToClient);
    eventually("a second answer is held", || proxy.held(Direction::ToClient) > answer).await;
    proxy.set_one_way(Direction::ToClient, Fault::Pass);
    (publishing.await.unwrap(), stored(&direct, "S").await)
}

#[tokio::test]
async fn an_answer_that_was_lost_is_resolved_with_the_same_id() {
    let (ack, stored) = publish_twice_unheard("$JS.API", Publish::new("S", "x"), async |_| {}).await;
    let ack = ack.unwrap();
    assert_eq!((ack.sequence, ack.duplicate, stored), (1, true, 1));
}

/// One message on each subject.
async fn warm(connection: &Connection) {
    for subject in ["S", "T"] {
        connection.publish(Publish::new(subject, "warm")).await.unwrap();
    }
}

#[tokio::test]
async fn a_repetition_that_conflicts_with_itself_is_looked_up() {
    for publish in [
        Publish::new("S", "x").expect_last_sequence(2),
        Publish::new("S", "x").expect_last_subject_sequence(1).expect_stream("S"),
        Publish::new("S", "x").expect_last_subject_sequence(1),
    ] {
        let (ack, stored) = publish_twice_unheard("$JS.API", publish, warm).await;
        let ack = ack.unwrap();
        assert_eq!((ack.sequence, ack.duplicate, stored), (3, true, 3));
    }
}

#[tokio::test]
async fn a_look_that_nobody_answered_is_repeated() {
    let deaf_at_first = async |connection: &Connection| {
        warm(connection).await;
        let mut looks = subscribed(connection, "DEAF.STREAM.MSG.GET.S").await;
        let client = connection.client();
        tokio::spawn(async move {
            looks.next().await.unwrap();
            while let Some(look) = looks.next().await {
                let subject = "$JS.API.STREAM.MSG.GET.S";
                client.publish_with_reply(subject, look.reply.unwrap(), look.payload).await.unwrap();
            }
        });
    };
    let publish = Publish::new("S", "x").expect_last_sequence(2).expect_stream("S");
    let (ack, stored) = publish_twice_unheard("DEAF", publish, deaf_at_first).await;
    let ack = ack.unwrap();
    assert_eq!((ack.sequence, ack.duplicate, stored), (3, true, 3));
}

#[tokio::test]
async fn what_cannot_be_resolved_in_time_is_unknown_and_has_its_id() {
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let (direct, through) = (connected(&server.url()).await, connected(&proxy.url()).await);
    stream(&direct, "S", json!({})).await;
    proxy.set_one_way(Direction::ToClient, Fault::Hold);
    let publish = Publish::new("S", "x").timeout(Duration::from_millis(100));
    let error = through.publish(publish.resolve_for(Duration::from_millis(400))).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (PublishErrorKind::TimedOut, Outcome::Unknown));
    let again = Publish::new("S", "x").msg_id(error.msg_id());
    assert!(direct.publish(again).await.unwrap().duplicate);
    assert_eq!(stored(&direct, "S").await, 1);
}

#[tokio::test]
async fn a_connection_that_never_comes_is_not_done() {
    let server = NatsServer::start().await.unwrap();
    let connection = connected(&server.url()).await;
    let mut events = connection.events();
    server.kill().await.unwrap();
    crate::support::until(&mut events, |event| *event == sluicegate_nats::NatsEvent::Disconnected).await;
    let short = Duration::from_millis(50);
    let publish = Publish::new("S", "x").timeout(short).resolve_for(Duration::from_millis(300));
    let error = connection.publish(publish).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (PublishErrorKind::NotConnected, Outcome::NotDone));
}

#[tokio::test]
async fn every_message_is_stored_exactly_once_over_kills() {
    const MESSAGES: u64 = 300;
    let server = NatsServer::start().await.unwrap();
    let connection = connected(&server.url()).await;
    stream(&connection, "S", json!({ "storage": "file" })).await;
    let (progress, mut at) = tokio::sync::watch::channel(0);
    let publishing = tokio::spawn({
        let connection = connection.clone();
        async move {
            for n in 0..MESSAGES {
                let publish = Publish::new("S", n.to_string()).resolve_for(PATIENCE).patience(PATIENCE);
                connection.publish(publish).await.unwrap();
                progress.send_replace(n);
            }
        }
    });
    for mark in [50, 150] {
        at.wait_for(|n| *n >= mark).await.unwrap();
        server.kill().await.unwrap();
        server.restart().await.unwrap();
    }
    publishing.await.unwrap();
    assert_eq!(stored(&connection, "S").await, MESSAGES);
    for n in 0..MESSAGES {
        let body = json!({ "seq": n + 1 });
        let got: Value = connection.api("STREAM.MSG.GET.S", &body, PATIENCE).await.unwrap();
        let expected = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, n.to_string());
        assert_eq!(got["message"]["data"], expected, "in order, none twice");
    }
}
