//! Servers that are not there, users who may not, and secrets.

use serde_json::{Value, json};
use sluicegate_nats::{Settings, connect};
use sluicegate_testkit::server::NatsServer;

use super::{fed, numbers, spawn, spawn_on, start};
use crate::tool::{Ended, tool};

const USERS: &str = r#"authorization { users = [
    { user: "all", password: "p" },
    { user: "some", password: "p", permissions: {
        publish: { deny: ["no.>", "$JS.API.>"] }, subscribe: { allow: ["_INBOX.>"] } } },
    { user: "mute", password: "p", permissions: { publish: { allow: ["yes.>"] }, subscribe: { deny: [">"] } } },
] }"#;

async fn site() -> NatsServer {
    let server = NatsServer::builder().config(USERS).start().await.unwrap();
    let all = Settings::builder().server(&server.url()).user_and_password("all", "p").build().unwrap();
    let connection = connect(&all).await.unwrap();
    let config = json!({ "name": "S", "subjects": ["no.s", "yes.s"] });
    let timeout = std::time::Duration::from_secs(5);
    let _: Value = connection.api("STREAM.CREATE.S", &config, timeout).await.unwrap();
    server
}

async fn as_user(server: &NatsServer, user: &str, flags: &[&str], input: &str) -> Ended {
    let mut command = tool(&[&["pipe"], flags].concat());
    command.env("NATS_URL", server.url()).env("NATS_USER", user).env("NATS_PASSWORD", "p");
    fed(start(&mut command), input).await
}

#[tokio::test]
async fn a_subject_that_is_denied_is_named_and_nothing_counts_as_delivered() {
    let server = site().await;
    for to in ["nats:no.x", "stream:S/no.s"] {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("left").to_str().unwrap().to_owned();
        let told =
            as_user(&server, "some", &["--to", to, "--dead-letter", &left, "--json"], &numbers(5)).await;
        assert_eq!(told.code, Some(77), "{told:#?}");
        let error = told.error();
        let subject = to.rsplit([':', '/']).next();
        assert_eq!(
            (error["code"].as_str(), error["subject"].as_str()),
            (Some("not_permitted"), subject),
            "{error:#}"
        );
        assert!(error["message"].as_str().unwrap().contains("5 of 5 items were not delivered"), "{error:#}");
        assert_eq!(std::fs::read_to_string(&left).unwrap(), numbers(5));
    }
}

#[tokio::test]
async fn who_may_not_look_may_publish_all_the_same() {
    let server = site().await;
    for (user, to) in [("some", "stream:S/yes.s"), ("some", "nats:yes.x"), ("mute", "nats:yes.x")] {
        let told = as_user(&server, user, &["--to", to, "--json"], &numbers(5)).await;
        assert_eq!(told.code, Some(0), "{user} {to}: {told:#?}");
    }
    let told = as_user(&server, "some", &["--to", "stream:S", "--json"], &numbers(5)).await;
    assert_eq!(
        (told.code, told.error()["subject"].as_str()),
        (Some(77), Some("$JS.API.STREAM.INFO.S")),
        "{told:#?}"
    );
    let told = as_user(&server, "nobody", &["--to", "nats:x", "--json"], &numbers(5)).await;
    assert_eq!((told.code, told.error()["code"].as_str()), (Some(77), Some("auth")), "{told:#?}");
}

#[tokio::test]
async fn without_a_server_nothing_is_read() {
    for to in ["nats:x", "stream:X", "stream:X/x"] {
        let told = fed(spawn(&["--to", to, "--server", "nats://127.0.0.1:1", "--json"]), numbers(3)).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(74), ""), "{told:#?}");
        assert_eq!(told.error()["code"], "unreachable");
    }
    let told = fed(spawn(&["--to", "nats:x", "--context", "nowhere", "--json"]), numbers(3)).await;
    assert_eq!(
        (told.code, told.error()["code"].as_str()),
        (Some(78), Some("context_not_found")),
        "{told:#?}"
    );
    let server = NatsServer::builder().jetstream(false).start().await.unwrap();
    let told = fed(spawn_on(&server, &["--to", "stream:X/x", "--json"]), numbers(3)).await;
    assert_eq!(
        (told.code, told.error()["code"].as_str()),
        (Some(1), Some("unsupported_server")),
        "{told:#?}"
    );
}

#[tokio::test]
async fn no_output_has_a_secret() {
    let users = r#"authorization { users = [{ user: "u", password: "canary-8e21" }] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let url = server.url().replace("nats://", "nats://u:canary-8e21@");
    let settings = Settings::builder().server(&server.url()).user_and_password("u", "canary-8e21");
    let connection = connect(&settings.build().unwrap()).await.unwrap();
    let config = json!({ "name": "S", "subjects": ["s"] });
    let timeout = std::time::Duration::from_secs(5);
    let _: Value = connection.api("STREAM.CREATE.S", &config, timeout).await.unwrap();
    let by_flags: &[&str] = &["--user", "u", "--password", "canary-8e21"];
    let by_environment: &[(&str, &str)] = &[("NATS_USER", "u"), ("NATS_PASSWORD", "canary-8e21")];
    let by_url: &[(&str, &str)] = &[("NATS_URL", &url)];
    let ways = [(by_flags, &[][..]), (&[], by_environment), (&[], by_url)];
    for (flags, environment) in ways {
        for to in ["nats:x", "stream:S", "stream:NONE"] {
            let head = ["pipe", "-vv", "--trace", "--json", "--to", to];
            let mut command = tool(&[&head[..], flags].concat());
            command.env("NATS_URL", server.url()).envs(environment.iter().copied());
            let told = fed(start(&mut command), numbers(3)).await;
            assert_eq!(told.code, Some(i32::from(to == "stream:NONE")), "{told:#?}");
            assert!(!format!("{}{}", told.stdout, told.stderr).contains("canary-8e21"), "{told:#?}");
        }
    }
}
