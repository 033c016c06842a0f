//! Users who may not do everything: what they may works, and what they may not is named.

use sluicegate_testkit::server::NatsServer;

use crate::tool::Ended;
use crate::users::{self, USERS};

async fn as_user(server: &NatsServer, user: &str, args: &[&str]) -> Ended {
    users::as_user(server, user, &[&["capacity"], args].concat()).await
}

async fn site() -> NatsServer {
    let server = NatsServer::builder().config(USERS).start().await.unwrap();
    let made = as_user(&server, "all", &["add", "w", "--total", "100", "--factor", "10"]).await;
    assert_eq!(made.code, Some(0), "{made:#?}");
    server
}

#[tokio::test]
async fn looking_needs_no_right_to_change() {
    let server = site().await;
    for args in [&["ls"][..], &["ls", "--json"], &["view", "w"], &["view", "w", "--json"]] {
        let told = as_user(&server, "ro", args).await;
        assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{args:?}: {told:#?}");
        assert!(!told.stdout.is_empty());
    }
}

#[tokio::test]
async fn a_missing_right_is_named_by_its_subject() {
    let server = site().await;
    let update = "$JS.API.STREAM.UPDATE.GOVERNOR2_w";
    let info = "$JS.API.STREAM.INFO.GOVERNOR2_w";
    let new = "$JS.API.STREAM.CREATE.GOVERNOR2_new";
    let cases: [(&str, &[&str], &str); 8] = [
        ("ro", &["add", "new", "--total", "10", "--factor", "1"], new),
        ("ro", &["add", "w", "--total", "200", "--factor", "10", "--ensure"], update),
        ("ro", &["edit", "w", "--total", "200"], update),
        ("ro", &["edit", "w", "--ttl", "20s"], update),
        ("ro", &["reset", "w", "-f"], "$JS.API.STREAM.PURGE.GOVERNOR2_w"),
        ("ro", &["rm", "w", "-f"], "$JS.API.STREAM.DELETE.GOVERNOR2_w"),
        ("nothing", &["view", "w"], info),
        ("nothing", &["edit", "w", "--total", "200"], info),
    ];
    for (user, args, subject) in cases {
        let told = as_user(&server, user, &[&["--json"], args].concat()).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(77), ""), "{args:?}: {told:#?}");
        let error = told.error();
        let named = (error["code"].as_str(), error["subject"].as_str());
        assert_eq!(named, (Some("not_permitted"), Some(subject)), "{error:#}");
        assert!(!told.stderr.contains("timed out") && !told.stderr.contains("timeout"), "{told:#?}");
    }
    let ls = as_user(&server, "nothing", &["ls", "--json"]).await;
    assert_eq!((ls.code, ls.error()["code"].as_str()), (Some(77), Some("not_permitted")), "{ls:#?}");
}

#[tokio::test]
async fn holders_that_may_not_be_read_are_unknown_and_not_none() {
    let config = USERS.replace("\"$JS.API.STREAM.MSG.GET.>\", ", "");
    assert_ne!(config, USERS);
    let server = NatsServer::builder().config(&config).start().await.unwrap();
    let made = as_user(&server, "all", &["add", "w", "--total", "100", "--factor", "10"]).await;
    assert_eq!(made.code, Some(0), "{made:#?}");
    let run = ["governor", "run", "w", "sh", "-c", "echo held >&2; read x"];
    let mut holding = crate::tool::tool_on(&server, &run);
    holding.env("NATS_USER", "all").env("NATS_PASSWORD", "p").stdin(std::process::Stdio::piped());
    let mut holding = holding.spawn().unwrap();
    let said = crate::tool::until_says(&mut holding, "held").await;
    let told = as_user(&server, "ro", &["ls"]).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "w\t100\t10\t10\t1\t10\t\t10\n"), "{told:#?}");
    let view = as_user(&server, "ro", &["view", "w", "--json"]).await.document();
    assert!(
        view["holders"].is_null() && view["warnings"][0].as_str().unwrap().contains("MSG.GET"),
        "{view:#}"
    );
    drop(holding.stdin.take());
    holding.wait().await.unwrap();
    said.await.unwrap();
}

#[tokio::test]
async fn without_a_server_every_verb_says_so() {
    let verbs: [&[&str]; 7] = [
        &["ls"],
        &["view", "x"],
        &["view", "x", "--watch"],
        &["add", "x", "--total", "10", "--factor", "1"],
        &["edit", "x", "--total", "20"],
        &["reset", "x", "-f"],
        &["rm", "x", "-f"],
    ];
    users::without_a_server("capacity", &verbs).await;
}

#[tokio::test]
async fn no_output_has_a_secret() {
    let verbs: [&[&str]; 6] = [
        &["add", "x", "--total", "10", "--factor", "1"],
        &["edit", "x", "--total", "20"],
        &["ls"],
        &["view", "x"],
        &["reset", "x", "-f"],
        &["rm", "x", "-f"],
    ];
    users::no_secrets("capacity", &verbs).await;
}
