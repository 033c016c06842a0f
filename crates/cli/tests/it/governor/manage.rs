//! `add edit evict reset rm`.

use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_testkit::server::NatsServer;

use super::Site;
use crate::server::connection;
use crate::tool::{Ended, run_on};

const HOUR: Duration = Duration::from_secs(3600);

async fn governor(server: &NatsServer, args: &[&str]) -> Ended {
    run_on(server, &[&["governor"], args].concat()).await
}

#[tokio::test]
async fn what_is_added_is_as_it_was_said() {
    let server = NatsServer::shared().await.unwrap();
    let told = governor(server, &["add", "m-add", "3", "1h30m"]).await;
    let rows = [
        "name\tm-add",
        "wire\tcampaign",
        "stream\tGOVERNOR_m-add",
        "subject\t$GOVERNOR.campaign.m-add",
        "capacity\t3",
        "ttl_seconds\t5400",
        "replicas\t1",
        "changed\ttrue",
    ];
    assert_eq!((told.code, told.stdout.lines().collect::<Vec<_>>()), (Some(0), rows.to_vec()), "{told:#?}");

    let again = governor(server, &["add", "m-add", "3", "1h30m", "--json"]).await;
    assert_eq!(again.document()["changed"], false, "{again:#?}");
    assert_eq!(again.document()["type"], "sluicegate.v1.governor_add");

    let flags =
        ["add", "m-flags", "--capacity", "2", "--expire", "90s", "--replicas", "1", "--collective", "mco"];
    let told = governor(server, &[&flags[..], &["--json"]].concat()).await;
    let document = told.document();
    assert_eq!((&document["capacity"], &document["ttl_seconds"]), (&json!(2), &json!(90.0)));
    assert_eq!(document["subject"], "mco.governor.m-flags");

    let native = governor(server, &["add", "m-native", "1", "10s", "--wire", "native", "--json"]).await;
    assert_eq!(native.document()["stream"], "GOVERNOR2_m-native", "{native:#?}");
}

#[tokio::test]
async fn one_that_differs_is_left_alone_unless_it_is_to_be_ensured() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "m-differs", 3, HOUR).await;
    let told = governor(server, &["add", "m-differs", "5", "2h", "--json"]).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(1), ""), "{told:#?}");
    let error = told.error();
    assert_eq!(error["code"], "already_exists");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("limit 3 → 5") && message.contains("ttl 1h → 2h"), "{message}");
    assert!(error["help"].as_str().unwrap().contains("--ensure"), "{error:#}");

    for changed in [true, false] {
        let told = governor(server, &["add", "m-differs", "5", "2h", "--ensure", "--json"]).await;
        assert_eq!(told.document()["changed"], changed, "{told:#?}");
    }
    assert_eq!(site.active().await, 0);
    let view = governor(server, &["view", "m-differs", "--json"]).await.document();
    assert_eq!((&view["capacity"], &view["ttl_seconds"]), (&json!(5), &json!(7200.0)));
}

#[tokio::test]
async fn what_cannot_be_made_is_said_before_anything_is_sent() {
    let server = NatsServer::shared().await.unwrap();
    for args in [
        &["add", "a.b", "1", "1h"][..],
        &["add", "m-bad", "0", "1h"],
        &["add", "m-bad", "1"],
        &["add", "m-bad", "1", "10"],
        &["add", "m-bad", "1", "1ms"],
        &["add", "m-bad", "1", "1500ms", "--wire", "native"],
        &["add", "m-bad", "1", "1h", "6"],
        &["add", "m-bad", "1", "1h", "--subject", "a.*"],
        &["add", "m-bad", "1", "1h", "--subject", "a", "--collective", "b"],
        &["edit", "m-bad"],
        &["evict", "m-bad"],
    ] {
        let told = governor(server, args).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""), "{args:?}: {told:#?}");
    }
    assert_eq!(governor(server, &["view", "m-bad"]).await.code, Some(1), "nothing was made");
}

#[tokio::test]
async fn edit_changes_what_is_named_and_nothing_else() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "m-edit", 3, HOUR).await;
    for holder in [b"a", b"b", b"c"] {
        let _ = site.occupy(holder).await;
    }
    let told = governor(server, &["edit", "m-edit", "--capacity", "2"]).await;
    let rows = ["name\tm-edit", "changed\ttrue", "active\t3", "change\tcapacity\t3\t2"];
    assert_eq!((told.code, told.stdout.lines().collect::<Vec<_>>()), (Some(0), rows.to_vec()), "{told:#?}");
    assert_eq!(told.stderr, "3 held, capacity 2: no new slot until 2 are released\n");

    let told = governor(server, &["edit", "m-edit", "--ttl", "2h", "--json"]).await;
    assert_eq!(told.document()["changes"], json!([{ "field": "ttl", "have": "1h", "want": "2h" }]));
    let told = governor(server, &["edit", "m-edit", "--ttl", "2h", "--json"]).await;
    assert_eq!(told.document()["changed"], false);

    let drained = governor(server, &["edit", "m-edit", "--drain", "--max-wait", "300ms", "--json"]).await;
    assert_eq!((drained.code, drained.error()["code"].as_str()), (Some(75), Some("no_slot")), "{drained:#?}");
    assert_eq!(site.active().await, 3, "nobody was evicted");
}

#[tokio::test]
async fn what_takes_something_away_needs_force() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "m-force", 3, HOUR).await;
    let lease = site.occupy(b"root@web07 1").await;
    let id = lease.id().to_string();
    // A time to live that is over, as far as that lease is concerned.
    let view = async || governor(server, &["view", "m-force", "--json"]).await.document();
    while view().await["leases"][0]["age_seconds"].as_f64() < Some(0.1) {}
    for args in [
        &["edit", "m-force", "--subject", "elsewhere.m-force"][..],
        &["edit", "m-force", "--ttl", "100ms"],
        &["evict", "m-force", &id],
        &["evict", "m-force", "--holder", "*"],
        &["reset", "m-force"],
        &["rm", "m-force"],
    ] {
        let told = governor(server, &[args, &["--json"]].concat()).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""), "{args:?}: {told:#?}");
        assert_eq!(told.error()["code"], "usage");
        assert!(told.error()["help"].as_str().unwrap().contains("--force"), "{told:#?}");
        assert_eq!(site.active().await, 1, "{args:?}");
    }
    let view = view().await;
    assert_eq!(
        (&view["subject"], &view["ttl_seconds"]),
        (&json!("$GOVERNOR.campaign.m-force"), &json!(3600.0))
    );

    let moved =
        governor(server, &["edit", "m-force", "--subject", "elsewhere.m-force", "-f", "--json"]).await;
    assert_eq!(moved.document()["changes"][0]["want"], "elsewhere.m-force", "{moved:#?}");
}

#[tokio::test]
async fn evicted_are_those_who_were_named() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "m-evict", 5, HOUR).await;
    let first = site.occupy(b"root@web07 1").await;
    let _second = site.occupy(b"root@web07 2").await;
    let _third = site.occupy(b"root@web08 1").await;
    let id = first.id().to_string();

    let told = governor(server, &["evict", "m-evict", &id, "-f"]).await;
    let columns: Vec<_> = told.stdout.trim_end().split('\t').collect();
    assert_eq!((told.code, columns[0], columns[2]), (Some(0), id.as_str(), "root@web07 1"), "{told:#?}");
    let again = governor(server, &["evict", "m-evict", &id, "-f", "--json"]).await;
    assert_eq!((again.code, again.error()["code"].as_str()), (Some(1), Some("not_found")), "{again:#?}");
    assert_eq!(again.document()["not_held"], json!([first.id().0]));

    let told = governor(server, &["evict", "m-evict", "--holder", "root@web0? 2", "-f", "--json"]).await;
    let document = told.document();
    assert_eq!(document["type"], "sluicegate.v1.governor_evict");
    assert_eq!(document["evicted"][0]["holder"], "root@web07 2");
    let nobody = governor(server, &["evict", "m-evict", "--holder", "web", "-f", "--json"]).await;
    assert_eq!((nobody.code, nobody.error()["code"].as_str()), (Some(1), Some("not_found")));
    assert_eq!(site.active().await, 1);
}

#[tokio::test]
async fn reset_and_rm_say_whom_they_freed() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "m-gone", 5, HOUR).await;
    let lease = site.occupy(b"root@web07 1").await;
    let told = governor(server, &["reset", "m-gone", "-f"]).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    let head = format!("name\tm-gone\nfreed\t1\nlease\t{}\t", lease.id());
    assert!(told.stdout.starts_with(&head), "{told:#?}");
    assert_eq!(site.active().await, 0);

    let _ = site.occupy(b"root@web07 2").await;
    let told = governor(server, &["rm", "m-gone", "-f", "--json"]).await;
    let document = told.document();
    assert_eq!((&document["type"], &document["freed"]), (&json!("sluicegate.v1.governor_rm"), &json!(1)));
    assert_eq!(document["leases"][0]["holder"], "root@web07 2");
    let again = governor(server, &["rm", "m-gone", "-f", "--json"]).await;
    assert_eq!((again.code, again.error()["code"].as_str()), (Some(1), Some("not_found")));
}

#[tokio::test]
async fn fields_that_others_have_set_survive() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "m-fields", 3, HOUR).await;
    let connection = connection(server).await;
    let timeout = Duration::from_secs(5);
    let info: Value = connection.api("STREAM.INFO.GOVERNOR_m-fields", &(), timeout).await.unwrap();
    let mut config = info["config"].clone();
    config["max_msg_size"] = json!(777);
    config["metadata"]["team"] = json!("nights");
    let _: Value = connection.api("STREAM.UPDATE.GOVERNOR_m-fields", &config, timeout).await.unwrap();
    assert_eq!(governor(server, &["edit", "m-fields", "--capacity", "4"]).await.code, Some(0));
    assert_eq!(governor(server, &["add", "m-fields", "5", "1h", "--ensure"]).await.code, Some(0));
    let info: Value = connection.api("STREAM.INFO.GOVERNOR_m-fields", &(), timeout).await.unwrap();
    let kept = (&info["config"]["max_msg_size"], &info["config"]["metadata"]["team"]);
    assert_eq!(kept, (&json!(777), &json!("nights")));
    assert_eq!(info["config"]["max_msgs"], 5);
    assert_eq!(site.active().await, 0);
}
