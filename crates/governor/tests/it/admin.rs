//! What operators do: finding, viewing, listing and changing governors, also those that no worker could use.

use std::num::NonZeroU8;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use serde_json::{Value, json};
use sluicegate_core::{LeaseErrorKind, LeaseId, LeasePool, LossCause};
use sluicegate_governor::{CampaignPool, Filter, Force, GovernorAdmin, NativePool, Warning, Wire};
use sluicegate_nats::Connection;
use sluicegate_testkit::server::NatsServer;

use crate::support::{
    LONG, api, config, connection, create_as_choria, info, overhear, request, server, shared, slots, soon,
    unique,
};

async fn update(connection: &Connection, stream: &str, change: impl FnOnce(&mut Value)) {
    let mut config = info(connection, stream).await["config"].clone();
    change(&mut config);
    let updated = api(connection, &format!("STREAM.UPDATE.{stream}"), config).await;
    assert!(updated["error"].is_null(), "{updated}");
}

/// A stream by that name, otherwise as a governor's with these differences.
async fn odd(connection: &Connection, name: &str, differences: Value) {
    let stream = format!("GOVERNOR_{name}");
    let mut config = json!({
        "name": stream, "subjects": [format!("$GOVERNOR.campaign.{name}")], "retention": "limits", "max_msgs": 1,
        "max_age": 60_000_000_000_u64, "discard": "new", "storage": "file", "num_replicas": 1,
    });
    for (field, value) in differences.as_object().expect("an object") {
        config[field] = value.clone();
    }
    let made = api(connection, &format!("STREAM.CREATE.{stream}"), config).await;
    assert!(made["error"].is_null(), "{made}");
}

#[tokio::test]
async fn a_governor_is_found_by_its_name_on_either_wire() {
    let connection = shared().await;
    let (campaign, native) = (unique("found"), unique("found"));
    CampaignPool::create(&connection, &config(&campaign, 1, LONG)).await.unwrap();
    NativePool::create(&connection, &config(&native, 1, LONG)).await.unwrap();
    let found = GovernorAdmin::bind(&connection, &campaign).await.unwrap();
    assert_eq!((found.wire(), found.stream()), (Wire::Campaign, &*format!("GOVERNOR_{campaign}")));
    let found = GovernorAdmin::bind(&connection, &native).await.unwrap();
    assert_eq!((found.wire(), found.stream()), (Wire::Native, &*format!("GOVERNOR2_{native}")));

    let error = GovernorAdmin::bind(&connection, unique("nobody")).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::NotFound);
    assert!(error.to_string().contains("unknown governor"), "{error}");
    let error = GovernorAdmin::bind(&connection, "a.b").await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Invalid, "{error}");

    // One of that name on the other wire is not made by accident, and if there is one, one has to say which.
    let other = config(&native, 1, LONG);
    let error = GovernorAdmin::create(&connection, &other).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Conflict, "{error}");
    CampaignPool::create(&connection, &other).await.unwrap();
    let error = GovernorAdmin::bind(&connection, &native).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Conflict, "{error}");
    let found = GovernorAdmin::bind_on(&connection, &native, Wire::Campaign).await.unwrap();
    assert_eq!(found.wire(), Wire::Campaign);
}

#[tokio::test]
async fn both_wires_are_made_viewed_and_changed_alike() {
    let connection = shared().await;
    for wire in [Wire::Campaign, Wire::Native] {
        let name = unique("alike");
        let wanted = config(&name, 2, LONG).wire(wire);
        let (admin, changed) = GovernorAdmin::ensure(&connection, &wanted).await.unwrap();
        assert!(changed, "made");
        let (_, changed) = GovernorAdmin::ensure(&connection, &wanted).await.unwrap();
        assert!(!changed, "it is so already");
        assert_eq!(admin.wire(), wire);

        let empty = admin.view().await.unwrap();
        assert_eq!(empty.name.as_str(), name);
        assert_eq!((empty.limit, empty.ttl, empty.replicas), (Some(2), Some(LONG), 1));
        assert_eq!((empty.active, empty.last_active, empty.oldest), (0, None, None));
        assert!(empty.seeded && empty.warnings.is_empty(), "{:?}", empty.warnings);

        let pool = admin.pool().unwrap();
        let lease = pool.try_acquire(&request("root@web03 4411")).await.unwrap().expect("free");
        let view = admin.view().await.unwrap();
        assert_eq!(view.active, 1);
        let now = view.now.expect("servers tell their time");
        let last = view.last_active.expect("used");
        assert!(view.created <= last && last <= now && now > SystemTime::UNIX_EPOCH);
        assert!(view.oldest.is_some_and(|age| age < LONG));
        let [holder] = view.holders.as_slice() else { panic!("{:?}", view.holders) };
        assert_eq!((holder.id, holder.token), (lease.id(), lease.token()));
        assert_eq!(holder.holder.to_string(), "root@web03 4411");

        admin.resize(slots(3)).await.unwrap();
        admin.set_ttl(LONG * 2, Force::No).await.unwrap();
        admin.set_replicas(NonZeroU8::MIN).await.unwrap();
        // A server alone has no other to copy to; and nowhere there are so many.
        for replicas in [3, 6] {
            let error = admin.set_replicas(NonZeroU8::new(replicas).unwrap()).await.unwrap_err();
            assert_eq!(error.kind(), LeaseErrorKind::Invalid, "{error}");
        }
        let view = admin.view().await.unwrap();
        assert_eq!((view.limit, view.ttl), (Some(3), Some(LONG * 2)));

        assert_eq!(admin.evict(lease.id()).await.unwrap().expect("held").holder, *lease.holder());
        assert_eq!(admin.evict(lease.id()).await.unwrap(), None, "once");
        soon(pool.lost(&lease)).await;
        let _second = pool.try_acquire(&request("second")).await.unwrap().expect("free");
        assert_eq!(admin.reset().await.unwrap(), 1);
        admin.delete().await.unwrap();
        assert_eq!(admin.view().await.unwrap_err().kind(), LeaseErrorKind::NotFound);
    }
}

#[tokio::test]
async fn what_no_worker_could_use_is_shown_with_the_reason_and_can_be_repaired() {
    let connection = shared().await;
    for (reason, differences) in [
        (Warning::Unlimited, json!({"max_msgs": -1})),
        (Warning::LimitTooLarge(5_000_000_000), json!({"max_msgs": 5_000_000_000_u64})),
        (Warning::NeverExpires, json!({"max_age": 0})),
        (Warning::DropsOldest, json!({"discard": "old"})),
        (Warning::Retention("workqueue".to_owned()), json!({"retention": "workqueue"})),
        (Warning::CannotRelease, json!({"deny_delete": true})),
    ] {
        let name = unique("odd");
        odd(&connection, &name, differences).await;
        let stream = format!("GOVERNOR_{name}");
        let before = info(&connection, &stream).await["config"].clone();
        let admin = GovernorAdmin::bind(&connection, &name).await.unwrap();
        // Somebody holds it all the same, and says so in bytes that are no text.
        let subject = format!("$GOVERNOR.campaign.{name}");
        connection.client().request(subject, vec![0xff, 0x1b].into()).await.unwrap();
        let view = admin.view().await.unwrap();
        assert!(view.warnings.contains(&reason) && reason.stops_workers(), "{:?}", view.warnings);
        assert!(view.warnings.contains(&Warning::Unseeded), "{:?}", view.warnings);
        assert_eq!(view.active, 1);
        assert_eq!(view.holders[0].holder.to_string(), "\\xFF\\u{1b}");
        let listed = GovernorAdmin::list(&connection, &Filter::all().names(&name)).await.unwrap();
        assert!(listed[0].warnings.contains(&reason), "{listed:?}");
        assert_eq!(info(&connection, &stream).await["config"], before, "looking changed nothing");
        let error = admin.pool().unwrap_err();
        assert_eq!(error.kind(), LeaseErrorKind::Misconfigured, "{error}");

        if reason == Warning::CannotRelease {
            let error = admin.evict(view.holders[0].id).await.unwrap_err();
            assert_eq!(error.kind(), LeaseErrorKind::Misconfigured, "{error}");
        } else {
            let evicted = admin.evict(view.holders[0].id).await.unwrap();
            assert_eq!(evicted.expect("held").holder.as_bytes(), [0xff, 0x1b]);
            assert_eq!(admin.evict(view.holders[0].id).await.unwrap(), None);
        }
        assert!(admin.reset().await.is_ok());
        match reason {
            Warning::Unlimited | Warning::LimitTooLarge(_) => admin.resize(slots(1)).await.unwrap(),
            Warning::NeverExpires => admin.set_ttl(LONG, Force::No).await.unwrap(),
            _ => {
                admin.delete().await.unwrap();
                continue;
            }
        }
        let pool = admin.pool().expect("usable by now");
        assert!(pool.try_acquire(&request("worker")).await.unwrap().is_some());
        assert_eq!(admin.view().await.unwrap().warnings, [Warning::Unseeded]);
    }
}

#[tokio::test]
async fn holders_are_told_of_evictions_although_the_governor_was_broken_meanwhile() {
    let connection = shared().await;
    for wire in [Wire::Campaign, Wire::Native] {
        let name = unique("broken");
        let made = GovernorAdmin::create(&connection, &config(&name, 2, LONG).wire(wire)).await.unwrap();
        let pool = made.pool().unwrap();
        let lease = pool.try_acquire(&request("held")).await.unwrap().expect("free");
        let other = pool.try_acquire(&request("other")).await.unwrap().expect("free");
        update(&connection, made.stream(), |config| config["max_msgs"] = json!(-1)).await;
        let admin = GovernorAdmin::bind(&connection, &name).await.unwrap();
        assert!(admin.pool().is_err());
        assert!(admin.evict(lease.id()).await.unwrap().is_some());
        assert_eq!(soon(pool.lost(&lease)).await, LossCause::Evicted);
        assert_eq!(admin.reset().await.unwrap(), 1);
        assert_eq!(soon(pool.lost(&other)).await, LossCause::Reset);
        admin.resize(slots(1)).await.unwrap();
        assert!(admin.pool().unwrap().try_acquire(&request("again")).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn less_usual_governors_are_shown_with_what_is_odd_about_them() {
    let connection = shared().await;
    for (oddity, differences) in [
        (Warning::InMemory, json!({"storage": "memory"})),
        (Warning::AlsoBounded("max_bytes"), json!({"max_bytes": 100})),
        (Warning::AlsoBounded("max_msgs_per_subject"), json!({"max_msgs_per_subject": 1})),
    ] {
        let name = unique("odd");
        odd(&connection, &name, differences).await;
        let admin = GovernorAdmin::bind(&connection, &name).await.unwrap();
        let warnings = admin.view().await.unwrap().warnings;
        assert!(warnings.contains(&oddity) && !oddity.stops_workers(), "{warnings:?}");
        admin.pool().unwrap();
    }
    // Two subjects: which one is it?
    let name = unique("odd");
    odd(&connection, &name, json!({"subjects": [format!("a.{name}"), format!("b.{name}")]})).await;
    let admin = GovernorAdmin::bind(&connection, &name).await.unwrap();
    let view = admin.view().await.unwrap();
    assert_eq!((view.subject, view.warnings[0].clone()), (None, Warning::Subjects(2)));
    admin.set_subject(&format!("a.{name}"), Force::Yes).await.unwrap();
    assert_eq!(admin.view().await.unwrap().subject, Some(format!("a.{name}")));

    let name = unique("over");
    CampaignPool::create(&connection, &config(&name, 2, LONG)).await.unwrap();
    let admin = GovernorAdmin::bind(&connection, &name).await.unwrap();
    let pool = admin.pool().unwrap();
    for holder in ["a", "b"] {
        assert!(pool.try_acquire(&request(holder)).await.unwrap().is_some());
    }
    admin.resize(slots(1)).await.unwrap();
    let view = admin.view().await.unwrap();
    assert_eq!((view.active, view.warnings), (2, vec![Warning::OverLimit]), "nobody is evicted");
}

#[tokio::test]
async fn looking_sends_nothing_but_looks() {
    let server = server("2.15.1").await;
    let connection = connection(&server.url()).await;
    create_as_choria(&connection, "T", 2, LONG).await;
    connection.client().request("mcollective.governor.T", "go".into()).await.unwrap();
    let mut audit = overhear(&server.url(), "$JS.EVENT.ADVISORY.API").await;
    let admin = GovernorAdmin::bind(&connection, "T").await.unwrap();
    admin.view().await.unwrap();
    GovernorAdmin::list(&connection, &Filter::all()).await.unwrap();
    api(&connection, "STREAM.INFO.END", Value::Null).await;
    let mut calls = Vec::new();
    loop {
        let event: Value =
            serde_json::from_slice(&soon(audit.next()).await.expect("audited").payload).unwrap();
        let verb = event["subject"].as_str().unwrap().trim_start_matches("$JS.API.STREAM.").to_owned();
        if verb == "INFO.END" {
            break;
        }
        calls.push(verb);
    }
    // The onlooker's own.
    calls.retain(|verb| verb != "$JS.API.INFO");
    calls.sort();
    calls.dedup();
    assert_eq!(calls, ["INFO.GOVERNOR2_T", "INFO.GOVERNOR_T", "LIST", "MSG.GET.GOVERNOR_T", "NAMES"]);
}

#[tokio::test]
async fn a_lower_ttl_that_would_end_leases_is_refused_unless_forced() {
    let connection = shared().await;
    let name = unique("lower");
    let pool = CampaignPool::create(&connection, &config(&name, 2, LONG)).await.unwrap();
    let admin = GovernorAdmin::bind(&connection, &name).await.unwrap();
    let _held = pool.try_acquire(&request("old")).await.unwrap().expect("free");
    while admin.view().await.unwrap().oldest.unwrap() < Duration::from_millis(200) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let short = Duration::from_millis(200);
    let error = admin.set_ttl(short, Force::No).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Conflict);
    assert!(error.to_string().contains("1m → 200ms"), "{error}");
    for error in [
        GovernorAdmin::ensure(&connection, &config(&name, 2, short)).await.unwrap_err(),
        CampaignPool::ensure(&connection, &config(&name, 2, short)).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), LeaseErrorKind::Conflict, "{error}");
    }
    assert_eq!(admin.view().await.unwrap().ttl, Some(LONG), "nothing was changed");
    admin.set_ttl(LONG / 2, Force::No).await.unwrap();
    admin.set_ttl(short, Force::Yes).await.unwrap();
    soon(async {
        while admin.view().await.unwrap().active > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let error = admin.set_ttl(Duration::from_millis(99), Force::Yes).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Invalid, "what no server keeps cannot be forced: {error}");
}

#[tokio::test]
async fn a_subject_is_moved_only_by_force_and_leases_stay_held() {
    let connection = shared().await;
    let name = unique("moved");
    let pool = CampaignPool::create(&connection, &config(&name, 2, LONG)).await.unwrap();
    let admin = GovernorAdmin::bind(&connection, &name).await.unwrap();
    let lease = pool.try_acquire(&request("held")).await.unwrap().expect("free");
    let (old, new) = (format!("$GOVERNOR.campaign.{name}"), format!("ops.governor.{name}"));
    admin.set_subject(&old, Force::No).await.expect("it is so already");
    let error = admin.set_subject(&new, Force::No).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Conflict);
    assert!(error.to_string().contains(&format!("{old} → {new}")), "{error}");
    assert!(error.to_string().contains("refused from then on"), "{error}");
    assert_eq!(admin.view().await.unwrap().subject.as_deref(), Some(&*old));

    admin.set_subject(&new, Force::Yes).await.unwrap();
    let view = admin.view().await.unwrap();
    assert_eq!((view.subject.as_deref(), view.active), (Some(&*new), 1));
    let _second = pool.try_acquire(&request("follows")).await.unwrap().expect("free");
    assert!(pool.release(&lease).await.unwrap(), "on the old subject it was, and can be released");
    let error = admin.set_subject("a.*", Force::Yes).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Invalid, "{error}");

    let taken = unique("taken");
    CampaignPool::create(&connection, &config(&taken, 1, LONG)).await.unwrap();
    let error = admin.set_subject(&format!("$GOVERNOR.campaign.{taken}"), Force::Yes).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Conflict, "{error}");

    let native = unique("native");
    NativePool::create(&connection, &config(&native, 1, LONG)).await.unwrap();
    let admin = GovernorAdmin::bind(&connection, &native).await.unwrap();
    let error = admin.set_subject("a.b", Force::Yes).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Unsupported, "{error}");
}

#[tokio::test]
async fn the_list_is_complete_sorted_and_filtered() {
    let server = server("2.15.1").await;
    let connection = connection(&server.url()).await;
    assert_eq!(GovernorAdmin::list(&connection, &Filter::all()).await.unwrap(), []);
    create_as_choria(&connection, "mid", 2, LONG).await;
    CampaignPool::create(&connection, &config("zoo", 3, LONG)).await.unwrap();
    CampaignPool::create(&connection, &config("unusual", 3, LONG).subject("some.where.else")).await.unwrap();
    NativePool::create(&connection, &config("ant", 4, LONG)).await.unwrap();
    for (stream, subjects) in [
        ("ORDERS", json!(["orders.>", "x.governor.y"])),
        // A queue of tickets, or whatever else begins alike.
        ("GOVERNOR2Q_ant", json!(["tickets"])),
        ("GOVERNOR", json!(["governor"])),
    ] {
        let made = api(
            &connection,
            &format!("STREAM.CREATE.{stream}"),
            json!({"name": stream, "subjects": subjects}),
        )
        .await;
        assert!(made["error"].is_null(), "{made}");
    }
    let list = async |filter: Filter| {
        let listed = GovernorAdmin::list(&connection, &filter).await.unwrap();
        listed.into_iter().map(|governor| governor.name).collect::<Vec<_>>()
    };
    assert_eq!(list(Filter::all()).await, ["ant", "mid", "unusual", "zoo"]);
    assert_eq!(list(Filter::all().names("un")).await, ["unusual"]);
    assert_eq!(list(Filter::all().collective("mcollective")).await, ["mid"]);
    assert_eq!(list(Filter::all().collective("other")).await, [""; 0]);
    assert_eq!(list(Filter::all().collective("mcollective").names("x")).await, [""; 0]);
    let error = GovernorAdmin::list(&connection, &Filter::all().collective("*")).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Invalid, "{error}");

    let all = GovernorAdmin::list(&connection, &Filter::all()).await.unwrap();
    let ant = &all[0];
    assert_eq!((ant.wire, ant.limit, ant.ttl, ant.active), (Wire::Native, Some(4), Some(LONG), Some(0)));
    assert_eq!(all[1].subject.as_deref(), Some("mcollective.governor.mid"));
}

#[tokio::test]
async fn an_old_server_lists_and_shows_its_governors_too() {
    let server = server("2.10.26").await;
    let connection = connection(&server.url()).await;
    create_as_choria(&connection, "T", 2, LONG).await;
    CampaignPool::create(&connection, &config("unusual", 3, LONG).subject("some.where.else")).await.unwrap();
    let all = GovernorAdmin::list(&connection, &Filter::all()).await.unwrap();
    assert_eq!(all.iter().map(|governor| &*governor.name).collect::<Vec<_>>(), ["T", "unusual"]);
    let some = GovernorAdmin::list(&connection, &Filter::all().collective("mcollective")).await.unwrap();
    assert_eq!(some.len(), 1);
    let admin = GovernorAdmin::bind(&connection, "T").await.unwrap();
    let lease = admin.pool().unwrap().try_acquire(&request("old")).await.unwrap().expect("free");
    let view = admin.view().await.unwrap();
    assert_eq!((view.active, view.holders[0].id, view.warnings), (1, lease.id(), vec![Warning::Unseeded]));
    admin.set_subject("$BOB", Force::Yes).await.unwrap();
    admin.set_ttl(LONG * 2, Force::No).await.unwrap();
    assert_eq!(admin.view().await.unwrap().subject.as_deref(), Some("$BOB"));
}

#[tokio::test]
async fn a_list_of_many_pages_is_complete() {
    let server = server("2.15.1").await;
    let connection = connection(&server.url()).await;
    // More than a page of names, and several of whole streams.
    let count = 1100;
    let streams = (0..count).map(|n| {
        let connection = &connection;
        async move {
            let stream = format!("GOVERNOR_g{n:04}");
            let config = json!({
                "name": stream, "subjects": [format!("$GOVERNOR.campaign.g{n:04}")], "max_msgs": 1,
                "discard": "new", "storage": "memory",
            });
            api(connection, &format!("STREAM.CREATE.{stream}"), config).await;
        }
    });
    futures::stream::iter(streams).buffer_unordered(32).collect::<Vec<_>>().await;
    let all = GovernorAdmin::list(&connection, &Filter::all()).await.unwrap();
    let expected: Vec<_> = (0..count).map(|n| format!("g{n:04}")).collect();
    assert_eq!(all.iter().map(|governor| governor.name.clone()).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn of_a_huge_governor_the_oldest_holders_are_shown() {
    let connection = shared().await;
    let name = unique("huge");
    odd(&connection, &name, json!({"max_msgs": -1, "max_age": 0})).await;
    let subject = format!("$GOVERNOR.campaign.{name}");
    let client = connection.client();
    for n in 0..10_100_u32 {
        client.publish(subject.clone(), n.to_string().into()).await.unwrap();
    }
    client.request(subject, "last".into()).await.unwrap();
    let admin = GovernorAdmin::bind(&connection, &name).await.unwrap();
    // Gaps, as they are in a governor that is used.
    for id in [2, 3, 4, 500, 502] {
        assert!(admin.evict(LeaseId(id)).await.is_ok());
    }
    let view = admin.view().await.unwrap();
    assert_eq!((view.active, view.holders.len()), (10_096, 10_000));
    assert!(view.warnings.contains(&Warning::HoldersCut(10_000)), "{:?}", view.warnings);
    let ids: Vec<u64> = view.holders.iter().map(|holder| holder.id.0).collect();
    let expected: Vec<u64> = (1..).filter(|id| ![2, 3, 4, 500, 502].contains(id)).take(10_000).collect();
    assert_eq!(ids, expected, "none is missing, none is there twice");
}

#[tokio::test]
async fn what_looking_is_denied_for_is_left_out_or_named() {
    let users = r#"authorization { users: [
        { user: admin, password: admin }
        { user: names, password: names, permissions: { publish: ["$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.*"] } }
        { user: list, password: list, permissions: { publish: ["$JS.API.STREAM.LIST"] } }
        { user: nothing, password: nothing, permissions: { publish: ["nothing"] } }
    ] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let user = async |user: &str| {
        connection(&server.url().replace("nats://", &format!("nats://{user}:{user}@"))).await
    };
    let admin = user("admin").await;
    CampaignPool::create(&admin, &config("usual", 1, LONG)).await.unwrap();
    CampaignPool::create(&admin, &config("unusual", 1, LONG).subject("some.where.else")).await.unwrap();

    let count =
        async |user: &Connection| GovernorAdmin::list(user, &Filter::all()).await.map(|all| all.len());
    assert_eq!(count(&user("names").await).await.unwrap(), 1, "only what the usual subjects tell of");
    assert_eq!(count(&user("list").await).await.unwrap(), 2);
    let nothing = user("nothing").await;
    let error = soon(count(&nothing)).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::NotPermitted, "{error}");
    assert!(error.to_string().contains("$JS.API.STREAM."), "{error}");
    let error = GovernorAdmin::bind(&nothing, "usual").await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::NotPermitted, "{error}");
    assert!(error.to_string().contains("$JS.API.STREAM.INFO.GOVERNOR_usual"), "{error}");

    let names = GovernorAdmin::bind(&user("names").await, "usual").await.unwrap();
    let view = names.view().await.unwrap();
    assert_eq!((view.limit, view.holders.len()), (Some(1), 0));
    assert!(matches!(view.warnings.as_slice(), [Warning::HoldersHidden(why)] if why.contains("MSG.GET")));
}

#[tokio::test]
async fn a_change_from_a_view_writes_no_field_that_was_not_read() {
    let connection = shared().await;
    let name = unique("fields");
    create_as_choria(&connection, &name, 3, LONG).await;
    let stream = format!("GOVERNOR_{name}");
    update(&connection, &stream, |config| config["metadata"] = json!({"owner": "ops"})).await;
    let mut expected = info(&connection, &stream).await["config"].clone();
    let admin = GovernorAdmin::bind(&connection, &name).await.unwrap();
    admin.view().await.unwrap();
    admin.set_ttl(LONG * 3, Force::No).await.unwrap();
    expected["max_age"] = json!(180_000_000_000_u64);
    expected["duplicate_window"] = json!(120_000_000_000_u64);
    assert_eq!(info(&connection, &stream).await["config"], expected, "limit and subject are as they were");
    admin.resize(slots(9)).await.unwrap();
    expected["max_msgs"] = json!(9);
    assert_eq!(info(&connection, &stream).await["config"], expected);
    admin.set_subject(&format!("bob.{name}"), Force::Yes).await.unwrap();
    expected["subjects"] = json!([format!("bob.{name}")]);
    assert_eq!(info(&connection, &stream).await["config"], expected);
}
