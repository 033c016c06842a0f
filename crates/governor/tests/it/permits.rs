//! `Governor` and `Permit` on a real server.

use std::time::Duration;

use sluicegate_core::{LeasePoolAdmin, LossCause};
use sluicegate_governor::{CampaignPool, Governor, NativePool, Released};
use tokio::time::{Instant, sleep};

use crate::support::{LONG, config, request, settles_at, shared, soon, stored, unique};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_native_permit_outlives_its_time_to_live_and_a_campaign_permit_ends_before_it() {
    let connection = shared().await;
    let pool = NativePool::create(&connection, &config(&unique("permit"), 1, SECOND)).await.unwrap();
    let governor = Governor::builder(pool.clone(), request("kept").holder().clone()).build();
    let permit = governor.acquire().await.unwrap();
    let first = permit.token();
    sleep(SECOND * 3).await;
    assert_eq!(permit.loss(), None);
    assert!(permit.token() > first);
    assert_eq!(stored(&connection, pool.stream()).await, 1);
    assert_eq!(permit.release().await.unwrap(), Released::Freed);
    assert_eq!(stored(&connection, pool.stream()).await, 0);

    let pool = CampaignPool::create(&connection, &config(&unique("permit"), 1, SECOND)).await.unwrap();
    let governor = Governor::builder(pool.clone(), request("plain").holder().clone()).build();
    let begin = Instant::now();
    let permit = governor.acquire().await.unwrap();
    assert_eq!(soon(permit.lost()).await, LossCause::Expired);
    assert!(begin.elapsed() >= SECOND * 9 / 10 - SECOND / 100, "{:?}", begin.elapsed());
    drop(permit);
    settles_at(&connection, pool.stream(), 0).await;
    assert_eq!(governor.close(SECOND * 5).await.abandoned, 0);
}

#[tokio::test]
async fn a_permit_knows_the_life_of_its_stream() {
    let connection = shared().await;
    let name = unique("permit");
    let mut fences = Vec::new();
    for _ in 0..2 {
        let pool = CampaignPool::create(&connection, &config(&name, 1, LONG)).await.unwrap();
        let governor = Governor::builder(pool.clone(), request("one").holder().clone()).build();
        let permit = governor.acquire().await.unwrap();
        fences.push(permit.fence());
        pool.delete().await.unwrap();
        assert_eq!(soon(permit.lost()).await, LossCause::Deleted);
        assert_eq!(permit.release().await.unwrap(), Released::Gone);
    }
    assert!(fences[1] > fences[0] && fences[1].epoch > fences[0].epoch, "{fences:?}");
}
