use std::time::Duration;

use serde_json::json;
use sluicegate_testkit::server::{Cluster, NatsServer};
use tokio::time::{Instant, sleep};

use crate::wire::Wire;

/// Elections, and what a slow machine adds.
const ELECTED_WITHIN: Duration = Duration::from_secs(60);

async fn create(wire: &mut Wire) {
    let until = Instant::now() + ELECTED_WITHIN;
    loop {
        let answer = wire.create_stream("R3", 3).await;
        if answer["config"]["num_replicas"] == 3 {
            return;
        }
        assert!(Instant::now() < until, "{answer}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Publishes until it is acknowledged.
async fn publish(node: &NatsServer) {
    let until = Instant::now() + ELECTED_WITHIN;
    let mut wire = Wire::connect(node.addr()).await;
    loop {
        let ack = wire.request("R3.x", &json!({})).await;
        if ack["seq"].is_u64() {
            return;
        }
        assert!(Instant::now() < until, "{ack}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn three_nodes_go_on_without_the_leader_and_take_it_back() {
    let cluster = Cluster::start(3).await.unwrap();
    assert_eq!(cluster.urls().len(), 3);
    let mut wire = Wire::connect(cluster.nodes()[0].addr()).await;
    create(&mut wire).await;
    publish(&cluster.nodes()[0]).await;
    let info = wire.stream_info("R3").await;
    let name = info["cluster"]["leader"].as_str().expect("a leader").to_owned();
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
