//! What a missing right looks like.

use std::time::Duration;

use sluicegate_core::{LeaseErrorKind, LeasePool, LeasePoolExt, Wait};
use sluicegate_governor::{CampaignPool, PoolOptions};
use sluicegate_testkit::server::NatsServer;

use crate::support::{LONG, config, connection, request, soon, stored};

/// An administrator who may do all, and a worker who may do what `allowed` says, besides receiving answers.
async fn server(allowed: &str) -> NatsServer {
    let users = format!(
        r#"authorization {{ users: [
            {{ user: admin, password: admin }}
            {{ user: worker, password: worker, permissions: {{ publish: {{ allow: [{allowed}] }}, subscribe: {{ allow: [">"] }} }} }}
        ] }}"#
    );
    NatsServer::builder().config(&users).start().await.expect("the server starts")
}

fn url(server: &NatsServer, user: &str) -> String {
    server.url().replace("nats://", &format!("nats://{user}:{user}@"))
}

fn quick() -> PoolOptions {
    PoolOptions::default().resolve_for(Duration::from_secs(5))
}

#[tokio::test]
async fn a_worker_who_may_not_campaign_is_told_the_subject() {
    let server = server(r#""$JS.API.STREAM.INFO.GOVERNOR_T""#).await;
    let admin = connection(&url(&server, "admin")).await;
    CampaignPool::create(&admin, &config("T", 1, LONG)).await.unwrap();
    let worker = connection(&url(&server, "worker")).await;
    let pool = CampaignPool::bind_with(&worker, "T", quick()).await.unwrap();
    let error = soon(pool.try_acquire(&request("denied"))).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::NotPermitted, "{error}");
    assert!(error.to_string().contains("$GOVERNOR.campaign.T"), "{error}");
    assert_eq!(stored(&admin, "GOVERNOR_T").await, 0);
}

#[tokio::test]
async fn a_worker_who_may_not_look_is_told_the_subject() {
    let server = server(r#""nothing""#).await;
    let admin = connection(&url(&server, "admin")).await;
    CampaignPool::create(&admin, &config("T", 1, LONG)).await.unwrap();
    let worker = connection(&url(&server, "worker")).await;
    let error = soon(CampaignPool::bind_with(&worker, "T", quick())).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::NotPermitted, "{error}");
    assert!(error.to_string().contains("$JS.API.STREAM.INFO.GOVERNOR_T"), "{error}");
}

#[tokio::test]
async fn the_usual_rights_of_a_worker_suffice() {
    let server = server(
        r#""$GOVERNOR.campaign.T", "$JS.API.STREAM.INFO.GOVERNOR_T", "$JS.API.STREAM.MSG.GET.GOVERNOR_T",
           "$JS.API.STREAM.MSG.DELETE.GOVERNOR_T""#,
    )
    .await;
    let admin = connection(&url(&server, "admin")).await;
    CampaignPool::create(&admin, &config("T", 1, LONG)).await.unwrap();
    let worker = connection(&url(&server, "worker")).await;
    let pool = CampaignPool::bind_with(&worker, "T", quick()).await.unwrap();
    let lease = pool.try_acquire(&request("worker")).await.unwrap().expect("free");
    assert_eq!(pool.held().await.unwrap().len(), 1);
    assert!(pool.release(&lease).await.unwrap());
}

#[tokio::test]
async fn a_worker_who_may_only_campaign_and_release_can_do_both() {
    let server = server(r#""$GOVERNOR.campaign.T", "$JS.API.STREAM.MSG.DELETE.GOVERNOR_T""#).await;
    let admin = connection(&url(&server, "admin")).await;
    CampaignPool::create(&admin, &config("T", 1, LONG)).await.unwrap();
    let worker = connection(&url(&server, "worker")).await;
    let pool = CampaignPool::without_info_with(&worker, "T", None, LONG, quick()).unwrap();
    let described = soon(pool.describe()).await.unwrap();
    assert_eq!((described.ttl, described.limit, described.incarnation), (LONG, None, None));
    let lease = soon(pool.try_acquire(&request("worker"))).await.unwrap().expect("free");
    assert!(soon(pool.try_acquire(&request("worker"))).await.unwrap().is_none(), "full");
    let again = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(&request("again"), &Wait::new()).await }
    });
    assert!(soon(pool.release(&lease)).await.unwrap());
    let second = soon(again).await.unwrap().unwrap().expect("waits without end");
    assert!(second.token() > lease.token());
    assert!(soon(pool.release(&second)).await.unwrap());
    assert_eq!(stored(&admin, "GOVERNOR_T").await, 0);
}

#[tokio::test]
async fn a_worker_who_may_not_release_is_told_the_subject() {
    let server = server(r#""$GOVERNOR.campaign.T", "$JS.API.STREAM.INFO.GOVERNOR_T""#).await;
    let admin = connection(&url(&server, "admin")).await;
    CampaignPool::create(&admin, &config("T", 1, LONG)).await.unwrap();
    let worker = connection(&url(&server, "worker")).await;
    let pool = CampaignPool::bind_with(&worker, "T", quick()).await.unwrap();
    let lease = pool.try_acquire(&request("worker")).await.unwrap().expect("free");
    let error = soon(pool.release(&lease)).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::NotPermitted, "{error}");
    assert!(error.to_string().contains("$JS.API.STREAM.MSG.DELETE.GOVERNOR_T"), "{error}");
    let error = soon(pool.held()).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::NotPermitted, "{error}");
}
