//! What each role may do with the rights it is documented to need, and what a missing one looks like: its subject is
//! named within a second, it is never taken for a timeout, and what needs other rights still works.

use std::collections::BTreeSet;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use sluicegate_core::{LeaseError, LeaseErrorKind, LeasePool, LeasePoolExt, Wait};
use sluicegate_governor::{
    CampaignPool, Filter, Force, GovernorAdmin, GovernorConfig, NativePool, PoolOptions, Warning, Wire,
};
use sluicegate_nats::{Connection, Settings, connect};
use sluicegate_testkit::server::NatsServer;
use tokio::time::{Instant, timeout};

use crate::support::{LONG, config, connection, request, settles_at, slots, soon, stored};

const CAMPAIGN: &str = "$GOVERNOR.campaign.T";
const INBOX: &str = "_IN.worker.>";

/// What one user may publish to and subscribe to.
#[derive(Clone, Debug)]
struct Rights {
    publish: BTreeSet<String>,
    subscribe: BTreeSet<String>,
}

impl Rights {
    fn new(publish: &[&str], subscribe: &[&str]) -> Self {
        let set = |subjects: &[&str]| subjects.iter().map(|subject| (*subject).to_owned()).collect();
        Self { publish: set(publish), subscribe: set(subscribe) }
    }

    fn without(&self, subject: &str) -> Self {
        let mut rights = self.clone();
        let had = rights.publish.remove(subject) | rights.subscribe.remove(subject);
        assert!(had, "{subject} is none of {self:?}");
        rights
    }
}

/// A server with an administrator who may do all, and a user for each of these rights, under its number.
struct Land(NatsServer);

impl Land {
    async fn with(users: &[Rights]) -> Self {
        let list = |subjects: &BTreeSet<String>| {
            // An empty list would allow everything.
            let subjects = subjects.iter().map(String::as_str).chain(["nothing.at.all"]);
            subjects.map(|subject| format!("{subject:?}")).collect::<Vec<_>>().join(", ")
        };
        let users = users.iter().enumerate().map(|(n, rights)| {
            let (publish, subscribe) = (list(&rights.publish), list(&rights.subscribe));
            format!(
                "{{ user: u{n}, password: u{n}, permissions: {{ publish: {{ allow: [{publish}] }}, subscribe: {{ allow: [{subscribe}] }} }} }}"
            )
        });
        let users = users.collect::<Vec<_>>().join("\n");
        let config = format!("authorization {{ users: [ {{ user: admin, password: admin }}\n{users} ] }}");
        Self(NatsServer::builder().config(&config).start().await.expect("the server starts"))
    }

    async fn admin(&self) -> Connection {
        connection(&self.0.url().replace("nats://", "nats://admin:admin@")).await
    }

    async fn user(&self, n: usize) -> Connection {
        let url = self.0.url().replace("nats://", &format!("nats://u{n}:u{n}@"));
        let settings = Settings::builder().server(&url).inbox_prefix("_IN.worker").build();
        connect(&settings.expect("a test's settings are proper")).await.expect("the server answers")
    }
}

fn quick() -> PoolOptions {
    PoolOptions::default().resolve_for(Duration::from_secs(5))
}

/// The error of a call that the server denies.
async fn denied<T>(subject: &str, call: impl Future<Output = Result<T, LeaseError>>) -> LeaseError {
    let begin = Instant::now();
    let Err(error) = soon(call).await else { panic!("{subject} was not denied") };
    assert_eq!(error.kind(), LeaseErrorKind::NotPermitted, "{subject}: {error}");
    assert!(error.to_string().contains(subject), "{subject}: {error}");
    assert!(begin.elapsed() < Duration::from_secs(1), "{subject}: said only after {:?}", begin.elapsed());
    error
}

/// Takes the only slot, waits for it once more, gives it back: what every worker lives from.
async fn works(pool: &dyn LeasePool) {
    let lease = soon(pool.try_acquire(&request("worker"))).await.expect("permitted").expect("free");
    assert!(soon(pool.try_acquire(&request("other"))).await.expect("permitted").is_none(), "full");
    let wait = Wait::new().poll_interval(Duration::from_millis(50));
    let next = request("next");
    let (released, second) = tokio::join!(soon(pool.release(&lease)), soon(pool.acquire(&next, &wait)));
    assert!(released.expect("permitted"));
    let second = second.expect("permitted").expect("waits without end");
    assert!(second.token() > lease.token());
    assert!(soon(pool.release(&second)).await.expect("permitted"));
}

fn minimal() -> Rights {
    Rights::new(&[CAMPAIGN, "$JS.API.STREAM.MSG.DELETE.GOVERNOR_T"], &[INBOX])
}

fn usual() -> Rights {
    let mut rights = minimal();
    for subject in ["$JS.API.STREAM.INFO.GOVERNOR_T", "$JS.API.STREAM.MSG.GET.GOVERNOR_T", "_GOV.rel.T"] {
        rights.publish.insert(subject.to_owned());
    }
    for subject in ["_GOV.*.T", "$JS.EVENT.ADVISORY.STREAM.*.GOVERNOR_T", "$JS.EVENT.ADVISORY.API"] {
        rights.subscribe.insert(subject.to_owned());
    }
    rights
}

#[tokio::test]
async fn a_minimal_worker_campaigns_waits_and_releases_and_leaks_nothing() {
    let land = Land::with(&[minimal()]).await;
    let admin = land.admin().await;
    CampaignPool::create(&admin, &config("T", 1, LONG)).await.unwrap();
    let pool = CampaignPool::without_info_with(&land.user(0).await, "T", None, LONG, quick()).unwrap();
    works(&pool).await;
    let described = soon(pool.describe()).await.unwrap();
    assert_eq!((described.ttl, described.limit, described.held), (LONG, None, None));
    assert_eq!((described.incarnation, described.age), (None, None));
    denied("$JS.API.STREAM.", pool.held()).await;

    // Attempts that nobody waits for any more.
    let held = pool.try_acquire(&request("holder")).await.unwrap().expect("free");
    assert!(pool.release(&held).await.unwrap());
    for n in 0..20 {
        let request = request(&format!("gone {n}"));
        if let Ok(Ok(Some(lease))) = timeout(Duration::from_micros(50 * n), pool.try_acquire(&request)).await
        {
            assert!(pool.release(&lease).await.unwrap());
        }
    }
    pool.close(Duration::from_secs(15)).await.unwrap();
    settles_at(&admin, "GOVERNOR_T", 0).await;
}

#[tokio::test]
async fn a_minimal_workers_missing_rights_are_named() {
    let rights = minimal();
    let delete = "$JS.API.STREAM.MSG.DELETE.GOVERNOR_T";
    let land = Land::with(&[rights.without(CAMPAIGN), rights.without(delete), rights.without(INBOX)]).await;
    let admin = land.admin().await;
    CampaignPool::create(&admin, &config("T", 1, LONG)).await.unwrap();
    let pool =
        async |n| CampaignPool::without_info_with(&land.user(n).await, "T", None, LONG, quick()).unwrap();

    let mute = pool(0).await;
    denied(CAMPAIGN, mute.try_acquire(&request("mute"))).await;
    denied(CAMPAIGN, mute.acquire(&request("mute"), &Wait::new())).await;
    assert_eq!(stored(&admin, "GOVERNOR_T").await, 0);

    // Who cannot hear the answer does not get a slot that nobody knows of.
    let deaf = pool(2).await;
    for _ in 0..3 {
        denied("_IN.worker", deaf.try_acquire(&request("deaf"))).await;
    }
    deaf.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(stored(&admin, "GOVERNOR_T").await, 0);

    let keeper = pool(1).await;
    let lease = keeper.try_acquire(&request("keeper")).await.unwrap().expect("free");
    denied(delete, keeper.release(&lease)).await;
    assert_eq!(stored(&admin, "GOVERNOR_T").await, 1, "it lasts until it expires, and the error says so");
}

#[tokio::test]
async fn the_usual_workers_missing_rights_are_named_and_the_rest_works() {
    let (info, get) = ("$JS.API.STREAM.INFO.GOVERNOR_T", "$JS.API.STREAM.MSG.GET.GOVERNOR_T");
    let hints =
        ["_GOV.rel.T", "_GOV.*.T", "$JS.EVENT.ADVISORY.STREAM.*.GOVERNOR_T", "$JS.EVENT.ADVISORY.API"];
    let rights = usual();
    let mut users = vec![rights.clone(), rights.without(info), rights.without(get), rights.without(INBOX)];
    users.extend(hints.map(|hint| rights.without(hint)));
    let land = Land::with(&users).await;
    let admin = land.admin().await;
    CampaignPool::create(&admin, &config("T", 1, LONG)).await.unwrap();

    let full = CampaignPool::bind_with(&land.user(0).await, "T", quick()).await.unwrap();
    works(&full).await;
    let lease = full.try_acquire(&request("held")).await.unwrap().expect("free");
    assert_eq!(full.held().await.unwrap().len(), 1);
    assert_eq!(full.describe().await.unwrap().limit, Some(NonZeroU32::MIN));
    assert!(full.release(&lease).await.unwrap());

    let blind = land.user(1).await;
    denied(info, CampaignPool::bind_with(&blind, "T", quick())).await;
    works(&CampaignPool::without_info_with(&blind, "T", None, LONG, quick()).unwrap()).await;

    let no_get = CampaignPool::bind_with(&land.user(2).await, "T", quick()).await.unwrap();
    works(&no_get).await;
    let lease = no_get.try_acquire(&request("held")).await.unwrap().expect("free");
    denied(get, no_get.held()).await;
    assert_eq!(no_get.describe().await.unwrap().held, Some(1));
    assert!(no_get.release(&lease).await.unwrap());

    denied("_IN.worker", CampaignPool::bind_with(&land.user(3).await, "T", quick())).await;

    // A missing source of hints costs latency, and nothing else.
    for (n, hint) in hints.iter().enumerate() {
        let pool = CampaignPool::bind_with(&land.user(4 + n).await, "T", quick()).await.unwrap();
        works(&pool).await;
        pool.close(Duration::from_secs(5)).await.unwrap();
        assert_eq!(stored(&admin, "GOVERNOR_T").await, 0, "{hint}");
    }
}

#[tokio::test]
async fn a_worker_who_may_not_campaign_or_release_is_told_so_though_it_may_look() {
    let delete = "$JS.API.STREAM.MSG.DELETE.GOVERNOR_T";
    let land = Land::with(&[usual().without(CAMPAIGN), usual().without(delete)]).await;
    let admin = land.admin().await;
    CampaignPool::create(&admin, &config("T", 1, LONG)).await.unwrap();
    let mute = CampaignPool::bind_with(&land.user(0).await, "T", quick()).await.unwrap();
    denied(CAMPAIGN, mute.try_acquire(&request("mute"))).await;
    assert_eq!(mute.held().await.unwrap().len(), 0, "looking works");
    let keeper = CampaignPool::bind_with(&land.user(1).await, "T", quick()).await.unwrap();
    let lease = keeper.try_acquire(&request("keeper")).await.unwrap().expect("free");
    denied(delete, keeper.release(&lease)).await;
    assert_eq!(keeper.held().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_administrators_missing_rights_are_named_and_the_rest_works() {
    let call = |verb: &str| format!("$JS.API.STREAM.{verb}.GOVERNOR_T");
    let (info, get) = (call("INFO"), call("MSG.GET"));
    let verbs = ["CREATE", "UPDATE", "INFO", "PURGE", "DELETE", "MSG.GET", "MSG.DELETE"];
    let names = ["$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST"];
    let notes = ["_GOV.rel.T", "_GOV.rev.T"];
    let calls: Vec<String> = verbs.iter().map(|verb| call(verb)).collect();
    let all: Vec<&str> = calls.iter().map(String::as_str).chain(names).chain(notes).collect();
    let rights = Rights::new(&all, &[INBOX]);
    let mut users = vec![rights.clone()];
    users.extend(all.iter().map(|subject| rights.without(subject)));
    let land = Land::with(&users).await;
    let root = land.admin().await;
    let wanted = config("T", 1, LONG);
    let campaigning = CampaignPool::create(&root, &wanted).await.unwrap();
    let mut lease = campaigning.try_acquire(&request("held")).await.unwrap().expect("free");

    let without = async |subject: &str| {
        let n = all.iter().position(|one| *one == subject).expect("one of all");
        land.user(1 + n).await
    };
    let bound = async |subject: &str| GovernorAdmin::bind(&without(subject).await, "T").await.unwrap();

    denied(&info, GovernorAdmin::bind(&without(&info).await, "T")).await;
    let update = bound(&call("UPDATE")).await;
    denied(&call("UPDATE"), update.resize(slots(5))).await;
    denied(&call("UPDATE"), update.set_ttl(LONG * 2, Force::No)).await;
    denied(&call("UPDATE"), update.set_subject("elsewhere", Force::Yes)).await;
    update.set_replicas(NonZeroU8::MIN).await.expect("nothing to change");
    denied(&call("UPDATE"), GovernorAdmin::ensure(&without(&call("UPDATE")).await, &config("T", 2, LONG)))
        .await;
    assert_eq!(update.view().await.unwrap().limit, Some(1), "nothing was changed");
    let purge = bound(&call("PURGE")).await;
    denied(&call("PURGE"), purge.reset()).await;
    assert_eq!(purge.view().await.unwrap().active, 1);
    denied(&call("DELETE"), bound(&call("DELETE")).await.delete()).await;
    let evict = bound(&call("MSG.DELETE")).await;
    denied(&call("MSG.DELETE"), evict.evict(lease.id())).await;
    assert_eq!(evict.view().await.unwrap().holders.len(), 1);
    let blind = bound(&get).await;
    denied(&get, blind.evict(lease.id())).await;
    let view = blind.view().await.unwrap();
    assert!(view.holders.is_empty() && view.active == 1);
    assert!(matches!(view.warnings.as_slice(), [Warning::HoldersHidden(why)] if why.contains(&get)));
    blind.resize(slots(1)).await.expect("needs no look at messages");
    let other = GovernorConfig { name: "U".parse().unwrap(), ..wanted.clone() };
    denied("$JS.API.STREAM.INFO.GOVERNOR_U", GovernorAdmin::create(&land.user(0).await, &other)).await;

    for one in names {
        let listed = GovernorAdmin::list(&without(one).await, &Filter::all()).await.unwrap();
        assert_eq!(listed.len(), 1, "the other one is enough: {one}");
    }
    // Holders learn of it later, that is all.
    for note in notes {
        let admin = bound(note).await;
        assert!(admin.evict(lease.id()).await.unwrap().is_some(), "{note}");
        let _reset = campaigning.try_acquire(&request("held")).await.unwrap().expect("free");
        assert_eq!(admin.reset().await.unwrap(), 1, "{note}");
        lease = campaigning.try_acquire(&request("held")).await.unwrap().expect("free");
    }

    let full = GovernorAdmin::bind(&land.user(0).await, "T").await.unwrap();
    full.resize(slots(2)).await.unwrap();
    full.set_ttl(LONG * 2, Force::No).await.unwrap();
    assert!(full.evict(lease.id()).await.unwrap().is_some());
    assert_eq!(full.reset().await.unwrap(), 0);
    full.delete().await.unwrap();
    denied(&call("CREATE"), GovernorAdmin::create(&without(&call("CREATE")).await, &wanted)).await;
    GovernorAdmin::create(&land.user(0).await, &wanted).await.unwrap();
}

#[tokio::test]
async fn a_native_workers_missing_rights_are_named_and_the_rest_works() {
    let call = |verb: &str| format!("$JS.API.STREAM.{verb}.GOVERNOR2_T");
    let (info, get, delete, purge) = (call("INFO"), call("MSG.GET"), call("MSG.DELETE"), call("PURGE"));
    let leases = "$GOVERNOR2.T.>";
    let rights = Rights::new(&[leases, &info, &get, &delete, &purge], &[INBOX, "_GOV.*.T"]);
    let mut users = vec![rights.clone()];
    users.extend([leases, &info, &get, &delete, &purge, INBOX].map(|subject| rights.without(subject)));
    let land = Land::with(&users).await;
    let root = land.admin().await;
    NativePool::create(&root, &config("T", 1, LONG)).await.unwrap();
    let bind = async |n| NativePool::bind_with(&land.user(n).await, "T", quick()).await;

    let full = bind(0).await.unwrap();
    works(&full).await;
    let lease = full.try_acquire(&request("held")).await.unwrap().expect("free");
    let lease = full.renew(&lease).await.unwrap();
    assert_eq!(full.held().await.unwrap().len(), 1);
    assert!(full.release(&lease).await.unwrap());

    let mute = bind(1).await.unwrap();
    denied("$GOVERNOR2.T.", mute.try_acquire(&request("mute"))).await;
    denied(&info, bind(2)).await;
    let blind = bind(3).await.unwrap();
    works(&blind).await;
    let lease = blind.try_acquire(&request("held")).await.unwrap().expect("free");
    denied(&get, blind.held()).await;
    let lease = blind.renew(&lease).await.unwrap();
    assert!(blind.release(&lease).await.unwrap());
    // Only leases of several slots are purged.
    let single = bind(5).await.unwrap();
    works(&single).await;
    denied("_IN.worker", bind(6)).await;
    let keeper = bind(4).await.unwrap();
    let lease = keeper.try_acquire(&request("keeper")).await.unwrap().expect("free");
    denied(&delete, keeper.release(&lease)).await;
    assert_eq!(stored(&root, "GOVERNOR2_T").await, 1);
}

#[tokio::test]
async fn chorias_own_rights_are_enough_to_work_on_its_governors() {
    // What choria gives its clients: any governor's subject, its lifecycle events, and the API of streams.
    let rights = Rights::new(
        &["*.governor.*", "choria.lifecycle.event.governor.>", "$JS.API.STREAM.>", "$JS.API.INFO"],
        &[INBOX],
    );
    let land = Land::with(&[rights]).await;
    let client = land.user(0).await;
    let wanted = config("T", 1, LONG).subject("mcollective.governor.T");
    let admin = GovernorAdmin::create(&client, &wanted).await.unwrap();
    let pool = admin.with_options(quick().lifecycle_events("CLI")).pool().unwrap();
    works(&*pool).await;
    assert_eq!(
        GovernorAdmin::list(&client, &Filter::all().collective("mcollective")).await.unwrap().len(),
        1
    );
    let native = config("N", 1, LONG).wire(Wire::Native);
    let native = GovernorAdmin::create(&client, &native).await.unwrap();
    let pool = native.pool().unwrap();
    denied("$GOVERNOR2.N.", pool.try_acquire(&request("native"))).await;
}
