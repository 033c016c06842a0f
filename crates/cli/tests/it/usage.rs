//! A wrong command line: exit 2, what is wrong, and what would be right.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::tool::{ended, run, tool};

#[tokio::test]
async fn an_unknown_flag_is_named_and_the_nearest_suggested() {
    let told = run(&["demo", "--order", "5"]).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""));
    assert!(told.stderr.contains("--order"), "{told:#?}");
    assert!(told.stderr.contains("--orders"), "{told:#?}");
}

#[tokio::test]
async fn a_usage_error_is_json_where_json_was_asked_for() {
    let told = run(&["demo", "--json", "--id", "x"]).await;
    assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""));
    let error = told.error();
    assert_eq!((error["code"].as_str(), error["exit"].as_u64()), (Some("usage"), Some(2)));
    assert!(error["message"].as_str().unwrap().contains("six capital letters or digits"), "{error:#}");
}

#[tokio::test]
async fn numbers_out_of_range_are_refused() {
    for orders in ["0", "1", "-3", "many", "99999999999"] {
        let told = run(&["demo", "--orders", orders]).await;
        assert_eq!(told.code, Some(2), "{orders}: {told:#?}");
    }
}

#[tokio::test]
async fn a_flag_without_effect_is_refused_with_its_remedy() {
    let server = ["--server", "nats://127.0.0.1:1"];
    let cases: [(&[&str], &str, &str); 3] = [
        (&["--keep"], "--keep", "--server"),
        (&["--id", "A1B2C3"], "--id", "--server"),
        (&["--speed", "1x", server[0], server[1]], "--speed", "leave --speed away"),
    ];
    for (flags, names, remedy) in cases {
        let told = run(&[&["demo", "--json"], flags].concat()).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""), "{told:#?}");
        let error = told.error();
        assert_eq!((error["code"].as_str(), error["exit"].as_u64()), (Some("usage"), Some(2)));
        assert!(error["message"].as_str().unwrap().contains(names), "{error:#}");
        assert!(error["help"].as_str().unwrap().contains(remedy), "{error:#}");

        let told = run(&[&["demo"], flags].concat()).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""), "{told:#?}");
        assert!(told.stderr.starts_with(&format!("sluicegate: error: {names}")), "{told:#?}");
    }
}

#[tokio::test]
async fn help_and_version_are_data() {
    for args in [&["--help"][..], &["demo", "--help"], &["--version"], &["help", "demo"]] {
        let told = run(args).await;
        assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(told.stdout.contains("sluicegate"), "{args:?}");
    }
    let told = run(&[]).await;
    assert_eq!(told.code, Some(2), "no command is no success");
}

#[tokio::test]
async fn bytes_that_are_no_text_are_a_usage_error() {
    for head in [&["governor", "view"][..], &["governor"], &["--json", "demo", "--id"]] {
        let mut command = tool(head);
        let told = ended(command.arg(OsStr::from_bytes(b"\xff")).spawn().unwrap()).await;
        assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""), "{told:#?}");
    }
}

/// The help of every verb stands in `tests/help`, to be looked at when it changes: `SLUICEGATE_WRITE_HELP=1` writes it.
async fn is_as_it_was_looked_at(group: &str, verbs: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    for verb in [&[""], verbs].concat() {
        let mut args = vec![group];
        args.extend(Some(verb).filter(|verb| !verb.is_empty()));
        args.push("--help");
        let told = run(&args).await;
        assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{args:?}");
        let file = folder.join(format!("{group}{}{verb}.txt", if verb.is_empty() { "" } else { "-" }));
        if std::env::var_os("SLUICEGATE_WRITE_HELP").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &told.stdout).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(told.stdout, expected, "{}", file.display());
        if !verb.is_empty() {
            let examples =
                told.stdout.contains(&format!("sluicegate {group} ")) || told.stdout.contains("--force");
            assert!(examples && told.stdout.contains(&format!("Usage: sluicegate {group}")), "{verb}");
        }
    }
    let help = run(&[group, "--help"]).await.stdout;
    for verb in verbs {
        let line = help.lines().find(|line| line.trim_start().starts_with(verb)).unwrap();
        assert!(line.contains("[impact:ro]") || line.contains("[impact:rw]"), "{line}");
    }
    help
}

#[tokio::test]
async fn help_of_governors_is_as_it_was_looked_at() {
    let verbs = ["add", "edit", "ls", "view", "run", "hold", "wait", "evict", "reset", "rm"];
    let help = is_as_it_was_looked_at("governor", &verbs).await;
    let sentence = "A lease is advisory unless the resource it protects checks the fencing token.";
    assert_eq!(help.lines().next(), Some(sentence));
}

#[tokio::test]
async fn help_of_capacities_is_as_it_was_looked_at() {
    is_as_it_was_looked_at("capacity", &["add", "edit", "ls", "view", "reset", "rm"]).await;
}

#[tokio::test]
async fn help_of_pipe_is_as_it_was_looked_at() {
    let help = is_as_it_was_looked_at("pipe", &[]).await;
    assert!(help.contains("sluicegate pipe ") && help.contains("Usage: sluicegate pipe"), "{help}");
}
