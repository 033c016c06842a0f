//! `ls` and `view`: tables, TSV and JSON.

use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_testkit::server::NatsServer;
use tokio::time::timeout;

use super::{LONG, Site, line, lines};
use crate::tool::{Ended, run_on, tool_on};

const HOUR: Duration = Duration::from_secs(3600);

async fn governor(server: &NatsServer, args: &[&str]) -> Ended {
    let told = run_on(server, &[&["governor"], args].concat()).await;
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{told:#?}");
    told
}

#[tokio::test]
async fn every_governor_is_listed_in_every_format() {
    let server = NatsServer::start().await.unwrap();
    for format in ["table", "tsv", "json", "ndjson"] {
        let told = run_on(&server, &["governor", "ls", "--format", format]).await;
        let expected =
            if format == "json" { "{\"type\":\"sluicegate.v1.governor_ls\",\"governors\":[]}\n" } else { "" };
        assert_eq!((told.code, told.stdout.as_str()), (Some(0), expected), "{told:#?}");
    }
    let site = Site::new(&server, "nightly", 10, HOUR).await;
    let _slot = site.occupy(b"root@web03 4411").await;
    governor(&server, &["add", "batch", "2", "90s", "--collective", "mco"]).await;
    governor(&server, &["add", "odd", "2", "90s", "--subject", "some.where.else"]).await;
    governor(&server, &["add", "leader", "1", "10s", "--wire", "native"]).await;

    let tsv = governor(&server, &["ls"]).await.stdout;
    let rows: Vec<Vec<&str>> = tsv.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[0], ["batch", "campaign", "2", "0", "2", "90", "", "", "1", "governor"]);
    assert_eq!(rows[1], ["leader", "native", "1", "0", "1", "10", "", "", "1", "governor"]);
    assert_eq!((rows[2][0], &rows[2][2..6], rows[2].len()), ("nightly", &["10", "1", "9", "3600"][..], 10));
    assert!(rows[2][6].parse::<f64>().unwrap() < 60.0, "the age of the oldest lease");
    assert_eq!((rows[3][0], rows.len()), ("odd", 4));
    let header = governor(&server, &["ls", "--header"]).await.stdout;
    let names =
        "name\twire\tcapacity\tactive\tfree\tttl_seconds\toldest_age_seconds\twaiters\treplicas\tkind";
    assert_eq!(header.lines().next(), Some(names));

    assert_eq!(governor(&server, &["ls", "-n"]).await.stdout, "batch\nleader\nnightly\nodd\n");
    assert_eq!(governor(&server, &["ls", "--names", "--collective", "mco"]).await.stdout, "batch\n");

    let document = governor(&server, &["ls", "--json"]).await.document();
    let keys: Vec<_> = document["governors"][2].as_object().unwrap().keys().cloned().collect();
    assert_eq!(document["governors"][2]["free"], 9);
    assert_eq!(keys.len(), 10, "{keys:?}");
    assert_eq!(
        (&document["governors"][0]["waiters"], &document["governors"][0]["oldest_age_seconds"]),
        (&Value::Null, &Value::Null)
    );
    let lines = governor(&server, &["ls", "--format", "ndjson"]).await.stdout;
    let names: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["batch", "leader", "nightly", "odd"]);

    let table = governor(&server, &["ls", "--format", "table", "--collective", "mco"]).await.stdout;
    let expected = "\
╭───────┬──────────┬──────────┬────────┬──────┬───────┬────────┬─────────┬──────────┬──────────╮
│ Name  │ Wire     │ Capacity │ Active │ Free │   TTL │ Oldest │ Waiters │ Replicas │ Kind     │
├───────┼──────────┼──────────┼────────┼──────┼───────┼────────┼─────────┼──────────┼──────────┤
│ batch │ campaign │        2 │      0 │    2 │ 1m30s │      - │       - │        1 │ governor │
╰───────┴──────────┴──────────┴────────┴──────┴───────┴────────┴─────────┴──────────┴──────────╯
";
    assert_eq!(table, expected);
}

#[tokio::test]
async fn a_governor_is_shown_with_its_leases() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "v-one", 10, HOUR).await;
    let lease = site.occupy(b"root@web03 4411").await;
    let id = lease.id().0;

    let told = governor(server, &["view", "v-one", "--json"]).await;
    let document = told.document();
    let keys = [
        "type",
        "name",
        "wire",
        "kind",
        "stream",
        "subject",
        "capacity",
        "active",
        "free",
        "waiters",
        "ttl_seconds",
        "replicas",
        "seeded",
        "last_active",
        "warnings",
        "leases",
    ];
    let places: Vec<_> =
        keys.iter().map(|key| told.stdout.find(&format!("\"{key}\":")).expect(key)).collect();
    assert!(places.is_sorted(), "the keys have an order: {}", told.stdout);
    assert_eq!(document.as_object().unwrap().len(), keys.len());
    assert_eq!(
        (&document["active"], &document["free"], &document["seeded"]),
        (&json!(1), &json!(9), &json!(true))
    );
    let shown = &document["leases"][0];
    assert_eq!(
        (&shown["id"], &shown["token"], &shown["holder"]),
        (&json!(id), &json!(id), &json!("root@web03 4411"))
    );
    assert!(shown["age_seconds"].as_f64().unwrap() < 60.0);
    let (acquired, expires) = (shown["acquired"].as_str().unwrap(), shown["expires"].as_str().unwrap());
    assert!(acquired < expires && acquired.ends_with('Z') && acquired.len() == 24, "{acquired} {expires}");

    for alias in ["info", "show"] {
        let tsv = governor(server, &[alias, "v-one"]).await.stdout;
        let rows: Vec<Vec<&str>> = tsv.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(rows[0], ["name", "v-one"]);
        let last = rows.last().unwrap();
        assert_eq!(
            (last[0], last[1], last[3], last.len()),
            ("lease", id.to_string().as_str(), "root@web03 4411", 7)
        );
    }
    let table = governor(server, &["view", "v-one", "--format", "table"]).await.stdout;
    assert!(table.contains("      Capacity: 10\n") && table.contains("  Time to live: 1h\n"), "{table}");
    assert!(table.contains(&format!("│ {id} │ {id} │ root@web03 4411 │")), "{table}");
}

#[tokio::test]
async fn names_of_others_cannot_command_a_terminal() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "v-hostile", 10, HOUR).await;
    let long = vec![b'x'; 64 * 1024];
    let hostile: [&[u8]; 5] =
        [b"\x1b[2Jgone\x07", b"a\tb\nc\\", "\u{202e}evil\u{9b}".as_bytes(), b"\xff\xfe", &long];
    for holder in hostile {
        let _ = site.occupy(holder).await;
    }
    for format in ["table", "tsv", "json", "ndjson"] {
        let told = governor(server, &["view", "v-hostile", "--format", format]).await;
        let bad =
            |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202e}' | '\u{200f}');
        assert!(!told.stdout.contains(bad), "{format}");
        assert!(
            told.stdout.contains("xFF") && told.stdout.contains("evil"),
            "{format}: {:.2000}",
            told.stdout
        );
    }
    let tsv = governor(server, &["view", "v-hostile"]).await.stdout;
    let leases: Vec<_> = tsv.lines().filter(|line| line.starts_with("lease\t")).collect();
    assert_eq!(leases.len(), 5, "no holder adds a row");
    assert!(leases.iter().all(|line| line.split('\t').count() == 7), "nor a column: {leases:?}");
    let evicted = governor(server, &["evict", "v-hostile", "--holder", "*gone*", "-f"]).await;
    assert_eq!(evicted.stdout.lines().count(), 1);
}

#[tokio::test]
async fn a_governor_that_does_not_exist_is_said_to() {
    let server = NatsServer::shared().await.unwrap();
    let told = run_on(server, &["governor", "view", "v-nope"]).await;
    let expected = "sluicegate: error: governor v-nope does not exist\n  help: see those there are: sluicegate governor ls\n";
    assert_eq!((told.code, told.stdout.as_str(), told.stderr.as_str()), (Some(1), "", expected));
    let told = run_on(server, &["governor", "view", "v-nope", "--json"]).await;
    let error = told.error();
    assert_eq!((error["code"].as_str(), error["exit"].as_u64()), (Some("not_found"), Some(1)), "{error:#}");
}

#[tokio::test]
async fn changes_are_told_as_they_happen() {
    let server = NatsServer::shared().await.unwrap();
    let site = Site::new(server, "v-watch", 2, Duration::from_secs(3)).await;
    let mut command = tool_on(server, &["governor", "view", "v-watch", "--watch", "--json"]);
    let mut child = command.spawn().unwrap();
    let mut said = lines(&mut child);
    let mut next = async || -> Value {
        let text = timeout(LONG, line(&mut said)).await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    assert_eq!(next().await["type"], "sluicegate.v1.governor_view", "as it was first seen");
    let lease = site.occupy(b"a").await;
    let event = next().await;
    assert_eq!(
        (event["event"].as_str(), event["holder"].as_str()),
        (Some("acquired"), Some("a")),
        "{event:#}"
    );
    assert_eq!(event["type"], "sluicegate.v1.governor_event");
    let pool = sluicegate_governor::CampaignPool::bind(&site.connection, "v-watch").await.unwrap();
    assert!(sluicegate_core::LeasePool::release(&pool, &lease).await.unwrap());
    let event = next().await;
    assert_eq!((event["event"].as_str(), event["id"].as_u64()), (Some("released"), Some(lease.id().0)));
    let _expires = site.occupy(b"b").await;
    assert_eq!(next().await["event"], "acquired");
    assert_eq!(next().await["event"], "expired");
    for verb in [&["evict", "--holder", "*"][..], &["reset"]] {
        let _evicted = site.occupy(b"c").await;
        assert_eq!(next().await["event"], "acquired");
        let args = [&["governor", verb[0], "v-watch", "--force"], &verb[1..]].concat();
        assert_eq!(run_on(server, &args).await.code, Some(0));
        let event = next().await;
        assert_eq!(
            (event["event"].as_str(), event["holder"].as_str()),
            (Some("evicted"), Some("c")),
            "{event:#}"
        );
    }
    assert_eq!(run_on(server, &["governor", "edit", "v-watch", "--capacity", "5"]).await.code, Some(0));
    let event = next().await;
    assert_eq!((event["event"].as_str(), event["capacity"].as_u64()), (Some("resized"), Some(5)));
}

#[tokio::test]
async fn a_reader_that_leaves_is_no_error() {
    let server = NatsServer::shared().await.unwrap();
    let _site = Site::new(server, "v-pipe", 2, HOUR).await;
    let tool = env!("CARGO_BIN_EXE_sluicegate");
    let script = format!("{tool} governor view v-pipe --watch | head -1; echo ${{PIPESTATUS[0]}}");
    let mut command = tokio::process::Command::new("bash");
    command.args(["-c", &script]).env("NATS_URL", server.url()).env("HOME", "/nonexistent");
    let running = command.output();
    // Somebody has to cause something to write.
    let site =
        Site { server, connection: crate::server::connection(server).await, name: "v-pipe".to_owned() };
    let busy = async {
        loop {
            let lease = site.occupy(b"a").await;
            tokio::time::sleep(Duration::from_millis(700)).await;
            let pool = sluicegate_governor::CampaignPool::bind(&site.connection, "v-pipe").await.unwrap();
            sluicegate_core::LeasePool::release(&pool, &lease).await.unwrap();
        }
    };
    let output = tokio::select! {
        output = timeout(LONG, running) => output.expect("it ends").unwrap(),
        () = busy => unreachable!(),
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "name\tv-pipe\n141\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "silent");
}
