//! `ls` and `view`: tables, TSV and JSON.

use serde_json::{Value, json};
use sluicegate_core::{LeasePool, LeasePoolAdmin};
use sluicegate_governor::CapacityPool;
use sluicegate_testkit::server::NatsServer;
use tokio::time::timeout;

use super::Site;
use crate::tool::{Ended, LONG, line, lines, run_on, tool_on};

async fn capacity(server: &NatsServer, args: &[&str]) -> Ended {
    let told = super::capacity(server, args).await;
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{told:#?}");
    told
}

#[tokio::test]
async fn every_capacity_is_listed_in_every_format() {
    let server = NatsServer::start().await.unwrap();
    for format in ["table", "tsv", "json", "ndjson"] {
        let told = run_on(&server, &["capacity", "ls", "--format", format]).await;
        let expected = if format == "json" {
            "{\"type\":\"sluicegate.v1.capacity_ls\",\"capacities\":[]}\n"
        } else {
            ""
        };
        assert_eq!((told.code, told.stdout.as_str()), (Some(0), expected), "{told:#?}");
    }
    let site = Site::new(&server, "cosmos", 10_050, 1_000).await;
    let _other = Site::new(&server, "bulk", 200, 10).await;
    for (name, wire) in [("slots", "native"), ("nightly", "campaign")] {
        assert_eq!(
            run_on(&server, &["governor", "add", name, "1", "10s", "--wire", wire]).await.code,
            Some(0)
        );
    }
    let _held = (site.occupy(b"a", 2).await, site.occupy(b"b", 1).await);

    let tsv = capacity(&server, &["ls"]).await.stdout;
    assert_eq!(tsv, "bulk\t200\t10\t20\t0\t0\t0\t600\ncosmos\t10050\t1000\t10\t3\t3000\t2\t600\n");
    let header = capacity(&server, &["ls", "--header"]).await.stdout;
    let names = "name\ttotal\tfactor\tleases\theld\theld_units\tholders\tttl_seconds";
    assert_eq!(header.lines().next(), Some(names));
    assert_eq!(capacity(&server, &["ls", "-n"]).await.stdout, "bulk\ncosmos\n");
    let document = capacity(&server, &["ls", "--json"]).await.document();
    let expected = json!({
        "name": "cosmos", "total": 10_050, "factor": 1_000, "leases": 10, "held": 3, "held_units": 3_000,
        "holders": 2, "ttl_seconds": 600.0,
    });
    assert_eq!(document["capacities"][1], expected);
    let lines = capacity(&server, &["ls", "--format", "ndjson"]).await.stdout;
    assert_eq!(serde_json::from_str::<Value>(lines.lines().nth(1).unwrap()).unwrap(), expected);

    let table = capacity(&server, &["ls", "--format", "table"]).await.stdout;
    let expected = "\
╭────────┬────────┬────────┬────────┬──────┬────────────┬─────────┬─────╮
│ Name   │  Total │ Factor │ Leases │ Held │ Held units │ Holders │ TTL │
├────────┼────────┼────────┼────────┼──────┼────────────┼─────────┼─────┤
│ bulk   │    200 │     10 │     20 │    0 │          0 │       0 │ 10m │
│ cosmos │ 10,050 │  1,000 │     10 │    3 │      3,000 │       2 │ 10m │
╰────────┴────────┴────────┴────────┴──────┴────────────┴─────────┴─────╯
";
    assert_eq!(table, expected);

    // Whoever looks at governors sees that these are some, and of which kind.
    let governors = run_on(&server, &["governor", "ls"]).await.stdout;
    let kinds: Vec<_> = governors
        .lines()
        .map(|line| (line.split('\t').next().unwrap(), line.rsplit('\t').next().unwrap()))
        .collect();
    let expected =
        [("bulk", "capacity"), ("cosmos", "capacity"), ("nightly", "governor"), ("slots", "governor")];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn a_capacity_is_shown_with_its_shares() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "s-one", 10_050, 1_000).await;
    let _held = (site.occupy(b"web01", 1).await, site.occupy(b"web02", 3).await);
    let told = capacity(server, &["view", "s-one", "--json"]).await;
    let document = told.document();
    let keys = [
        "type",
        "name",
        "stream",
        "total",
        "factor",
        "leases",
        "held",
        "held_units",
        "unused_units",
        "holders",
        "ttl_seconds",
        "replicas",
        "last_active",
        "warnings",
        "parts",
    ];
    let places: Vec<_> =
        keys.iter().map(|key| told.stdout.find(&format!("\"{key}\":")).expect(key)).collect();
    assert!(places.is_sorted(), "the keys have an order: {}", told.stdout);
    assert_eq!(document.as_object().unwrap().len(), keys.len());
    assert_eq!(
        (&document["held"], &document["held_units"], &document["holders"]),
        (&json!(4), &json!(4_000), &json!(2))
    );
    assert_eq!(
        (&document["unused_units"], &document["type"]),
        (&json!(50), &json!("sluicegate.v1.capacity_view"))
    );
    let share = &document["parts"][0];
    assert_eq!(
        (&share["holder"], &share["leases"], &share["units"]),
        (&json!("web02"), &json!(3), &json!(3_000))
    );
    assert!(share["oldest_age_seconds"].as_f64().unwrap() < 60.0);

    for alias in ["info", "show"] {
        let tsv = capacity(server, &[alias, "s-one"]).await.stdout;
        let rows: Vec<Vec<&str>> = tsv.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!((&rows[0][..], &rows[2][..]), (&["name", "s-one"][..], &["total", "10050"][..]));
        let last = rows.last().unwrap();
        assert_eq!((&last[..4], last.len()), (&["holder", "web01", "1", "1000"][..], 5));
    }
    let table = capacity(server, &["view", "s-one", "--format", "table"]).await.stdout;
    assert!(
        table.contains("       Total units/s: 10,050\n") && table.contains("        Time to live: 10m\n"),
        "{table}"
    );
    assert!(table.contains("│ web02  │      3 │   3,000 │"), "{table}");
}

#[tokio::test]
async fn names_of_others_cannot_command_a_terminal() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "s-hostile", 10, 1).await;
    let hostile: [&[u8]; 4] =
        [b"\x1b[2Jgone\x07", b"a\tb\nc\\", "\u{202e}evil\u{9b}".as_bytes(), b"\xff\xfe"];
    for holder in hostile {
        let _ = site.occupy(holder, 1).await;
    }
    for format in ["table", "tsv", "json", "ndjson"] {
        let told = capacity(server, &["view", "s-hostile", "--format", format]).await;
        let bad =
            |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202e}' | '\u{200f}');
        assert!(!told.stdout.contains(bad), "{format}");
        assert!(told.stdout.contains("xFF") && told.stdout.contains("evil"), "{format}: {}", told.stdout);
    }
    let tsv = capacity(server, &["view", "s-hostile"]).await.stdout;
    let shares: Vec<_> = tsv.lines().filter(|line| line.starts_with("holder\t")).collect();
    assert_eq!(shares.len(), 4, "no holder adds a row");
    assert!(shares.iter().all(|line| line.split('\t').count() == 5), "nor a column: {shares:?}");
}

#[tokio::test]
async fn what_is_not_said_is_unknown_and_warned_of() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "s-silent", 1_000, 100).await;
    let wait = std::time::Duration::from_secs(5);
    let info: Value = site.connection.api("STREAM.INFO.GOVERNOR2_s-silent", &(), wait).await.unwrap();
    let mut config = info["config"].clone();
    config["metadata"]["sluicegate.factor"] = json!("many");
    let _: Value = site.connection.api("STREAM.UPDATE.GOVERNOR2_s-silent", &config, wait).await.unwrap();
    let document = capacity(server, &["view", "s-silent", "--json"]).await.document();
    assert_eq!((&document["total"], &document["held_units"]), (&Value::Null, &Value::Null));
    assert_eq!(document["warnings"], json!(["what a lease is worth is not known: set total and factor"]));
    let told = run_on(server, &["capacity", "edit", "s-silent", "--total", "10"]).await;
    assert_eq!(told.code, Some(2), "{told:#?}");
    let told = capacity(server, &["edit", "s-silent", "--total", "10", "--factor", "1"]).await;
    assert!(told.stdout.contains("change\tfactor\tnot set\t1\n"), "{told:#?}");
}

#[tokio::test]
async fn a_capacity_that_does_not_exist_is_said_to() {
    let server = NatsServer::shared().await.unwrap();
    let told = super::capacity(server, &["view", "s-nope"]).await;
    let expected = "sluicegate: error: capacity s-nope does not exist\n  help: see those there are: sluicegate capacity ls\n";
    assert_eq!((told.code, told.stdout.as_str(), told.stderr.as_str()), (Some(1), "", expected));
    for verb in [&["edit", "s-nope", "--total", "1"][..], &["reset", "s-nope", "-f"], &["rm", "s-nope", "-f"]]
    {
        let told = super::capacity(server, &[verb, &["--json"]].concat()).await;
        let error = told.error();
        assert_eq!(
            (error["code"].as_str(), error["exit"].as_u64()),
            (Some("not_found"), Some(1)),
            "{error:#}"
        );
    }
}

#[tokio::test]
async fn changes_are_told_as_they_happen() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "s-watch", 1_000, 100).await;
    let mut command = tool_on(server, &["capacity", "view", "s-watch", "--watch", "--json"]);
    let mut child = command.spawn().unwrap();
    let mut said = lines(&mut child);
    let mut next = async || -> Value {
        let text = timeout(LONG, line(&mut said)).await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let what = |event: &Value| event["event"].as_str().unwrap().to_owned();
    assert_eq!(next().await["type"], "sluicegate.v1.capacity_view", "as it was first seen");
    let lease = site.occupy(b"a", 1).await.remove(0);
    let event = next().await;
    assert_eq!((what(&event).as_str(), &event["holder"]), ("acquired", &json!("a")), "{event:#}");
    assert_eq!((&event["type"], &event["held_units"]), (&json!("sluicegate.v1.capacity_event"), &json!(100)));
    let pool = CapacityPool::bind(&site.connection, "s-watch").await.unwrap().pool;
    assert!(pool.release(&lease).await.unwrap());
    assert_eq!(what(&next().await), "released");
    let _other = site.occupy(b"b", 1).await;
    assert_eq!(what(&next().await), "acquired");
    pool.reset().await.unwrap();
    assert_eq!(what(&next().await), "evicted");
    for total in ["1050", "2000"] {
        assert_eq!(run_on(server, &["capacity", "edit", "s-watch", "--total", total]).await.code, Some(0));
        let event = next().await;
        assert_eq!((what(&event).as_str(), event["total"].to_string().as_str()), ("resized", total));
    }
}
