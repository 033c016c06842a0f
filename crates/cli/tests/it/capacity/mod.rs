//! `sluicegate capacity` as a user runs it.

use serde_json::{Value, json};
use sluicegate_core::{Holder, Lease, LeasePool, Request};
use sluicegate_governor::CapacityAdmin;
use sluicegate_nats::{Settings, connect};
use sluicegate_testkit::server::NatsServer;

use crate::tool::{Ended, run_on};

async fn capacity(server: &NatsServer, args: &[&str]) -> Ended {
    run_on(server, &[&["capacity"], args].concat()).await
}

/// So many leases, held by somebody.
async fn held(server: &NatsServer, name: &str, holder: &str, leases: usize) -> Vec<Lease> {
    let connection = connect(&Settings::from_url(&server.url()).unwrap()).await.unwrap();
    let pool = CapacityAdmin::bind(&connection, name).await.unwrap().pool().unwrap();
    let request = Request::new(Holder::try_new(holder).unwrap());
    let mut held = Vec::new();
    for _ in 0..leases {
        held.push(pool.try_acquire(&request).await.unwrap().expect("a free lease"));
    }
    held
}

#[tokio::test]
async fn what_is_added_is_as_it_was_said() {
    let server = NatsServer::shared().await.unwrap();
    let told = capacity(server, &["add", "c-add", "--total", "10050", "--factor", "1000"]).await;
    let rows = [
        "name\tc-add",
        "total\t10050",
        "factor\t1000",
        "leases\t10",
        "held\t0",
        "held_units\t0",
        "holders\t0",
        "ttl_seconds\t10",
        "changed\ttrue",
    ];
    assert_eq!((told.code, told.stdout.lines().collect::<Vec<_>>()), (Some(0), rows.to_vec()), "{told:#?}");
    assert!(told.stderr.contains("50 of 10050 units a second are in no lease"), "{told:#?}");

    let again = capacity(server, &["add", "c-add", "--total", "10050", "--factor", "1000", "--json"]).await;
    assert_eq!(
        (&again.document()["type"], &again.document()["changed"]),
        (&json!("sluicegate.v1.capacity_add"), &json!(false))
    );
    let other = capacity(server, &["add", "c-add", "--total", "20000", "--factor", "1000", "--json"]).await;
    assert_eq!((other.code, &other.error()["code"]), (Some(1), &json!("already_exists")), "{other:#?}");
    let message = other.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("limit 10 → 20") && message.contains("10050/1000 → 20000/1000"), "{message}");
    let ensured =
        capacity(server, &["add", "c-add", "--total", "20000", "--factor", "1000", "--ensure", "--json"])
            .await;
    assert_eq!((&ensured.document()["leases"], &ensured.document()["changed"]), (&json!(20), &json!(true)));
}

#[tokio::test]
async fn what_cannot_be_is_named_with_what_would_do() {
    let server = NatsServer::shared().await.unwrap();
    for (total, factor, text) in [
        ("10", "11", "total 10 is below the factor 11"),
        ("10", "0", "factor is 0"),
        ("501", "1", "use a factor of 2 or more"),
    ] {
        let told =
            capacity(server, &["add", "c-wrong", "--total", total, "--factor", factor, "--json"]).await;
        assert_eq!((told.code, &told.error()["code"]), (Some(2), &json!("usage")), "{told:#?}");
        assert!(told.error()["message"].as_str().unwrap().contains(text), "{told:#?}");
    }
    let told = capacity(server, &["edit", "c-wrong"]).await;
    assert_eq!(told.code, Some(2), "{told:#?}");
    for verb in
        [&["view", "c-nowhere"][..], &["rm", "c-nowhere", "-f"], &["edit", "c-nowhere", "--total", "5"]]
    {
        let told = capacity(server, &[verb, &["--json"]].concat()).await;
        assert_eq!((told.code, &told.error()["code"]), (Some(1), &json!("not_found")), "{told:#?}");
    }
    assert_eq!(
        run_on(server, &["governor", "add", "c-plain", "3", "10s", "--wire", "native"]).await.code,
        Some(0)
    );
    let told = capacity(server, &["view", "c-plain", "--json"]).await;
    assert_eq!((told.code, &told.error()["code"]), (Some(78), &json!("config_invalid")), "{told:#?}");
}

#[tokio::test]
async fn who_holds_how_much_is_shown() {
    let server = NatsServer::start().await.unwrap();
    capacity(&server, &["add", "store", "--total", "2000", "--factor", "100"]).await;
    capacity(&server, &["add", "other", "--total", "50"]).await;
    let _one = held(&server, "store", "writer@a 1", 3).await;
    let _two = held(&server, "store", "writer@b 2", 5).await;
    let view = capacity(&server, &["view", "store", "--json"]).await.document();
    assert_eq!((&view["held"], &view["held_units"], &view["holders"]), (&json!(8), &json!(800), &json!(2)));
    let parts: Vec<(&Value, &Value)> =
        view["parts"].as_array().unwrap().iter().map(|part| (&part["holder"], &part["units"])).collect();
    assert_eq!(parts, [(&json!("writer@b 2"), &json!(500)), (&json!("writer@a 1"), &json!(300))]);
    let tsv = capacity(&server, &["view", "store"]).await;
    assert!(tsv.stdout.lines().any(|line| line.starts_with("holder\twriter@b 2\t5\t500\t")), "{tsv:#?}");

    let ls = capacity(&server, &["ls", "--header"]).await;
    let lines: Vec<_> = ls.stdout.lines().collect();
    assert_eq!(lines[0], "name\ttotal\tfactor\tleases\theld\theld_units\tholders\tttl_seconds");
    assert_eq!(lines[1..], ["other\t50\t3\t16\t0\t0\t0\t10", "store\t2000\t100\t20\t8\t800\t2\t10"]);
    let json = capacity(&server, &["ls", "--json"]).await.document();
    assert_eq!(
        (&json["type"], json["capacities"].as_array().unwrap().len()),
        (&json!("sluicegate.v1.capacity_ls"), 2)
    );
}

#[tokio::test]
async fn changes_keep_what_is_held_and_ask_before_they_take() {
    let server = NatsServer::shared().await.unwrap();
    capacity(server, &["add", "c-edit", "--total", "1000", "--factor", "100"]).await;
    let _held = held(server, "c-edit", "w", 4).await;
    let told =
        capacity(server, &["edit", "c-edit", "--total", "300", "--ttl", "30s", "--json"]).await.document();
    assert_eq!((&told["leases"], &told["held"], &told["ttl_seconds"]), (&json!(3), &json!(4), &json!(30.0)));
    assert_eq!(told["changed"], true);

    let told = capacity(server, &["set", "c-edit", "--factor", "50", "--json"]).await;
    assert_eq!(told.code, Some(2), "nobody can be asked: {told:#?}");
    assert!(told.stderr.contains("4 leases are held"), "{told:#?}");
    let told = capacity(server, &["edit", "c-edit", "--factor", "50", "--force", "--json"]).await.document();
    assert_eq!((&told["factor"], &told["leases"]), (&json!(50), &json!(6)));

    assert_eq!(capacity(server, &["reset", "c-edit"]).await.code, Some(2), "it needs force");
    let told = capacity(server, &["reset", "c-edit", "-f", "--json"]).await.document();
    assert_eq!((&told["type"], &told["freed"]), (&json!("sluicegate.v1.capacity_reset"), &json!(4)));
    assert_eq!(told["parts"][0]["holder"], "w", "it says whom it freed");
    assert_eq!(capacity(server, &["rm", "c-edit", "-f"]).await.code, Some(0));
    assert_eq!(capacity(server, &["view", "c-edit"]).await.code, Some(1));
}
