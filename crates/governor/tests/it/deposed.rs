//! Two leaders for a moment: one that was cut off and does not know yet that it was deposed, and its successor. Both
//! hear an attempt; the old one refuses it, of what it knows, and the new one stores it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sluicegate_core::LeasePool;
use sluicegate_governor::{CampaignPool, GovernorEvent, PoolOptions};

use crate::fake::{Asked, Fake, Says};
use crate::support::{request, soon, watched};

const FULL: &str = r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"GOVERNOR_T","seq":0}"#;
const NO_MESSAGE: &str = r#"{"error":{"code":404,"err_code":10037,"description":"no message found"}}"#;
/// Somebody else's, and what was stored although it had been refused.
const FOREIGN: u64 = 8;
const OURS: u64 = 9;

fn info(replicas: u8) -> String {
    let config = json!({
        "name": "GOVERNOR_T", "subjects": ["$GOVERNOR.campaign.T"], "retention": "limits", "max_msgs": 2,
        "max_age": 60_000_000_000_u64, "discard": "new", "storage": "file", "num_replicas": replicas,
        "duplicate_window": 60_000_000_000_u64,
    });
    json!({
        "config": config, "created": "2026-11-22T00:49:00Z", "cluster": {"leader": "N"}, "ts": "2026-11-22T00:49:10Z",
        "state": {"messages": 2, "bytes": 0, "first_seq": FOREIGN, "first_ts": "2026-11-22T00:49:01Z",
            "last_seq": OURS, "last_ts": "2026-11-22T00:49:02Z", "consumer_count": 0},
    })
    .to_string()
}

fn message(sequence: u64, id: &str) -> Says {
    let headers = STANDARD.encode(format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n"));
    let message = json!({
        "subject": "$GOVERNOR.campaign.T", "seq": sequence, "hdrs": headers, "data": "aA==",
        "time": "2026-11-22T00:49:02Z",
    });
    json!({"message": message}).to_string().into()
}

/// The server loses the first try, and refuses all others; what is asked for under a second id is stored nevertheless.
async fn server(replicas: u8) -> Fake {
    let ids: Arc<Mutex<Vec<String>>> = Arc::default();
    Fake::start("2.15.1", move |asked: &Asked| {
        let mut ids = ids.lock().expect("no test panics in here");
        match asked.verb() {
            Some("INFO") => info(replicas).into(),
            Some("MSG.DELETE") => r#"{"success":true}"#.into(),
            Some("MSG.GET") => match asked.json()["seq"].as_u64() {
                Some(0..=FOREIGN) => message(FOREIGN, "somebody else's"),
                Some(OURS) if ids.len() > 1 => message(OURS, &ids[1]),
                _ => NO_MESSAGE.into(),
            },
            None if asked.subject.starts_with("$GOVERNOR") => {
                let id = asked.header("Nats-Msg-Id").unwrap_or_default().to_owned();
                let first = ids.is_empty();
                if !ids.contains(&id) {
                    ids.push(id);
                }
                if first { Says::Nothing } else { FULL.into() }
            }
            _ => Says::NobodyListens { tells_subject: true },
        }
    })
    .await
}

fn deleted(fake: &Fake) -> Vec<u64> {
    let deletions = fake.asked().into_iter().filter(|asked| asked.verb() == Some("MSG.DELETE"));
    deletions.filter_map(|asked| asked.json()["seq"].as_u64()).collect()
}

#[tokio::test]
async fn what_was_refused_and_stored_all_the_same_is_removed() {
    let fake = server(3).await;
    let (observer, mut events) = watched();
    let options = PoolOptions::default().request_timeout(Duration::from_millis(200)).observer(observer);
    let pool = CampaignPool::bind_with(&fake.connection().await, "T", options).await.unwrap();
    for holder in ["first", "second"] {
        assert!(soon(pool.try_acquire(&request(holder))).await.unwrap().is_none(), "refused");
    }
    let resolved = soon(async {
        loop {
            if let GovernorEvent::Leaked { resolved } = events.recv().await.expect("the pool is there") {
                return resolved;
            }
        }
    })
    .await;
    assert!(resolved);
    assert_eq!(deleted(&fake), [OURS], "its own, and only that");
}

#[tokio::test]
async fn one_server_has_one_leader_and_its_refusals_are_believed() {
    let fake = server(1).await;
    let options = PoolOptions::default().request_timeout(Duration::from_millis(200));
    let pool = CampaignPool::bind_with(&fake.connection().await, "T", options).await.unwrap();
    for holder in ["first", "second"] {
        assert!(soon(pool.try_acquire(&request(holder))).await.unwrap().is_none(), "refused");
    }
    // Nothing is left to be done, or this would wait for it.
    soon(pool.close(Duration::from_secs(5))).await.unwrap();
    assert!(deleted(&fake).is_empty());
    assert!(fake.asked().iter().all(|asked| asked.verb() != Some("MSG.GET")), "nobody looks");
}
