use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_testkit::server::{Cluster, NatsServer};
use tokio::time::{Instant, sleep, timeout};

use crate::wire::Wire;

/// Elections, and what a slow machine adds.
const ELECTED_WITHIN: Duration = Duration::from_secs(60);
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// Asks until the answer is as wanted: during an election some requests are refused and some are lost.
async fn ask(node: &NatsServer, subject: &str, body: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + ELECTED_WITHIN;
    loop {
        let mut wire = Wire::connect(node.addr()).await;
        let answer = timeout(ANSWERED_WITHIN, wire.request(subject, body)).await.unwrap_or_default();
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < until, "{subject}: {answer}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn publish(node: &NatsServer) {
    ask(node, "R3.x", &json!({}), |ack| ack["seq"].is_u64()).await;
}

#[tokio::test]
async fn three_nodes_go_on_without_the_leader_and_take_it_back() {
    let cluster = Cluster::start(3).await.unwrap();
    assert_eq!(cluster.urls().len(), 3);
    let first = &cluster.nodes()[0];
    let config = json!({"name": "R3", "subjects": ["R3.>"], "num_replicas": 3});
    ask(first, "$JS.API.STREAM.CREATE.R3", &config, |answer| answer["config"]["num_replicas"] == 3).await;
    publish(first).await;
    let info =
        ask(first, "$JS.API.STREAM.INFO.R3", &json!({}), |info| info["cluster"]["leader"].is_string()).await;
    let name = info["cluster"]["leader"].as_str().unwrap().to_owned();
    let leader = cluster.node(&name).expect("a node of that name");
    let other = cluster.nodes().iter().find(|node| node.addr() != leader.addr()).unwrap();

    leader.kill().await.unwrap();
    publish(other).await;
    leader.restart().await.unwrap();
    other.pause().unwrap();
    publish(leader).await;
    other.resume().unwrap();
    assert!(cluster.node("n3").is_none());
}
