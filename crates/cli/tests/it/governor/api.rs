//! What choria's scripts call.

use sluicegate_testkit::server::NatsServer;

use crate::tool::{run_on, tool};

#[tokio::test]
async fn answers_are_chorias_to_the_letter() {
    let server = NatsServer::start().await.unwrap();
    let ensure = ["--ensure", "--name", "X", "--capacity", "10", "--expire", "60", "--replicas", "1"];
    let ensure = [&ensure[..], &["--collective", "mcollective"]].concat();
    let made =
        "{\"capacity\":10,\"collective\":\"mcollective\",\"expire\":60,\"name\":\"X\",\"replicas\":1}\n";
    let listed =
        "[{\"name\":\"X\",\"capacity\":10,\"expire\":60,\"replicas\":1,\"collective\":\"mcollective\"}]\n";
    let calls: [(&[&str], &str, i32); 10] = [
        (&["--check"], "{\"api\":\"ok\"}\n", 0),
        (&["--list"], "[]\n", 0),
        (&ensure, made, 0),
        (&ensure, made, 0),
        (&["--list"], listed, 0),
        (&["--list", "--collective", "mcollective"], listed, 0),
        (&["--list", "--collective", "other"], "[]\n", 0),
        (&["--delete", "--name", "X", "--force"], "", 0),
        (&["--delete", "--name", "X"], "", 0),
        (&["--list"], "[]\n", 0),
    ];
    for (args, answer, code) in calls {
        let told = run_on(&server, &[&["governor", "api"], args].concat()).await;
        assert_eq!(
            (told.code, told.stdout.as_str(), told.stderr.as_str()),
            (Some(code), answer, ""),
            "{args:?}"
        );
    }
}

#[tokio::test]
async fn refusals_have_chorias_words() {
    let name = ["--ensure", "--name", "X"];
    let capacity = [&name[..], &["--capacity", "1"]].concat();
    let calls: [(&[&str], &str); 8] = [
        (&[], "no command given"),
        (&["--delete"], "no name given"),
        (&["--ensure"], "name required"),
        (&name, "capacity can not be 0"),
        (&[&name[..], &["--capacity", "-1"]].concat(), "capacity can not be 0"),
        (&[&capacity[..], &["--expire", "-1"]].concat(), "expire must be >= 0"),
        (&[&capacity[..], &["--replicas", "6"]].concat(), "replicas should be 1-5"),
        (&capacity, "collective is required"),
    ];
    for (args, text) in calls {
        // Nothing of this needs a server.
        let mut command = tool(&[&["governor", "api", "--server", "nats://127.0.0.1:1"], args].concat());
        let told = crate::tool::ended(command.spawn().unwrap()).await;
        assert_eq!((told.code, told.stdout), (Some(1), format!("{{\"error\":\"{text}\"}}\n")), "{args:?}");
    }
}
