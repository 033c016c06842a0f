//! Creating, ensuring and binding.

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use sluicegate_core::{LeaseErrorKind, LeasePool, LeasePoolAdmin};
use sluicegate_governor::{CampaignPool, NativePool};

use crate::support::{
    LONG, api, config, connection, create_as_choria, info, request, server, shared, slots, soon, unique,
};

#[tokio::test]
async fn creating_twice_is_creating_once() {
    let connection = shared().await;
    let name = unique("twice");
    let config = config(&name, 3, LONG);
    let first = CampaignPool::create(&connection, &config).await.unwrap();
    let before = info(&connection, first.stream()).await;
    let second = CampaignPool::create(&connection, &config).await.unwrap();
    let incarnation = first.describe().await.unwrap().incarnation;
    assert_eq!(second.describe().await.unwrap().incarnation, incarnation);
    assert_eq!(info(&connection, first.stream()).await["config"], before["config"]);
    assert_eq!(second.subject().as_ref(), format!("$GOVERNOR.campaign.{name}"));
}

#[tokio::test]
async fn a_conflict_names_every_field_and_changes_nothing() {
    let connection = shared().await;
    let name = unique("conflict");
    let pool = CampaignPool::create(&connection, &config(&name, 3, LONG)).await.unwrap();
    let before = info(&connection, pool.stream()).await["config"].clone();

    let other = config(&name, 5, LONG * 2).subject("elsewhere.x");
    let error = CampaignPool::create(&connection, &other).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Conflict);
    for field in ["limit 3 → 5", "ttl 1m → 2m", &format!("subject $GOVERNOR.campaign.{name} → elsewhere.x")]
    {
        assert!(error.to_string().contains(field), "{error}");
    }
    let error = CampaignPool::ensure(&connection, &other).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Conflict, "workers campaign on the old subject: {error}");
    assert!(error.to_string().contains("subject"), "{error}");
    assert!(!error.to_string().contains("limit"), "only what stands in the way is named: {error}");
    assert_eq!(info(&connection, pool.stream()).await["config"], before);
}

#[tokio::test]
async fn ensure_creates_changes_what_differs_and_otherwise_writes_nothing() {
    let connection = shared().await;
    let name = unique("ensure");
    let pool = CampaignPool::ensure(&connection, &config(&name, 3, LONG)).await.unwrap();
    let stream = pool.stream().to_owned();
    let advisories = format!("$JS.EVENT.ADVISORY.STREAM.*.{stream}");
    let mut updates = connection.client().subscribe(advisories).await.unwrap();

    CampaignPool::ensure(&connection, &config(&name, 3, LONG)).await.unwrap();
    let changed = CampaignPool::ensure(&connection, &config(&name, 4, LONG * 3)).await.unwrap();
    assert_eq!((changed.limit(), changed.ttl()), (Some(slots(4)), LONG * 3));
    assert_eq!(
        (pool.limit(), pool.ttl()),
        (Some(slots(4)), LONG * 3),
        "the other handle of this process knows"
    );
    let now = info(&connection, &stream).await;
    assert_eq!(now["config"]["duplicate_window"], json!(120_000_000_000_u64), "follows the ttl");
    let lowered = CampaignPool::ensure(&connection, &config(&name, 4, LONG / 2)).await.unwrap();
    assert_eq!(lowered.ttl(), LONG / 2);

    // The one that changed nothing sent no update.
    pool.delete().await.unwrap();
    let mut seen = 0;
    loop {
        let message = soon(updates.next()).await.expect("an advisory");
        let advisory: Value = serde_json::from_slice(&message.payload).unwrap();
        if advisory["action"] == json!("delete") {
            break;
        }
        seen += 1;
    }
    assert_eq!(seen, 2, "two updates for two changes");
}

#[tokio::test]
async fn a_change_leaves_alone_what_it_does_not_name() {
    let connection = shared().await;
    let name = unique("survive");
    let pool = CampaignPool::create(&connection, &config(&name, 3, LONG)).await.unwrap();
    let stream = pool.stream();
    let mut theirs = info(&connection, stream).await["config"].clone();
    theirs["metadata"]["owner"] = json!("ops");
    theirs["description"] = json!("do not touch");
    theirs["max_msg_size"] = json!(1024);
    let updated = api(&connection, &format!("STREAM.UPDATE.{stream}"), theirs).await;
    assert!(updated["error"].is_null(), "{updated}");
    let before = info(&connection, stream).await["config"].clone();

    pool.resize(slots(7)).await.unwrap();
    pool.set_ttl(LONG * 2).await.unwrap();
    let mut expected = before;
    expected["max_msgs"] = json!(7);
    expected["max_age"] = json!(120_000_000_000_u64);
    expected["duplicate_window"] = json!(120_000_000_000_u64);
    assert_eq!(info(&connection, stream).await["config"], expected);
}

#[tokio::test]
async fn an_unknown_governor_is_said_to_be_unknown() {
    let connection = shared().await;
    let error = CampaignPool::bind(&connection, unique("nobody")).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::NotFound);
    assert!(error.to_string().contains("unknown governor"), "{error}");
    let error = NativePool::bind(&connection, unique("nobody")).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::NotFound);
    let error = CampaignPool::bind(&connection, "a.b").await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Invalid);
}

#[tokio::test]
async fn a_deleted_governor_is_unknown_to_those_who_campaign() {
    let connection = shared().await;
    let pool = CampaignPool::create(&connection, &config(&unique("deleted"), 1, LONG)).await.unwrap();
    pool.delete().await.unwrap();
    let error = pool.try_acquire(&request("late")).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn a_moved_subject_is_followed() {
    let connection = shared().await;
    let pool = CampaignPool::create(&connection, &config(&unique("moved"), 2, LONG)).await.unwrap();
    let mut config = info(&connection, pool.stream()).await["config"].clone();
    let elsewhere = unique("elsewhere");
    config["subjects"] = json!([elsewhere]);
    let updated = api(&connection, &format!("STREAM.UPDATE.{}", pool.stream()), config).await;
    assert!(updated["error"].is_null(), "{updated}");
    assert!(pool.try_acquire(&request("follows")).await.unwrap().is_some());
    assert_eq!(pool.subject().as_ref(), elsewhere);
}

#[tokio::test]
async fn chorias_governor_works_as_it_is() {
    for version in ["2.10.26", "2.15.1"] {
        let server = server(version).await;
        let connection = connection(&server.url()).await;
        create_as_choria(&connection, "T", 1, LONG).await;
        let before = info(&connection, "GOVERNOR_T").await["config"].clone();
        let pool = CampaignPool::bind(&connection, "T").await.unwrap();
        assert_eq!(pool.subject().as_ref(), "mcollective.governor.T");
        let lease = pool.try_acquire(&request("host1")).await.unwrap().expect("free");
        assert_eq!(lease.id().0, 1, "an unseeded sequence");
        assert!(pool.try_acquire(&request("host2")).await.unwrap().is_none());

        // A Go worker's view of it: one message, whose payload is the holder.
        let seen = api(&connection, "STREAM.MSG.GET.GOVERNOR_T", json!({"seq": 1})).await;
        assert_eq!(seen["message"]["data"], json!("aG9zdDE="), "{version}: {seen}");
        assert!(pool.release(&lease).await.unwrap());
        // A Go worker's lease: no headers at all, and bytes that are no text.
        let go =
            connection.client().request("mcollective.governor.T", vec![0xff, 0x1b].into()).await.unwrap();
        assert!(String::from_utf8_lossy(&go.payload).contains("seq"), "{go:?}");
        assert!(pool.try_acquire(&request("host1")).await.unwrap().is_none(), "it counts");
        let held = pool.held().await.unwrap();
        assert_eq!(held[0].holder.as_bytes(), [0xff, 0x1b]);
        assert!(pool.evict(held[0].id).await.unwrap().is_some());

        assert!(pool.describe().await.unwrap().incarnation.is_some());
        pool.resize(slots(2)).await.unwrap();
        let mut expected = before;
        expected["max_msgs"] = json!(2);
        assert_eq!(info(&connection, "GOVERNOR_T").await["config"], expected, "nothing of ours was added");
    }
}

#[tokio::test]
async fn a_stream_that_is_no_governor_is_refused_with_the_reason() {
    let connection = shared().await;
    for (reason, field, value) in [
        ("no limit", "max_msgs", json!(-1)),
        ("never expire", "max_age", json!(0)),
        ("discard", "discard", json!("old")),
        ("one subject", "subjects", json!(["a", "b"])),
        ("released", "deny_delete", json!(true)),
    ] {
        let name = unique("odd");
        let stream = format!("GOVERNOR_{name}");
        let mut config = json!({
            "name": stream, "subjects": [format!("odd.{name}")], "retention": "limits", "max_msgs": 1,
            "max_age": 60_000_000_000_u64, "discard": "new", "storage": "file", "num_replicas": 1,
        });
        config[field] =
            if field == "subjects" { json!([format!("a.{name}"), format!("b.{name}")]) } else { value };
        let made = api(&connection, &format!("STREAM.CREATE.{stream}"), config).await;
        assert!(made["error"].is_null(), "{made}");
        let error = CampaignPool::bind(&connection, &name).await.unwrap_err();
        assert_eq!(error.kind(), LeaseErrorKind::Misconfigured, "{field}: {error}");
        assert!(error.to_string().contains(reason), "{field}: {error}");
    }
}

#[tokio::test]
async fn ensure_repairs_what_view_tools_have_zeroed() {
    let connection = shared().await;
    let name = unique("zeroed");
    create_as_choria(&connection, &name, 3, LONG).await;
    let stream = format!("GOVERNOR_{name}");
    let mut config_now = info(&connection, &stream).await["config"].clone();
    (config_now["max_msgs"], config_now["max_age"]) = (json!(-1), json!(0));
    let updated = api(&connection, &format!("STREAM.UPDATE.{stream}"), config_now).await;
    assert!(updated["error"].is_null(), "{updated}");
    assert!(CampaignPool::bind(&connection, &name).await.is_err());
    let pool = CampaignPool::ensure(&connection, &config(&name, 3, LONG)).await.unwrap();
    assert_eq!((pool.limit(), pool.ttl()), (Some(slots(3)), LONG));
    assert_eq!(pool.subject().as_ref(), format!("mcollective.governor.{name}"));
}

#[tokio::test]
async fn a_native_governor_needs_a_server_that_keeps_its_fields() {
    let server = server("2.10.26").await;
    let connection = connection(&server.url()).await;
    let error = NativePool::create(&connection, &config("old", 1, LONG)).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Unsupported);
    assert!(error.to_string().contains("2.11") && error.to_string().contains("2.10.26"), "{error}");
    let names = api(&connection, "STREAM.NAMES", Value::Null).await;
    assert_eq!(names["total"], json!(0), "nothing was left behind: {names}");
}

#[tokio::test]
async fn a_native_governors_ttl_is_known_to_those_who_bind() {
    let connection = shared().await;
    let name = unique("native");
    NativePool::create(&connection, &config(&name, 2, LONG)).await.unwrap();
    assert_eq!(NativePool::bind(&connection, &name).await.unwrap().ttl(), LONG);
    let error = NativePool::create(&connection, &config(&name, 2, LONG * 2)).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Conflict);
    assert!(error.to_string().contains("ttl 1m → 2m"), "{error}");
    let changed = NativePool::ensure(&connection, &config(&name, 3, LONG * 2)).await.unwrap();
    assert_eq!((changed.limit(), changed.ttl()), (Some(slots(3)), LONG * 2));
    changed.set_ttl(LONG).await.unwrap();
    assert_eq!(NativePool::bind(&connection, &name).await.unwrap().ttl(), LONG);
    let error = changed.set_ttl(Duration::from_millis(1500)).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Invalid);
}
