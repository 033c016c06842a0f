//! Users who may not do everything: what they may works, and what they may not is named.

use sluicegate_testkit::server::NatsServer;

use crate::tool::{Ended, ended, tool, tool_on};

/// One user for all that a verb needs less one, one who may only look, and choria's worker, who may not even that.
const USERS: &str = r#"authorization { users = [
    { user: "all", password: "p" },
    { user: "ro", password: "p", permissions: {
        publish: { allow: ["$JS.API.INFO", "$JS.API.STREAM.INFO.>", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST",
            "$JS.API.STREAM.MSG.GET.>", "$JS.API.DIRECT.GET.>"] }, subscribe: { allow: ["_INBOX.>"] } } },
    { user: "worker", password: "p", permissions: {
        publish: { allow: ["mco.governor.*", "$JS.API.STREAM.MSG.DELETE.GOVERNOR_w"] },
        subscribe: { allow: ["_INBOX.>"] } } },
    { user: "nothing", password: "p", permissions: { publish: { deny: [">"] }, subscribe: { allow: ["_INBOX.>"] } } },
] }"#;

async fn as_user(server: &NatsServer, user: &str, args: &[&str]) -> Ended {
    let mut command = tool_on(server, &[&["governor"], args].concat());
    command.env("NATS_USER", user).env("NATS_PASSWORD", "p");
    ended(command.spawn().unwrap()).await
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
    for verb in verbs {
        let head = ["governor", "--json", "--server", "nats://127.0.0.1:1"];
        let told = ended(tool(&[&head[..], verb].concat()).spawn().unwrap()).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(74), ""), "{verb:?}: {told:#?}");
        assert_eq!(told.error()["code"], "unreachable");
    }
}

#[tokio::test]
async fn no_output_has_a_secret() {
    let users = r#"authorization { users = [{ user: "u", password: "canary-8e21" }] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let url = server.url().replace("nats://", "nats://u:canary-8e21@");
    let by_flags: &[&str] = &["--user", "u", "--password", "canary-8e21"];
    let by_environment: &[(&str, &str)] = &[("NATS_USER", "u"), ("NATS_PASSWORD", "canary-8e21")];
    let by_url: &[(&str, &str)] = &[("NATS_URL", &url)];
    let ways = [(by_flags, &[][..]), (&[], by_environment), (&[], by_url)];
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
    for (flags, environment) in ways {
        for verb in verbs {
            let head = ["governor", "-vv", "--trace", "--json"];
            let mut command = tool_on(&server, &[&head[..], flags, verb].concat());
            let told = ended(command.envs(environment.iter().copied()).spawn().unwrap()).await;
            let expected = if verb[0] == "evict" { 1 } else { 0 };
            assert_eq!(told.code, Some(expected), "{verb:?}: {told:#?}");
            let all = format!("{}{}", told.stdout, told.stderr);
            assert!(!all.contains("canary-8e21"), "{verb:?}: {told:#?}");
            assert!(told.stderr.contains("$JS.API.STREAM."), "the trace is on: {verb:?}: {told:#?}");
        }
    }
}
