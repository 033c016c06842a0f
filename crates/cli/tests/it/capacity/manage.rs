//! `add edit reset rm`.

use serde_json::json;
use sluicegate_testkit::server::NatsServer;

use super::{Site, capacity};
use crate::tool::run_on;

#[tokio::test]
async fn what_is_added_is_as_it_was_said() {
    let server = NatsServer::shared().await.unwrap();
    let told = capacity(server, &["add", "c-add", "--total", "10000", "--factor", "500"]).await;
    let rows = [
        "name\tc-add",
        "stream\tGOVERNOR2_c-add",
        "total\t10000",
        "factor\t500",
        "leases\t20",
        "unused_units\t0",
        "ttl_seconds\t10",
        "replicas\t1",
        "changed\ttrue",
    ];
    assert_eq!((told.code, told.stdout.lines().collect::<Vec<_>>()), (Some(0), rows.to_vec()), "{told:#?}");
    assert_eq!(told.stderr, "");

    let half = capacity(server, &["add", "c-twentieth", "--total", "50", "--json"]).await.document();
    assert_eq!((&half["factor"], &half["leases"], &half["unused_units"]), (&json!(3), &json!(16), &json!(2)));

    let again = capacity(server, &["add", "c-add", "--total", "10000", "--factor", "500", "--json"]).await;
    let document = again.document();
    assert_eq!(
        (&document["changed"], &document["type"]),
        (&json!(false), &json!("sluicegate.v1.capacity_add"))
    );
}

#[tokio::test]
async fn what_makes_no_whole_lease_is_said_to_be_of_no_use() {
    let server = NatsServer::shared().await.unwrap();
    let said = "50 of 10,050 units/s are not usable: 10 leases of 1,000 make 10,000; \
        choose a factor that divides the total\n";
    let flags = ["--total", "10050", "--factor", "1000", "--ttl", "30s", "--json"];
    let told = capacity(server, &[&["add", "c-rest"], &flags[..]].concat()).await;
    let document = told.document();
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), said), "{told:#?}");
    assert_eq!((&document["leases"], &document["unused_units"]), (&json!(10), &json!(50)));
    assert_eq!(document["ttl_seconds"], 30.0);
    let told = capacity(server, &["edit", "c-rest", "--total", "10100"]).await;
    assert!(told.stderr.starts_with("100 of 10,100 units/s are not usable"), "{told:#?}");
}

#[tokio::test]
async fn one_that_differs_is_left_alone_unless_it_is_to_be_ensured() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "c-differs", 1_000, 100).await;
    let want = ["add", "c-differs", "--total", "2000", "--factor", "100", "--ttl", "600s", "--json"];
    let told = capacity(server, &want).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(1), ""), "{told:#?}");
    let error = told.error();
    assert_eq!(error["code"], "already_exists");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("total 1000 → 2000") && !message.contains("factor"), "{message}");
    assert!(error["help"].as_str().unwrap().contains("--ensure"), "{error:#}");
    for changed in [true, false] {
        let told = capacity(server, &[&want[..], &["--ensure"]].concat()).await;
        assert_eq!(told.document()["changed"], changed, "{told:#?}");
    }

    // Holders multiply by the factor that they know: that takes more than to say how it should be.
    let _held = site.occupy(b"a", 2).await;
    let want = ["add", "c-differs", "--total", "2000", "--factor", "50", "--ttl", "600s", "--json"];
    let told = capacity(server, &[&want[..], &["--ensure"]].concat()).await;
    assert_eq!((told.code, told.error()["code"].as_str()), (Some(1), Some("already_exists")), "{told:#?}");
    assert!(told.error()["message"].as_str().unwrap().contains("factor 100 → 50 while 2 of 20"), "{told:#?}");
    let told = capacity(server, &[&want[..], &["--force"]].concat()).await;
    assert_eq!((&told.document()["changed"], &told.document()["factor"]), (&json!(true), &json!(50)));
    assert_eq!(site.held().await, 2, "nobody was evicted");
}

#[tokio::test]
async fn what_cannot_be_made_is_said_with_the_flag_and_the_remedy() {
    let server = NatsServer::shared().await.unwrap();
    for (total, factor, message, help) in [
        ("50", "100", "--total 50 is less than --factor 100", "lower --factor to 50 or less"),
        ("0", "1", "--total 0 is less than --factor 1", "--total"),
        (
            "5000",
            "1",
            "--total 5000 in parts of --factor 1 makes 5000 leases",
            "raise --factor to 10 or more",
        ),
        ("5", "0", "--factor is 0", "--factor"),
    ] {
        let told = capacity(server, &["add", "c-bad", "--total", total, "--factor", factor, "--json"]).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""), "{told:#?}");
        let error = told.error();
        assert_eq!(error["code"], "usage");
        assert!(error["message"].as_str().unwrap().contains(message), "{error:#}");
        assert!(error["help"].as_str().unwrap().contains(help), "{error:#}");
    }
    for args in [
        &["add", "a.b", "--total", "10", "--factor", "1"][..],
        &["add", "c-bad", "--factor", "10"],
        &["add", "c-bad", "--total", "-1", "--factor", "1"],
        &["add", "c-bad", "--total", "10", "--factor", "1", "--ttl", "10"],
        &["add", "c-bad", "--total", "10", "--factor", "1", "--ttl", "1500ms"],
        &["add", "c-bad", "--total", "10", "--factor", "1", "--replicas", "6"],
        &["edit", "c-bad"],
    ] {
        let told = capacity(server, args).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""), "{args:?}: {told:#?}");
    }
    assert_eq!(capacity(server, &["view", "c-bad"]).await.code, Some(1), "nothing was made");

    let _site = Site::new(server, "c-good", 1_000, 100).await;
    let told = capacity(server, &["edit", "c-good", "--total", "99", "--ttl", "90s", "--json"]).await;
    assert_eq!((told.code, told.error()["code"].as_str()), (Some(2), Some("usage")), "{told:#?}");
    let view = capacity(server, &["view", "c-good", "--json"]).await.document();
    assert_eq!((&view["total"], &view["ttl_seconds"]), (&json!(1_000), &json!(600.0)), "all or nothing");
}

#[tokio::test]
async fn edit_changes_what_is_named_and_nothing_else() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "c-edit", 1_000, 100).await;
    let _held = site.occupy(b"a", 3).await;
    let told = capacity(server, &["edit", "c-edit", "--total", "200"]).await;
    let rows =
        ["name\tc-edit", "changed\ttrue", "held\t3", "change\ttotal\t1000\t200", "change\tleases\t10\t2"];
    assert_eq!((told.code, told.stdout.lines().collect::<Vec<_>>()), (Some(0), rows.to_vec()), "{told:#?}");
    assert_eq!(told.stderr, "3 held of 2 leases: no new one until 2 are released\n");
    assert_eq!(site.held().await, 3, "nobody was evicted");

    let told = capacity(server, &["set", "c-edit", "--ttl", "20s", "--total", "500", "--json"]).await;
    let document = told.document();
    assert_eq!(document["type"], "sluicegate.v1.capacity_edit");
    let changes = json!([
        { "field": "total", "have": "200", "want": "500" },
        { "field": "leases", "have": "2", "want": "5" },
        { "field": "ttl", "have": "10m", "want": "20s" },
    ]);
    assert_eq!(document["changes"], changes);
    let told = capacity(server, &["edit", "c-edit", "--ttl", "20s", "--json"]).await;
    assert_eq!(told.document()["changed"], false);
}

#[tokio::test]
async fn what_takes_something_away_needs_force() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "c-force", 1_000, 100).await;
    let _held = site.occupy(b"root@web07 1", 4).await;
    for args in [&["edit", "c-force", "--factor", "50"][..], &["reset", "c-force"], &["rm", "c-force"]] {
        let told = capacity(server, &[args, &["--json"]].concat()).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""), "{args:?}: {told:#?}");
        assert_eq!(told.error()["code"], "usage");
        assert!(told.error()["help"].as_str().unwrap().contains("--force"), "{told:#?}");
        assert_eq!(site.held().await, 4, "{args:?}");
    }
    let told = capacity(server, &["edit", "c-force", "--factor", "50"]).await;
    let why = "factor 100 → 50 while 4 of 10 leases are held: their holders go on spending 100 units";
    assert!(told.stderr.contains(why), "it says why: {told:#?}");
    let told = capacity(server, &["edit", "c-force", "--factor", "50", "-f", "--json"]).await;
    assert_eq!(told.document()["leases"], 20, "{told:#?}");
}

#[tokio::test]
async fn reset_and_rm_say_whom_they_freed() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "c-gone", 1_000, 100).await;
    let _held = (site.occupy(b"web07", 1).await, site.occupy(b"web08", 3).await);
    let told = capacity(server, &["reset", "c-gone", "-f"]).await;
    let rows: Vec<Vec<&str>> = told.stdout.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert_eq!((&rows[0][..], &rows[1][..]), (&["name", "c-gone"][..], &["freed", "4"][..]));
    assert_eq!((&rows[2][..4], rows[2].len()), (&["holder", "web08", "3", "300"][..], 5));
    assert_eq!(&rows[3][..4], ["holder", "web07", "1", "100"]);
    assert_eq!(site.held().await, 0);

    let _again = site.occupy(b"web09", 2).await;
    let told = capacity(server, &["rm", "c-gone", "-f", "--json"]).await;
    let document = told.document();
    assert_eq!((&document["type"], &document["freed"]), (&json!("sluicegate.v1.capacity_rm"), &json!(2)));
    assert_eq!(
        (&document["parts"][0]["holder"], &document["parts"][0]["units"]),
        (&json!("web09"), &json!(200))
    );
    let again = capacity(server, &["rm", "c-gone", "-f", "--json"]).await;
    assert_eq!((again.code, again.error()["code"].as_str()), (Some(1), Some("not_found")));
}

#[tokio::test]
async fn capacities_and_governors_are_told_apart() {
    let server = NatsServer::shared().await.unwrap();
    let _site = Site::new(server, "c-kind", 1_000, 100).await;
    let governor = async |args: &[&str]| run_on(server, &[&["governor"], args].concat()).await;
    assert_eq!(governor(&["add", "c-slots", "10", "10s", "--wire", "native"]).await.code, Some(0));

    let told =
        governor(&["add", "c-kind", "10", "10m", "--wire", "native", "--ensure", "-f", "--json"]).await;
    assert_eq!((told.code, told.error()["code"].as_str()), (Some(1), Some("already_exists")), "{told:#?}");
    assert!(told.error()["help"].as_str().unwrap().contains("sluicegate capacity view c-kind"), "{told:#?}");
    let told = governor(&["add", "c-kind", "10", "10m", "--json"]).await;
    assert_eq!((told.code, told.error()["code"].as_str()), (Some(1), Some("already_exists")), "{told:#?}");
    for args in [
        &["add", "c-slots", "--total", "100", "--factor", "10"][..],
        &["add", "c-slots", "--total", "100", "--factor", "10", "-f"],
    ] {
        let told = capacity(server, &[args, &["--json"]].concat()).await;
        assert_eq!(
            (told.code, told.error()["code"].as_str()),
            (Some(1), Some("already_exists")),
            "{told:#?}"
        );
        assert!(told.error()["help"].as_str().unwrap().contains("governor view c-slots"), "{told:#?}");
    }
    for args in [&["view", "c-slots"][..], &["edit", "c-slots", "--total", "5"], &["rm", "c-slots", "-f"]] {
        let told = capacity(server, &[args, &["--json"]].concat()).await;
        assert_eq!((told.code, told.error()["code"].as_str()), (Some(1), Some("not_found")), "{told:#?}");
        assert!(told.error()["help"].as_str().unwrap().contains("governor view c-slots"), "{told:#?}");
    }

    let said = "c-kind is a capacity: each slot is a part of a rate; see sluicegate capacity view c-kind";
    let told = governor(&["view", "c-kind", "--json"]).await;
    assert_eq!((&told.document()["kind"], told.stderr.trim_end()), (&json!("capacity"), said), "{told:#?}");
    let told = governor(&["run", "c-kind", "true"]).await;
    assert!(told.code == Some(0) && told.stderr.contains(said), "{told:#?}");
    let told = governor(&["edit", "c-kind", "--capacity", "7"]).await;
    assert!(told.stdout.ends_with("change\tcapacity\t10\t7\nchange\ttotal\t1000\t700\n"), "{told:#?}");
    let view = capacity(server, &["view", "c-kind", "--json"]).await.document();
    assert_eq!((&view["total"], &view["leases"], &view["warnings"]), (&json!(700), &json!(7), &json!([])));
    let told = governor(&["view", "c-slots"]).await;
    assert!(told.stderr.is_empty() && told.stdout.contains("kind\tgovernor\n"), "{told:#?}");
}
