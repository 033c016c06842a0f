//! Users of a server who may not do everything, and what no user is told.

use sluicegate_testkit::server::NatsServer;

use crate::tool::{Ended, ended, tool, tool_on};

/// One user for all that a verb needs less one, one who may only look, and choria's worker, who may not even that.
pub(crate) const USERS: &str = r#"authorization { users = [
    { user: "all", password: "p" },
    { user: "ro", password: "p", permissions: {
        publish: { allow: ["$JS.API.INFO", "$JS.API.STREAM.INFO.>", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST",
            "$JS.API.STREAM.MSG.GET.>", "$JS.API.DIRECT.GET.>"] }, subscribe: { allow: ["_INBOX.>"] } } },
    { user: "worker", password: "p", permissions: {
        publish: { allow: ["mco.governor.*", "$JS.API.STREAM.MSG.DELETE.GOVERNOR_w"] },
        subscribe: { allow: ["_INBOX.>"] } } },
    { user: "nothing", password: "p", permissions: { publish: { deny: [">"] }, subscribe: { allow: ["_INBOX.>"] } } },
] }"#;

/// Runs the tool as that user.
pub(crate) async fn as_user(server: &NatsServer, user: &str, args: &[&str]) -> Ended {
    let mut command = tool_on(server, args);
    command.env("NATS_USER", user).env("NATS_PASSWORD", "p");
    ended(command.spawn().unwrap()).await
}

/// Every verb says that there is no server.
pub(crate) async fn without_a_server(group: &str, verbs: &[&[&str]]) {
    for verb in verbs {
        let head = [group, "--json", "--server", "nats://127.0.0.1:1"];
        let told = ended(tool(&[&head[..], verb].concat()).spawn().unwrap()).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(74), ""), "{verb:?}: {told:#?}");
        assert_eq!(told.error()["code"], "unreachable");
    }
}

/// No verb shows a password, however it was given. They succeed one after the other, `evict` aside.
pub(crate) async fn no_secrets(group: &str, verbs: &[&[&str]]) {
    let users = r#"authorization { users = [{ user: "u", password: "canary-8e21" }] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let url = server.url().replace("nats://", "nats://u:canary-8e21@");
    let by_flags: &[&str] = &["--user", "u", "--password", "canary-8e21"];
    let by_environment: &[(&str, &str)] = &[("NATS_USER", "u"), ("NATS_PASSWORD", "canary-8e21")];
    let by_url: &[(&str, &str)] = &[("NATS_URL", &url)];
    let ways = [(by_flags, &[][..]), (&[], by_environment), (&[], by_url)];
    for (flags, environment) in ways {
        for verb in verbs {
            let head = [group, "-vv", "--trace", "--json"];
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
