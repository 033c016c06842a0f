//! Rates that are shared by leasing parts of them.

use std::num::NonZeroU8;
use std::time::Duration;

use serde_json::json;
use sluicegate_core::{Lease, LeaseError, LeaseErrorKind, LeasePool, LeasePoolAdmin};
use sluicegate_governor::{
    CapacityAdmin, CapacityConfig, CapacityEdit, CapacityPool, Change, Force, GovernorAdmin, GovernorKind,
    NativePool, PoolOptions, Units, Warning, Wire,
};
use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_testkit::server::NatsServer;

use crate::support::{LONG, api, config, info, request, server, shared, slots, soon, standing, unique, wait};

fn wanted(name: &str, total: u64, factor: u64) -> CapacityConfig {
    CapacityConfig::try_new(name, total, factor).expect("tests use proper parts").ttl(LONG)
}

async fn hold(pool: &NativePool, holder: &str, leases: usize) -> Vec<Lease> {
    let mut held = Vec::new();
    for _ in 0..leases {
        held.push(pool.try_acquire(&request(holder)).await.expect("an answer").expect("free"));
    }
    held
}

/// Changes total and factor.
async fn set(
    admin: &CapacityAdmin,
    total: Option<u64>,
    factor: Option<u64>,
    force: Force,
) -> Result<Units, LeaseError> {
    let edit = CapacityEdit { total, factor, ..CapacityEdit::default() };
    admin.edit(&edit, force).await?;
    Ok(admin.units().expect("it says what it is made of"))
}

/// Writes metadata as another tool would.
async fn set_metadata(connection: &Connection, stream: &str, key: &str, value: &str) {
    let mut config = info(connection, stream).await["config"].clone();
    config["metadata"][key] = json!(value);
    let told = api(connection, &format!("STREAM.UPDATE.{stream}"), config).await;
    assert!(told["error"].is_null(), "{told}");
}

#[tokio::test]
async fn a_program_gets_leases_and_what_they_are_worth_in_one_call() {
    let connection = shared().await;
    let name = unique("units");
    let admin = CapacityAdmin::create(&connection, &wanted(&name, 10_050, 1_000)).await.unwrap();
    let bound = CapacityPool::bind(&connection, &name).await.unwrap();
    assert_eq!((bound.total, bound.factor), (10_050, 1_000));
    assert_eq!(bound.pool.describe().await.unwrap().limit, Some(slots(10)), "rounded down");

    let stored = info(&connection, &format!("GOVERNOR2_{name}")).await["config"].clone();
    assert_eq!(stored["max_msgs"], 10);
    for (key, value) in [("kind", "capacity"), ("total", "10050"), ("factor", "1000"), ("ttl", "1m")] {
        assert_eq!(stored["metadata"][format!("sluicegate.{key}")], value, "{key}");
    }

    let _a = hold(&bound.pool, "a", 3).await;
    let _b = hold(&bound.pool, "b", 7).await;
    assert!(bound.pool.try_acquire(&request("c")).await.unwrap().is_none(), "never more than the total");
    let view = admin.governor().view().await.unwrap();
    assert_eq!((view.kind, view.units), (GovernorKind::Capacity, Units::try_new(10_050, 1_000).ok()));
    assert_eq!((view.active, view.held_units()), (10, Some(10_000)));
    let shares: Vec<_> =
        view.shares().iter().map(|share| (share.holder.to_string(), share.leases, share.units)).collect();
    assert_eq!(shares, [("b".to_owned(), 7, Some(7_000)), ("a".to_owned(), 3, Some(3_000))]);
    assert!(view.shares().iter().all(|share| share.oldest < LONG));
    assert_eq!(view.warnings, []);
}

#[tokio::test]
async fn only_one_that_is_said_to_be_new_is_used_at_once() {
    let connection = shared().await;
    let (new, again) = (unique("fresh"), unique("fresh"));
    assert!(CapacityAdmin::create(&connection, &wanted(&new, 100, 10)).await.unwrap().is_fresh());
    let (ensured, made) = CapacityAdmin::ensure(&connection, &wanted(&again, 100, 10)).await.unwrap();
    assert!(made && !ensured.is_fresh(), "there may have been one before");
    // Found exactly so: whoever made it has said what it is.
    assert!(!CapacityAdmin::create(&connection, &wanted(&again, 100, 10)).await.unwrap().is_fresh());
    assert!(CapacityAdmin::ensure(&connection, &wanted(&new, 200, 10)).await.unwrap().0.is_fresh());
    for (name, fresh) in [(&new, true), (&again, false)] {
        assert_eq!(CapacityPool::bind(&connection, name).await.unwrap().fresh, fresh);
    }
    let slots = info(&connection, &format!("GOVERNOR2_{again}")).await;
    assert!(slots["config"]["metadata"]["sluicegate.fresh"].is_null());
    assert!(CapacityPool::create(&connection, &wanted(&unique("fresh"), 100, 10)).await.unwrap().fresh);
}

#[tokio::test]
async fn one_that_differs_is_told_field_by_field_and_changed_only_on_demand() {
    let connection = shared().await;
    let name = unique("differs");
    let have = wanted(&name, 10_000, 1_000);
    CapacityPool::create(&connection, &have).await.unwrap();
    CapacityPool::create(&connection, &have).await.expect("it is so already");
    let want = wanted(&name, 20_000, 500).ttl(Duration::from_secs(5));
    let error = CapacityAdmin::create(&connection, &want).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Conflict);
    for field in ["total 10000 → 20000", "factor 1000 → 500", "limit 10 → 40", "ttl 1m → 5s"] {
        assert!(error.to_string().contains(field), "{field}: {error}");
    }
    let (admin, changed) = CapacityAdmin::ensure(&connection, &have).await.unwrap();
    assert!(!changed);
    let (_, changed) = CapacityAdmin::ensure(&connection, &want).await.unwrap();
    assert!(changed);
    let view = admin.governor().view().await.unwrap();
    assert_eq!((view.units, view.limit, view.ttl), (want.units().ok(), Some(40), Some(want.ttl)));
    let pool = CapacityPool::ensure(&connection, &want).await.unwrap();
    assert_eq!((pool.total, pool.factor), (20_000, 500));
}

#[tokio::test]
async fn a_capacity_and_a_governor_are_never_taken_for_each_other() {
    let connection = shared().await;
    let (capacity, native, campaign) = (unique("kind"), unique("kind"), unique("kind"));
    CapacityAdmin::create(&connection, &wanted(&capacity, 100, 10)).await.unwrap();
    NativePool::create(&connection, &config(&native, 10, LONG)).await.unwrap();
    GovernorAdmin::create(&connection, &config(&campaign, 10, LONG)).await.unwrap();

    for name in [&native, &campaign] {
        for error in [
            CapacityAdmin::create(&connection, &wanted(name, 100, 10)).await.unwrap_err(),
            CapacityAdmin::ensure(&connection, &wanted(name, 100, 10)).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), LeaseErrorKind::Conflict, "{error}");
        }
        let error = CapacityAdmin::bind(&connection, name).await.unwrap_err();
        assert_eq!(error.kind(), LeaseErrorKind::NotFound, "{error}");
        let error = CapacityPool::bind(&connection, name).await.unwrap_err();
        assert_eq!(error.kind(), LeaseErrorKind::NotFound, "{error}");
    }
    let slots = config(&capacity, 20, LONG).wire(Wire::Native);
    for error in [
        GovernorAdmin::create(&connection, &slots).await.unwrap_err(),
        GovernorAdmin::ensure(&connection, &slots).await.unwrap_err(),
        NativePool::ensure(&connection, &slots).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), LeaseErrorKind::Conflict, "{error}");
        assert!(error.to_string().contains("kind capacity → leases"), "{error}");
    }
    let admin = GovernorAdmin::bind(&connection, &capacity).await.unwrap();
    assert_eq!((admin.kind(), admin.summary().await.unwrap().limit), (GovernorKind::Capacity, Some(10)));
    let untouched = GovernorAdmin::bind(&connection, &native).await.unwrap().view().await.unwrap();
    assert_eq!((untouched.kind, untouched.units, untouched.limit), (GovernorKind::Governor, None, Some(10)));
}

#[tokio::test]
async fn another_factor_while_leases_are_held_has_to_be_forced() {
    let connection = shared().await;
    let name = unique("factor");
    let admin = CapacityAdmin::create(&connection, &wanted(&name, 1_000, 100)).await.unwrap();
    let stream = format!("GOVERNOR2_{name}");
    set_metadata(&connection, &stream, "team", "nights").await;
    // Nobody multiplies by it yet.
    let units = set(&admin, None, Some(200), Force::No).await.unwrap();
    assert_eq!((units.total(), units.leases().get()), (1_000, 5));
    let pool = CapacityPool::bind(&connection, &name).await.unwrap().pool;
    let _held = hold(&pool, "a", 5).await;

    for (total, factor) in [(None, Some(100)), (Some(2_000), Some(100))] {
        let error = set(&admin, total, factor, Force::No).await.unwrap_err();
        assert_eq!(error.kind(), LeaseErrorKind::Conflict, "{error}");
        let told = error.to_string();
        assert!(told.contains("factor 200 → 100 while 5 of 5 leases are held"), "{told}");
    }
    let error = CapacityAdmin::ensure(&connection, &wanted(&name, 1_000, 100)).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Conflict, "{error}");
    let error = CapacityPool::ensure(&connection, &wanted(&name, 1_000, 100)).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Conflict, "{error}");
    assert_eq!(CapacityPool::bind(&connection, &name).await.unwrap().factor, 200, "untouched");

    // Another total alone takes nothing from anybody.
    let units = set(&admin, Some(600), Some(200), Force::No).await.unwrap();
    assert_eq!(units.leases().get(), 3);
    let view = admin.governor().view().await.unwrap();
    assert_eq!((view.active, view.limit), (5, Some(3)), "nobody was evicted");
    assert!(view.warnings.contains(&Warning::OverLimit), "{:?}", view.warnings);
    let units = set(&admin, None, Some(100), Force::Yes).await.unwrap();
    assert_eq!((units.total(), units.leases().get(), admin.units()), (600, 6, Some(units)));
    assert_eq!(info(&connection, &stream).await["config"]["metadata"]["team"], "nights");
}

#[tokio::test]
async fn parts_that_cannot_be_are_refused_and_nothing_is_written() {
    let connection = shared().await;
    let name = unique("bad");
    let admin = CapacityAdmin::create(&connection, &wanted(&name, 1_000, 100)).await.unwrap();
    let before = info(&connection, &format!("GOVERNOR2_{name}")).await["config"].clone();
    for (total, factor, told) in [
        (Some(50), None, "total 50 is less than factor 100"),
        (None, Some(1), "1000 leases, and 500 is the most: raise factor to 2"),
        (None, Some(0), "factor is 0"),
    ] {
        let error = set(&admin, total, factor, Force::Yes).await.unwrap_err();
        assert_eq!(error.kind(), LeaseErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(told), "{error}");
    }
    assert_eq!(info(&connection, &format!("GOVERNOR2_{name}")).await["config"], before);
}

#[tokio::test]
async fn an_edit_is_one_write_or_none() {
    let connection = shared().await;
    let name = unique("edit");
    let admin = CapacityAdmin::create(&connection, &wanted(&name, 1_000, 100)).await.unwrap();
    let pool = CapacityPool::bind(&connection, &name).await.unwrap().pool;
    let _held = hold(&pool, "a", 1).await;
    let before = admin.governor().view().await.unwrap();
    let edit = CapacityEdit { total: Some(2_000), ttl: Some(LONG * 2), ..CapacityEdit::default() };
    for (edit, kind) in [
        (CapacityEdit { factor: Some(50), ..edit }, LeaseErrorKind::Conflict),
        (CapacityEdit { ttl: Some(Duration::from_millis(1_500)), ..edit }, LeaseErrorKind::Invalid),
        (CapacityEdit { replicas: NonZeroU8::new(6), ..edit }, LeaseErrorKind::Invalid),
        (CapacityEdit { replicas: NonZeroU8::new(3), ..edit }, LeaseErrorKind::Invalid),
        (CapacityEdit { total: Some(1), ..edit }, LeaseErrorKind::Invalid),
    ] {
        let error = admin.edit(&edit, Force::No).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{edit:?}: {error}");
        let now = admin.governor().view().await.unwrap();
        assert_eq!((now.units, now.limit, now.ttl), (before.units, before.limit, before.ttl), "{edit:?}");
    }
    admin.edit(&edit, Force::No).await.unwrap();
    let now = admin.governor().view().await.unwrap();
    assert_eq!((now.limit, now.ttl, now.active), (Some(20), Some(LONG * 2), 1));
    assert_eq!(now.units, Units::try_new(2_000, 100).ok());
    assert_eq!((pool.limit(), pool.ttl()), (Some(slots(20)), LONG * 2), "in this process at once");
}

#[tokio::test]
async fn resized_as_a_pool_its_total_follows() {
    let connection = shared().await;
    let name = unique("follows");
    let admin = CapacityAdmin::create(&connection, &wanted(&name, 1_050, 100)).await.unwrap();
    let pool = CapacityPool::bind(&connection, &name).await.unwrap().pool;
    pool.resize(slots(10)).await.unwrap();
    let seen = || async { CapacityPool::bind(&connection, &name).await.unwrap() };
    assert_eq!(seen().await.total, 1_050, "as many as before");
    pool.resize(slots(7)).await.unwrap();
    assert_eq!((seen().await.total, seen().await.factor), (700, 100));
    admin.governor().resize(slots(12)).await.unwrap();
    assert_eq!(seen().await.total, 1_200);
    assert_eq!(admin.governor().view().await.unwrap().warnings, []);
}

#[tokio::test]
async fn a_raised_total_wakes_those_who_wait() {
    let connection = shared().await;
    let name = unique("raised");
    let admin = CapacityAdmin::create(&connection, &wanted(&name, 100, 100)).await.unwrap();
    let pool = CapacityPool::bind(&connection, &name).await.unwrap().pool;
    let _held = hold(&pool, "a", 1).await;
    let waiting = wait(&pool);
    standing(&pool, 1).await;
    set(&admin, Some(200), None, Force::No).await.unwrap();
    let _second = soon(waiting).await.unwrap();
}

#[tokio::test]
async fn one_that_does_not_say_what_it_is_made_of_can_be_repaired() {
    let connection = shared().await;
    let name = unique("silent");
    CapacityAdmin::create(&connection, &wanted(&name, 1_000, 100)).await.unwrap();
    set_metadata(&connection, &format!("GOVERNOR2_{name}"), "sluicegate.factor", "many").await;
    let error = CapacityPool::bind(&connection, &name).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Misconfigured, "{error}");
    let admin = CapacityAdmin::bind(&connection, &name).await.unwrap();
    let view = admin.governor().view().await.unwrap();
    assert_eq!((admin.units(), view.units, view.held_units()), (None, None, None));
    assert_eq!(view.warnings, [Warning::NoUnits]);
    let error = set(&admin, Some(500), None, Force::No).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Invalid, "{error}");
    set(&admin, Some(500), Some(50), Force::No).await.unwrap();
    let bound = CapacityPool::bind_with(&connection, &name, PoolOptions::default()).await.unwrap();
    assert_eq!((bound.total, bound.factor), (500, 50));
}

#[tokio::test]
async fn changes_of_total_and_factor_are_seen_by_who_watches() {
    let connection = shared().await;
    let name = unique("watched");
    let admin = CapacityAdmin::create(&connection, &wanted(&name, 1_000, 100)).await.unwrap();
    let mut watch = admin.governor().watch(Duration::from_millis(20)).await.unwrap();
    let (from, to) = (Units::try_new(1_000, 100).ok(), Units::try_new(1_050, 100).ok());
    for (total, expected) in
        [(1_050, Change::Divided { from, to }), (2_000, Change::Resized { from: Some(10), to: Some(20) })]
    {
        set(&admin, Some(total), None, Force::No).await.unwrap();
        let seen = soon(async {
            loop {
                let changes = watch.changes().await.unwrap();
                if !changes.is_empty() {
                    break changes;
                }
            }
        });
        assert_eq!(seen.await, [expected]);
    }
}

#[tokio::test]
async fn capacities_are_listed_with_their_holders_and_nothing_else_is() {
    let server = server("2.15.1").await;
    let connection = crate::support::connection(&server.url()).await;
    assert_eq!(CapacityAdmin::list(&connection).await.unwrap(), []);
    for (name, total) in [("b", 200), ("a", 100)] {
        CapacityAdmin::create(&connection, &wanted(name, total, 10)).await.unwrap();
    }
    NativePool::create(&connection, &config("native", 1, LONG)).await.unwrap();
    GovernorAdmin::create(&connection, &config("campaign", 1, LONG)).await.unwrap();
    let pool = CapacityPool::bind(&connection, "b").await.unwrap().pool;
    let _held = hold(&pool, "x", 2).await;
    let seen: Vec<_> = CapacityAdmin::list(&connection)
        .await
        .unwrap()
        .iter()
        .map(|view| (view.name.to_string(), view.limit, view.held_units(), view.shares().len()))
        .collect();
    assert_eq!(seen, [("a".to_owned(), Some(10), Some(0), 0), ("b".to_owned(), Some(20), Some(20), 1)]);
}

#[tokio::test]
async fn looking_needs_no_right_to_change_and_a_missing_one_is_named() {
    let users = r#"authorization { users = [
        { user: "all", password: "p" },
        { user: "ro", password: "p", permissions: {
            publish: { allow: ["$JS.API.STREAM.INFO.>", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST",
                "$JS.API.STREAM.MSG.GET.>"] }, subscribe: { allow: ["_INBOX.>"] } } },
    ] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let user = |name: &str| {
        let settings =
            Settings::builder().server(&server.url()).user_and_password(name, "p").build().unwrap();
        async move { connect(&settings).await.unwrap() }
    };
    let (all, ro) = (user("all").await, user("ro").await);
    CapacityAdmin::create(&all, &wanted("cosmos", 1_000, 100)).await.unwrap();
    let pool = CapacityPool::bind(&all, "cosmos").await.unwrap().pool;
    let _held = hold(&pool, "a", 1).await;

    assert_eq!(CapacityPool::bind(&ro, "cosmos").await.unwrap().factor, 100);
    assert_eq!(CapacityAdmin::list(&ro).await.unwrap()[0].shares().len(), 1);
    let admin = CapacityAdmin::bind(&ro, "cosmos").await.unwrap();
    assert_eq!(admin.governor().view().await.unwrap().held_units(), Some(100));
    let error = set(&admin, Some(2_000), None, Force::No).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::NotPermitted);
    assert!(error.to_string().contains("$JS.API.STREAM.UPDATE.GOVERNOR2_cosmos"), "{error}");
    // As long as it is so already, there is nothing to be denied.
    set(&admin, Some(1_000), Some(100), Force::No).await.unwrap();
}
