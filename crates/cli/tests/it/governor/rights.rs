//! Users who may not do everything: what they may works, and what they may not is named.

use sluicegate_testkit::server::NatsServer;

use crate::tool::Ended;
use crate::users::{self, USERS};

async fn as_user(server: &NatsServer, user: &str, args: &[&str]) -> Ended {
    users::as_user(server, user, &[&["governor"], args].concat()).await
}

async fn site() -> NatsServer {
    let server = NatsServer::builder().config(USERS).start().await.unwrap();
    let made = as_user(&server, "all", &["add", "w", "2", "1h", "--collective", "mco"]).await;
    assert_eq!(made.code, Some(0), "{made:#?}");
    server
}

#[tokio::test]
async fn looking_needs_no_right_to_change() {
    let server = site().await;
    for args in [&["ls"][..], &["ls", "--json"], &["view", "w"], &["view", "w", "--json"], &["wait", "w"]] {
        let told = as_user(&server, "ro", args).await;
        assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{args:?}: {told:#?}");
        assert!(!told.stdout.is_empty());
    }
}

#[tokio::test]
async fn a_missing_right_is_named_by_its_subject() {
    let server = site().await;
    let (update, delete) = ("$JS.API.STREAM.UPDATE.GOVERNOR_w", "$JS.API.STREAM.DELETE.GOVERNOR_w");
    let cases: [(&str, &[&str], &str); 11] = [
        ("ro", &["add", "new", "1", "1h"], "$JS.API.STREAM.CREATE.GOVERNOR_new"),
        ("ro", &["add", "w", "3", "1h", "--ensure"], update),
        ("ro", &["edit", "w", "--capacity", "3"], update),
        ("ro", &["edit", "w", "--ttl", "2h"], update),
        ("ro", &["reset", "w", "-f"], "$JS.API.STREAM.PURGE.GOVERNOR_w"),
        ("ro", &["rm", "w", "-f"], delete),
        ("ro", &["run", "w", "true"], "mco.governor.w"),
        ("ro", &["hold", "w"], "mco.governor.w"),
        ("nothing", &["view", "w"], "$JS.API.STREAM.INFO.GOVERNOR_w"),
        ("nothing", &["wait", "w"], "$JS.API.STREAM.INFO.GOVERNOR_w"),
        ("nothing", &["run", "w", "true"], "$JS.API.STREAM.INFO.GOVERNOR_w"),
    ];
    for (user, args, subject) in cases {
        let told = as_user(&server, user, &[&["--json"], args].concat()).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(77), ""), "{args:?}: {told:#?}");
        let error = told.error();
        assert_eq!(
            (error["code"].as_str(), error["subject"].as_str()),
            (Some("not_permitted"), Some(subject)),
            "{error:#}"
        );
        assert!(error["message"].as_str().unwrap().contains(subject), "{error:#}");
        assert!(!told.stderr.contains("timed out") && !told.stderr.contains("timeout"), "{told:#?}");
    }
    let ls = as_user(&server, "nothing", &["ls", "--json"]).await;
    assert_eq!((ls.code, ls.error()["code"].as_str()), (Some(77), Some("not_permitted")), "{ls:#?}");
    let refused = as_user(&server, "nobody", &["ls", "--json"]).await;
    assert_eq!((refused.code, refused.error()["code"].as_str()), (Some(77), Some("auth")), "{refused:#?}");
}

#[tokio::test]
async fn evicting_needs_the_right_to_delete() {
    let server = site().await;
    let script = "run w --holder me sh -c".split(' ').chain(["sleep 3"]).collect::<Vec<_>>();
    let running = as_user(&server, "all", &script);
    let evicting = async {
        loop {
            let told = as_user(&server, "ro", &["evict", "w", "--holder", "me", "-f", "--json"]).await;
            if told.error()["code"] != "not_found" {
                return told;
            }
        }
    };
    let (ran, told) = tokio::join!(running, evicting);
    assert_eq!(
        (told.code, told.error()["subject"].as_str()),
        (Some(77), Some("$JS.API.STREAM.MSG.DELETE.GOVERNOR_w"))
    );
    assert_eq!(ran.code, Some(0), "{ran:#?}");
}

#[tokio::test]
async fn a_worker_who_may_not_look_works_with_what_it_is_told() {
    let server = site().await;
    let told = as_user(&server, "worker", &["run", "w", "--json", "echo", "ran"]).await;
    assert_eq!(told.code, Some(77), "{told:#?}");
    assert!(told.error()["help"].as_str().unwrap().contains("--ttl"), "{told:#?}");
    for flags in [&["--collective", "mco"][..], &["--subject", "mco.governor.w"]] {
        let args = [&["run", "w", "--ttl", "1h"], flags, &["echo", "ran"]].concat();
        let told = as_user(&server, "worker", &args).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(0), "ran\n"), "{told:#?}");
    }
    let view = as_user(&server, "all", &["view", "w", "--json"]).await.document();
    assert_eq!(view["active"], 0, "{view:#}");
}

#[tokio::test]
async fn without_a_server_every_verb_says_so() {
    let verbs: [&[&str]; 11] = [
        &["ls"],
        &["view", "x"],
        &["view", "x", "--watch"],
        &["add", "x", "1", "1h"],
        &["edit", "x", "--capacity", "2"],
        &["evict", "x", "1", "-f"],
        &["reset", "x", "-f"],
        &["rm", "x", "-f"],
        &["wait", "x"],
        &["run", "x", "--no-wait", "true"],
        &["hold", "x", "--no-wait"],
    ];
    users::without_a_server("governor", &verbs).await;
}

#[tokio::test]
async fn no_output_has_a_secret() {
    let verbs: [&[&str]; 10] = [
        &["add", "x", "2", "1h"],
        &["edit", "x", "--capacity", "3"],
        &["ls"],
        &["view", "x"],
        &["wait", "x"],
        &["hold", "x"],
        &["run", "x", "sh", "-c", "env; tr '\\0' ' ' < /proc/$$/cmdline"],
        &["evict", "x", "1", "-f"],
        &["reset", "x", "-f"],
        &["rm", "x", "-f"],
    ];
    users::no_secrets("governor", &verbs).await;
}
