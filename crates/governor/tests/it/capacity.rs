//! Rates that processes share, as native governors whose leases are parts of them.

use std::time::Duration;

use sluicegate_core::{LeaseErrorKind, LeasePool};
use sluicegate_governor::{CapacityAdmin, CapacityConfig, Force, GovernorAdmin, GovernorConfig, Units, Wire};
use sluicegate_nats::Connection;
use sluicegate_testkit::server::NatsServer;

use crate::support::{connection, request, slots};

const TTL: Duration = Duration::from_secs(10);

/// A server of its own, as all that are there are listed.
async fn alone() -> (NatsServer, Connection) {
    let server = NatsServer::start().await.expect("the server starts");
    let connection = connection(&server.url()).await;
    (server, connection)
}

fn units(total: u64, factor: u64) -> Units {
    Units::try_new(total, factor).expect("units")
}

fn config(total: u64, factor: u64) -> CapacityConfig {
    CapacityConfig::try_new("store", units(total, factor), TTL).expect("a configuration")
}

#[tokio::test]
async fn a_capacity_is_made_found_and_listed() {
    let (_server, connection) = alone().await;
    assert_eq!(CapacityAdmin::bind(&connection, "store").await.unwrap_err().kind(), LeaseErrorKind::NotFound);
    let made = CapacityAdmin::create(&connection, &config(10_050, 1_000)).await.unwrap();
    assert_eq!(made.units(), units(10_050, 1_000));
    assert!(made.is_fresh());
    let found = CapacityAdmin::bind(&connection, "store").await.unwrap();
    let (view, worth) = found.view().await.unwrap();
    assert_eq!((view.limit, view.ttl, worth), (Some(10), Some(TTL), units(10_050, 1_000)));

    let plain = GovernorConfig::try_new("plain", slots(10), TTL).unwrap().wire(Wire::Native);
    GovernorAdmin::create(&connection, &plain).await.unwrap();
    let listed = CapacityAdmin::list(&connection).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|(summary, units)| (&*summary.name, *units)).collect();
    assert_eq!(listed, [("store", units(10_050, 1_000))]);
    let error = CapacityAdmin::bind(&connection, "plain").await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Misconfigured);
    assert!(error.to_string().contains("no capacity"), "{error}");

    CapacityAdmin::create(&connection, &config(10_050, 1_000)).await.unwrap();
    let error = CapacityAdmin::create(&connection, &config(20_000, 1_000)).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Conflict);
    let text = error.to_string();
    assert!(
        text.contains("limit 10 → 20") && text.contains("total/factor 10050/1000 → 20000/1000"),
        "{text}"
    );
}

#[tokio::test]
async fn changes_keep_what_is_held() {
    let (_server, connection) = alone().await;
    let (_, changed) = CapacityAdmin::ensure(&connection, &config(1_000, 100)).await.unwrap();
    assert!(changed);
    assert!(
        !CapacityAdmin::bind(&connection, "store").await.expect("it is there").is_fresh(),
        "it may have been"
    );
    let (store, changed) = CapacityAdmin::ensure(&connection, &config(1_000, 100)).await.unwrap();
    assert!(!changed, "it is so already");
    let pool = store.pool().unwrap();
    let lease = pool.try_acquire(&request("w")).await.unwrap().unwrap();

    let more = store.set_units(units(2_000, 100), Force::No).await.unwrap();
    assert_eq!(more.view().await.unwrap().0.limit, Some(20));
    assert!(pool.renew(&lease).await.is_ok(), "it is still held");
    let less = CapacityAdmin::ensure(&connection, &config(500, 100)).await.unwrap().0;
    assert_eq!((less.view().await.unwrap().0.limit, less.view().await.unwrap().0.active), (Some(5), 1));

    for refused in [
        less.set_units(units(500, 50), Force::No).await.map(drop),
        CapacityAdmin::ensure(&connection, &config(500, 50)).await.map(drop),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), LeaseErrorKind::Conflict);
        assert!(error.to_string().contains("factor 100 → 50: 1 leases are held"), "{error}");
    }
    let forced = less.set_units(units(500, 50), Force::Yes).await.unwrap();
    assert_eq!((forced.units().factor(), forced.view().await.unwrap().0.limit), (50, Some(10)));
}
