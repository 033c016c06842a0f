//! A wrong command line: exit 2, what is wrong, and what would be right.

use crate::tool::run;

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
