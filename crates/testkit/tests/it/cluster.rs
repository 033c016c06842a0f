use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_testkit::server::{Cluster, NatsServer, ask as ask_once};
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

/// Who leads the stream, as that node sees it.
async fn leader_seen_by(node: &NatsServer) -> Option<String> {
    let info = ask_once(node.addr(), "$JS.API.STREAM.INFO.R3", &Value::Null, ANSWERED_WITHIN).await.ok()?;
    info["cluster"]["leader"].as_str().map(str::to_owned)
}

async fn another_leader(nodes: &[&NatsServer], than: &str) -> String {
    let until = Instant::now() + ELECTED_WITHIN;
    loop {
        for node in nodes {
            if let Some(leader) = leader_seen_by(node).await.filter(|leader| leader != than) {
                return leader;
            }
        }
        assert!(Instant::now() < until, "{than} still leads");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_leader_that_is_cut_off_is_replaced_and_comes_back() {
    let cluster = Cluster::start_linked(3, NatsServer::builder()).await.unwrap();
    let config = json!({"name": "R3", "subjects": ["R3.>"], "num_replicas": 3});
    let created = |answer: &Value| answer["config"]["num_replicas"] == 3;
    ask(&cluster.nodes()[0], "$JS.API.STREAM.CREATE.R3", &config, created).await;
    let all: Vec<&NatsServer> = cluster.nodes().iter().collect();
    let first = another_leader(&all, "").await;
    let cut = all.iter().position(|node| cluster.node(&first).unwrap().addr() == node.addr()).unwrap();

    assert_eq!(cluster.held_back(cut), 0);
    cluster.cut_off(cut);
    let others: Vec<&NatsServer> =
        all.iter().copied().filter(|node| node.addr() != all[cut].addr()).collect();
    another_leader(&others, &first).await;
    assert!(cluster.held_back(cut) > 0, "its bytes are held back");
    publish(others[0]).await;
    cluster.heal();
    // It answers through the new leader.
    publish(all[cut]).await;
}
