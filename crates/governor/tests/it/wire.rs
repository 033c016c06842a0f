//! What we send, as seen from outside.

use futures::StreamExt;
use serde_json::{Value, json};
use sluicegate_core::{LeasePool, LeasePoolAdmin};
use sluicegate_governor::{CampaignPool, NativePool};

use crate::support::{LONG, config, connection, overhear, request, server, soon};

#[tokio::test]
async fn a_campaign_is_a_request_with_holder_id_and_expected_stream() {
    for version in ["2.10.26", "2.15.1"] {
        let server = server(version).await;
        let connection = connection(&server.url()).await;
        let pool = CampaignPool::create(&connection, &config("T", 2, LONG)).await.unwrap();
        let mut seen = overhear(&server.url(), "$GOVERNOR.campaign.T").await;
        let mut ids = Vec::new();
        for holder in ["root@web03 4411", "größe ☂"] {
            let lease = pool.try_acquire(&request(holder)).await.unwrap();
            assert!(lease.is_some());
            let message = soon(seen.next()).await.expect("seen");
            assert_eq!(message.payload, holder.as_bytes());
            assert!(message.reply.is_some(), "a request");
            let headers = message.headers.expect("has headers");
            assert_eq!(headers.get("Nats-Expected-Stream").map(|v| v.as_str()), Some("GOVERNOR_T"));
            let id = headers.get("Nats-Msg-Id").expect("has an id").as_str().to_owned();
            assert!(
                id.len() >= 22 && id.bytes().all(|b| b.is_ascii_alphanumeric()),
                "128 bits in base 62: {id}"
            );
            assert_eq!(headers.iter().count(), 2, "and nothing else: {headers:?}");
            ids.push(id);
        }
        assert_ne!(ids[0], ids[1], "an id for each attempt");
    }
}

#[tokio::test]
async fn api_requests_have_exactly_the_documented_bodies() {
    for version in ["2.10.26", "2.15.1"] {
        let server = server(version).await;
        let mut audit = overhear(&server.url(), "$JS.EVENT.ADVISORY.API").await;
        let connection = connection(&server.url()).await;
        let pool = CampaignPool::create(&connection, &config("T", 2, LONG)).await.unwrap();
        let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
        let other = pool.try_acquire(&request("b")).await.unwrap().expect("free");
        let (seq, second) = (lease.id().0, other.id().0);
        assert!(pool.release(&lease).await.unwrap());
        assert_eq!(pool.held().await.unwrap().len(), 1);
        assert!(pool.evict(other.id()).await.unwrap().is_some());
        assert_eq!(pool.reset().await.unwrap(), 0);
        pool.delete().await.unwrap();

        let mut calls = Vec::new();
        loop {
            let message = soon(audit.next()).await.expect("audited");
            let event: Value = serde_json::from_slice(&message.payload).unwrap();
            let verb = event["subject"]
                .as_str()
                .unwrap()
                .trim_start_matches("$JS.API.")
                .trim_start_matches("STREAM.")
                .to_owned();
            let body = event["request"].as_str().filter(|body| !body.is_empty());
            let body = body.map_or(Value::Null, |body| serde_json::from_str(body).unwrap());
            let last = verb.starts_with("DELETE");
            calls.push((verb, body));
            if last {
                break;
            }
        }
        let call = |verb: &str, body: Value| (format!("{verb}.GOVERNOR_T"), body);
        let created = calls.iter().position(|(verb, _)| verb.starts_with("CREATE")).expect("created");
        let after: Vec<_> = calls[created + 1..].to_vec();
        let walk = |seq: u64| json!({"seq": seq, "next_by_subj": ">"});
        let delete = |seq: u64| json!({"seq": seq, "no_erase": true});
        // A get that found its message is not audited.
        let expected = vec![
            call("MSG.DELETE", delete(seq)),
            call("INFO", Value::Null),
            call("MSG.GET", walk(second + 1)),
            call("INFO", Value::Null),
            call("MSG.DELETE", delete(second)),
            call("INFO", Value::Null),
            call("PURGE", Value::Null),
            call("DELETE", Value::Null),
        ];
        assert_eq!(after, expected, "{version}");
        let (_, config) = &calls[created];
        assert_eq!(config["max_age"], json!(60_000_000_000_u64));
        assert_eq!(config["metadata"]["sluicegate.kind"], json!("governor"));
        let seed = config["first_seq"].as_u64().unwrap();
        match version {
            "2.10.26" => assert_eq!(seed, 0, "a seeded stream does not survive a restart of this server"),
            _ => assert!(seed > 1_700_000_000_000_000, "microseconds since 1970"),
        }
    }
}

#[tokio::test]
async fn native_leases_are_conditional_writes_with_a_time_to_live() {
    let server = server("2.15.1").await;
    let connection = connection(&server.url()).await;
    let pool = NativePool::create(&connection, &config("T", 1, LONG)).await.unwrap();
    let mut seen = overhear(&server.url(), "$GOVERNOR2.T.>").await;

    let lease = pool.try_acquire(&request("a")).await.unwrap().expect("free");
    let renewed = pool.renew(&lease).await.unwrap();
    let acquire = soon(seen.next()).await.expect("seen");
    let renewal = soon(seen.next()).await.expect("seen");
    let header = |message: &sluicegate_nats::async_nats::Message, name: &str| {
        message.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str().to_owned())
    };
    assert_eq!(header(&acquire, "Nats-TTL").as_deref(), Some("60s"));
    assert!(header(&acquire, "Nats-Msg-Id").is_some());
    assert_eq!(header(&acquire, "Nats-Expected-Last-Subject-Sequence"), None, "it would hide a repetition");
    assert_eq!(renewal.subject, acquire.subject, "the lease's own subject");
    assert_eq!(header(&renewal, "Nats-TTL").as_deref(), Some("60s"));
    assert_eq!(header(&renewal, "Nats-Expected-Last-Subject-Sequence"), Some(lease.token().to_string()));
    assert_eq!(header(&renewal, "Sluicegate-Lease"), Some(lease.id().to_string()));
    assert_eq!(renewal.payload, acquire.payload);
    assert!(pool.release(&renewed).await.unwrap());
}
