//! Items of one key, one after the other, whatever fails.

use std::collections::HashMap;

use super::{fed, spawn_in};

const KEYS: u64 = 20;

/// Items of many keys, numbered.
pub(super) fn keyed(count: u64) -> String {
    (0..count).map(|n| format!("{{\"key\":{},\"n\":{n}}}\n", n % KEYS)).collect()
}

/// Each item once, and each key in order.
pub(super) fn assert_in_order<'a>(lines: impl Iterator<Item = &'a str>, count: u64) {
    let mut last: HashMap<u64, u64> = HashMap::new();
    let mut seen = 0;
    for line in lines {
        let item: serde_json::Value = serde_json::from_str(line).unwrap();
        let (key, n) = (item["key"].as_u64().unwrap(), item["n"].as_u64().unwrap());
        let before = last.insert(key, n);
        assert!(before.is_none_or(|before| before + KEYS == n), "key {key}: {n} came behind {before:?}");
        seen += 1;
    }
    assert_eq!(seen, count);
}

#[tokio::test]
async fn keys_stay_in_order_while_batches_fail_and_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    // Every batch fails the first time that it begins like that; several run at once.
    let fails = "exec:sh -c 'cat > batch.$$; head -1 batch.$$ > first.$$; n=$(tr -dc 0-9 < first.$$); \
                 if mkdir seen.$n 2>/dev/null; then exit 1; fi; cat batch.$$ >> out'";
    let flags =
        ["--to", fails, "--input", "ndjson", "--key", "json:/key", "--concurrency", "4", "--max-items", "25"];
    let told = fed(spawn_in(folder.path(), &[&flags[..], &["--json"]].concat()), keyed(1_000)).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert_in_order(std::fs::read_to_string(folder.path().join("out")).unwrap().lines(), 1_000);
    assert!(
        super::summary(&told)["retried"].as_u64().unwrap() >= 1_000,
        "all of them had to wait: {told:#?}"
    );
}

#[tokio::test]
async fn without_the_key_an_item_is_not_sent() {
    let text = "{\"key\":1}\n{\"other\":1}\nno document\n{\"key\":1}\n";
    let told = super::pipe(&["--key", "json:/key", "--json"], text).await;
    assert_eq!((told.code, super::items(&told)), (Some(1), vec!["{\"key\":1}".to_owned(); 2]), "{told:#?}");
    assert!(told.stderr.contains("number=2") && told.stderr.contains("there is no /key"), "{told:#?}");
    assert!(told.stderr.contains("number=3") && told.stderr.contains("is no JSON"), "{told:#?}");
}
