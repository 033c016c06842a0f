//! Every answer that servers are known to give, in the shapes of several versions and in some of none.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sluicegate_core::{LeaseErrorKind, LeaseId, LeasePool, LeasePoolAdmin};
use sluicegate_governor::{
    CampaignPool, Filter, Force, GovernorAdmin, GovernorEvent, NativePool, PoolOptions, Wire,
};

use crate::fake::{Asked, Fake, Says};
use crate::support::{LONG, config, request, slots, soon, watched};

const CAMPAIGN: &str = "$GOVERNOR.campaign.T";
const UNCONFIRMED: Duration = Duration::from_millis(300);

fn refused(code: u16, err_code: u64, text: &str) -> String {
    format!(r#"{{"type":"x","error":{{"code":{code},"err_code":{err_code},"description":"{text}"}}}}"#)
}

fn campaign_refused(code: u16, err_code: u64, text: &str) -> String {
    format!(
        r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"{text}"}},"stream":"GOVERNOR_T","seq":0}}"#
    )
}

fn campaign_config() -> Value {
    json!({
        "name": "GOVERNOR_T", "description": "Concurrency Governor T", "subjects": [CAMPAIGN], "retention": "limits",
        "max_consumers": -1, "max_msgs": 2, "max_bytes": -1, "max_age": 60_000_000_000_u64,
        "max_msgs_per_subject": -1, "max_msg_size": -1, "discard": "new", "storage": "file", "num_replicas": 1,
        "duplicate_window": 60_000_000_000_u64, "sealed": false, "deny_delete": false, "deny_purge": false,
        "allow_rollup_hdrs": false, "allow_direct": false, "mirror_direct": false, "consumer_limits": {},
    })
}

fn native_config() -> Value {
    json!({
        "name": "GOVERNOR2_T", "subjects": ["$GOVERNOR2.T.>"], "retention": "limits", "max_msgs": 2, "max_age": 0,
        "max_msgs_per_subject": 1, "discard": "new", "storage": "file", "num_replicas": 1, "allow_msg_ttl": true,
        "duplicate_window": 120_000_000_000_u64,
        "metadata": {"sluicegate.incarnation": "1795309080033843-x", "sluicegate.ttl": "1m"},
    })
}

/// The answer of INFO, as captured.
fn info(config: &Value, messages: u64, first_seq: u64) -> String {
    format!(
        r#"{{"type":"io.nats.jetstream.api.v1.stream_info_response","total":0,"offset":0,"limit":0,"config":{config},"created":"2026-11-22T00:49:00.123456789Z","state":{{"messages":{messages},"bytes":0,"first_seq":{first_seq},"first_ts":"0001-01-01T00:00:00Z","last_seq":{first_seq},"last_ts":"0001-01-01T00:00:00Z","consumer_count":0}},"cluster":{{"leader":"N"}},"ts":"2026-11-22T00:49:10Z"}}"#
    )
}

/// A governor's stream of that version, whose campaigns (numbered from 0) and calls are answered by the script;
/// `None` leaves a call to the usual answer.
async fn governor(
    version: &str,
    mut campaign: impl FnMut(&Asked, usize) -> Says + Send + 'static,
    mut call: impl FnMut(&Asked) -> Option<Says> + Send + 'static,
) -> Fake {
    let mut campaigns = 0;
    Fake::start(version, move |asked| {
        let Some(verb) = asked.verb() else {
            if asked.subject.starts_with("_GOV.") {
                return Says::NobodyListens { tells_subject: true };
            }
            campaigns += 1;
            return campaign(asked, campaigns - 1);
        };
        if let Some(says) = call(asked) {
            return says;
        }
        let native = asked.subject.contains("GOVERNOR2_");
        match verb {
            "INFO" if native => info(&native_config(), 0, 0).into(),
            "INFO" => info(&campaign_config(), 0, 0).into(),
            "MSG.DELETE" => {
                r#"{"type":"io.nats.jetstream.api.v1.stream_msg_delete_response","success":true}"#.into()
            }
            "MSG.GET" => refused(404, 10037, "no message found").into(),
            _ => refused(400, 10025, "unexpected").into(),
        }
    })
    .await
}

async fn pool(fake: &Fake) -> CampaignPool {
    let options = PoolOptions::default().request_timeout(UNCONFIRMED).resolve_for(Duration::from_secs(3));
    soon(CampaignPool::bind_with(&fake.connection().await, "T", options)).await.expect("bound")
}

fn no_call(_: &Asked) -> Option<Says> {
    None
}

fn on(
    verb: &'static str,
    says: impl Fn() -> Says + Send + 'static,
) -> impl FnMut(&Asked) -> Option<Says> + Send {
    move |asked| (asked.verb() == Some(verb)).then(&says)
}

fn campaigns(fake: &Fake) -> Vec<Asked> {
    fake.asked().into_iter().filter(|asked| asked.subject == CAMPAIGN).collect()
}

#[tokio::test]
async fn a_grant_is_read_in_every_spacing_order_and_company() {
    for (version, text, seq) in [
        ("2.15.1", r#"{"stream":"GOVERNOR_T","seq":1}"#, 1),
        ("2.10.26", r#"{"stream":"GOVERNOR_T", "seq":1}"#, 1),
        ("2.15.1", r#"{"seq":7,"stream":"GOVERNOR_T"}"#, 7),
        (
            "2.15.1",
            r#" { "future" : [1,{"seq":9}] , "seq" : 7 , "domain" : "hub" , "stream" : "GOVERNOR_T" } "#,
            7,
        ),
        ("2.15.1", r#"{"stream":"GOVERNOR_T","seq":1795309080033843}"#, 1_795_309_080_033_843),
        ("2.15.1", r#"{"stream":"GOVERNOR_T","seq":18446744073709551615}"#, u64::MAX),
    ] {
        let fake = governor(version, move |_, _| text.into(), no_call).await;
        let lease = soon(pool(&fake).await.try_acquire(&request("h"))).await.unwrap().expect("granted");
        assert_eq!((lease.id().0, lease.token().0), (seq, seq), "{text}");
        assert_eq!(campaigns(&fake).len(), 1, "{text}");
    }
}

#[tokio::test]
async fn a_doubled_answer_is_one_and_a_late_one_is_nobodys() {
    let fake = governor(
        "2.15.1",
        |_, n| match n {
            0 => Says::Twice(r#"{"stream":"GOVERNOR_T","seq":1}"#.to_owned()),
            1 => Says::Twice(campaign_refused(503, 10077, "maximum messages exceeded")),
            // Not before the second try was answered.
            2 => Says::Late(UNCONFIRMED * 3, r#"{"stream":"GOVERNOR_T","seq":2}"#.to_owned()),
            3 => campaign_refused(503, 10077, "maximum messages exceeded").into(),
            _ => Says::Late(UNCONFIRMED * 2, r#"{"stream":"GOVERNOR_T","seq":9}"#.to_owned()),
        },
        no_call,
    )
    .await;
    let pool = pool(&fake).await;
    let ask = async |holder: &str| soon(pool.try_acquire(&request(holder))).await;
    assert_eq!(ask("a").await.unwrap().expect("granted").id().0, 1);
    assert!(ask("b").await.unwrap().is_none());
    assert!(ask("c").await.unwrap().is_none(), "the second try's answer counts");
    let tried = campaigns(&fake);
    assert_eq!(tried.len(), 4);
    assert_eq!(tried[2].header("Nats-Msg-Id"), tried[3].header("Nats-Msg-Id"), "under the same id");
    assert_ne!(tried[0].header("Nats-Msg-Id"), tried[1].header("Nats-Msg-Id"));
    // The late grant comes while this one waits for its own answers, all of which come too late.
    let error = ask("d").await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Unknown, "{error}");
}

#[tokio::test]
async fn a_repetition_is_accepted_only_if_the_message_is_ours() {
    for (theirs, hdrs_first) in [(false, false), (false, true), (true, false)] {
        let fake = Fake::start("2.15.1", {
            let mut first_id = String::new();
            move |asked| match asked.verb() {
                Some("INFO") => info(&campaign_config(), 0, 0).into(),
                Some("MSG.DELETE") => r#"{"success":true}"#.into(),
                Some("MSG.GET") => {
                    let id = if theirs { "somebody-elses" } else { &first_id };
                    let hdrs = STANDARD.encode(format!("NATS/1.0\r\nX: y\r\nNats-Msg-Id: {id}\r\n\r\n"));
                    let (a, b) = (
                        format!(r#""hdrs":"{hdrs}","#),
                        r#""seq":2,"time":"2026-11-22T00:49:02.466003454Z""#,
                    );
                    match hdrs_first {
                        true => format!(r#"{{"message":{{{a}{b}}}}}"#).into(),
                        false => format!(
                            r#"{{ "message" : {{{b} , "data":"aA==",{a} "subject":"s"}}, "type":"x"}}"#
                        )
                        .into(),
                    }
                }
                _ => {
                    let id = asked.header("Nats-Msg-Id").unwrap_or_default().to_owned();
                    if first_id.is_empty() {
                        first_id = id;
                        Says::Nothing
                    } else if first_id == id {
                        r#"{"stream":"GOVERNOR_T","seq":2,"duplicate": true}"#.into()
                    } else {
                        r#"{"stream":"GOVERNOR_T","seq":5}"#.into()
                    }
                }
            }
        })
        .await;
        let lease = soon(pool(&fake).await.try_acquire(&request("h"))).await.unwrap().expect("granted");
        assert_eq!(lease.id().0, if theirs { 5 } else { 2 }, "another id, another attempt");
    }
}

#[tokio::test]
async fn an_attempt_that_is_being_replicated_is_asked_for_again_under_its_id() {
    let fake = governor(
        "2.15.1",
        |_, n| match n {
            0 | 1 => campaign_refused(409, 10158, "duplicate message id is in process").into(),
            _ => r#"{"stream":"GOVERNOR_T","seq":4}"#.into(),
        },
        no_call,
    )
    .await;
    let lease = soon(pool(&fake).await.try_acquire(&request("h"))).await.unwrap().expect("granted");
    assert_eq!(lease.id().0, 4);
    let tried = campaigns(&fake);
    assert_eq!(tried.len(), 3);
    assert!(tried.iter().all(|one| one.header("Nats-Msg-Id") == tried[0].header("Nats-Msg-Id")));
}

#[tokio::test]
async fn a_slot_whose_grant_could_not_be_heard_is_given_back_once_answers_are_heard_again() {
    // Stored once, however often it is asked for under its id.
    let fake = governor(
        "2.15.1",
        |_, n| match n {
            0 => r#"{"stream":"GOVERNOR_T","seq":6}"#.into(),
            _ => r#"{"stream":"GOVERNOR_T","seq":6,"duplicate": true}"#.into(),
        },
        no_call,
    )
    .await;
    let pool = pool(&fake).await;
    // The right is taken away, which takes effect with the next connection.
    fake.reconnect(true);
    soon(async {
        while pool.connection().is_connected() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let error = soon(pool.try_acquire(&request("deaf"))).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::NotPermitted, "{error}");
    assert!(error.to_string().contains("_INBOX"), "{error}");
    let deletions =
        || fake.asked().into_iter().filter(|asked| asked.verb() == Some("MSG.DELETE")).collect::<Vec<_>>();
    assert!(deletions().is_empty());
    fake.reconnect(false);
    soon(async {
        while deletions().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(deletions()[0].json()["seq"], json!(6));
    let ids: Vec<_> =
        campaigns(&fake).iter().map(|asked| asked.header("Nats-Msg-Id").map(str::to_owned)).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    pool.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn each_refusal_of_a_campaign_is_what_it_means() {
    for (code, err_code, text, kind, named) in [
        (503, 10077, "maximum bytes exceeded", LeaseErrorKind::Misconfigured, "maximum bytes exceeded"),
        (503, 10077, "no space left on device", LeaseErrorKind::Misconfigured, "no space left"),
        (400, 10060, "expected stream does not match", LeaseErrorKind::Conflict, CAMPAIGN),
        (400, 10054, "message size exceeds maximum allowed", LeaseErrorKind::Invalid, "holder"),
        (503, 10008, "JetStream system temporarily unavailable", LeaseErrorKind::Transient, "GOVERNOR_T"),
        (503, 10009, "JetStream not leader", LeaseErrorKind::Transient, "GOVERNOR_T"),
        (503, 10023, "insufficient resources", LeaseErrorKind::Transient, "GOVERNOR_T"),
        (500, 10118, "stream is offline", LeaseErrorKind::Transient, "GOVERNOR_T"),
        (500, 10047, "insufficient storage resources available", LeaseErrorKind::Transient, "storage"),
        (400, 10028, "insufficient memory resources available", LeaseErrorKind::Transient, "memory"),
        (503, 10039, "JetStream not enabled for account", LeaseErrorKind::Misconfigured, "not enabled"),
        (503, 10076, "JetStream not enabled", LeaseErrorKind::Misconfigured, "not enabled"),
        (412, 10185, "JetStream minimum api level required", LeaseErrorKind::Unsupported, "api level"),
        (400, 10025, "invalid JSON", LeaseErrorKind::Invalid, "GOVERNOR_T"),
        (400, 10003, "bad request", LeaseErrorKind::Invalid, "GOVERNOR_T"),
        (400, 10071, "wrong last sequence: 3", LeaseErrorKind::Misconfigured, CAMPAIGN),
        (400, 10109, "invalid operation on sealed stream", LeaseErrorKind::Misconfigured, "sealed"),
        (599, 19999, "something that a later version may say", LeaseErrorKind::Transient, "later version"),
    ] {
        let fake =
            governor("2.15.1", move |_, _| campaign_refused(code, err_code, text).into(), no_call).await;
        let error = soon(pool(&fake).await.try_acquire(&request("h"))).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{err_code} {text}: {error}");
        assert!(error.to_string().contains(named), "{err_code} {text}: {error}");
        assert_eq!(campaigns(&fake).len(), 1, "{err_code}: one attempt is one attempt");
    }
    // Full, in the spacings and orders that may be.
    for full in [
        campaign_refused(503, 10077, "maximum messages exceeded"),
        r#"{"stream":"GOVERNOR_T", "seq":0, "error": {"description":"Maximum messages exceeded", "err_code":10077, "code":503, "x":1}}"#.to_owned(),
    ] {
        let fake = governor("2.10.26", move |_, _| full.clone().into(), no_call).await;
        assert!(soon(pool(&fake).await.try_acquire(&request("h"))).await.unwrap().is_none());
    }
    // Another stream's acknowledgement is no grant.
    let fake = governor("2.15.1", |_, _| r#"{"stream":"ORDERS","seq":8}"#.into(), no_call).await;
    let error = soon(pool(&fake).await.try_acquire(&request("h"))).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Conflict);
    assert!(error.to_string().contains("ORDERS"), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_told_apart_by_a_look() {
    for tells_subject in [true, false] {
        let nobody = move |_: &Asked, _| Says::NobodyListens { tells_subject };
        // There is the stream: it has no leader just now.
        let fake = governor("2.15.1", nobody, no_call).await;
        let error = soon(pool(&fake).await.try_acquire(&request("h"))).await.unwrap_err();
        assert_eq!(error.kind(), LeaseErrorKind::Transient, "{error}");
        // There is none any more.
        let mut looks = 0;
        let fake = governor("2.15.1", nobody, move |asked| {
            looks += usize::from(asked.verb() == Some("INFO"));
            (looks > 1).then(|| refused(404, 10059, "stream not found").into())
        })
        .await;
        let error = soon(pool(&fake).await.try_acquire(&request("h"))).await.unwrap_err();
        assert_eq!(error.kind(), LeaseErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("unknown governor"), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_unknown_and_no_panic() {
    for garbage in
        ["", "{", "null", "[]", "{}", "+OK", r#"{"stream":"GOVERNOR_T"}"#, r#"{"seq":-1}"#, "\u{feff}{}"]
    {
        let fake = governor("2.15.1", move |_, _| garbage.into(), no_call).await;
        let options =
            PoolOptions::default().request_timeout(UNCONFIRMED).resolve_for(Duration::from_millis(500));
        let pool = CampaignPool::bind_with(&fake.connection().await, "T", options).await.unwrap();
        let error = soon(pool.try_acquire(&request("h"))).await.unwrap_err();
        assert_eq!(error.kind(), LeaseErrorKind::Unknown, "{garbage}: {error}");
        for garbage in [garbage, r#"{"success":"yes"}"#] {
            let fake = governor("2.15.1", no_campaign, on("INFO", move || garbage.into())).await;
            let error = soon(CampaignPool::bind(&fake.connection().await, "T")).await.unwrap_err();
            assert_eq!(error.kind(), LeaseErrorKind::Transient, "{garbage}: {error}");
        }
    }
}

fn no_campaign(_: &Asked, _: usize) -> Says {
    r#"{"stream":"GOVERNOR_T","seq":3}"#.into()
}

#[tokio::test]
async fn each_answer_to_a_release_is_what_it_means() {
    let success =
        r#"{ "success" : true , "type":"io.nats.jetstream.api.v1.stream_msg_delete_response" }"#.to_owned();
    for (answers, freed) in [
        (vec![success.clone()], true),
        (vec![refused(500, 10057, "no message found")], false),
        (vec![refused(500, 10057, "stream store EOF")], false),
        (vec![refused(404, 10037, "no message found")], false),
        (vec![refused(400, 10043, "sequence 3 not found")], false),
        (vec![refused(404, 10059, "stream not found")], false),
        (vec![r#"{"type":"x","success":false}"#.to_owned()], false),
        // What may get better is tried again.
        (vec![refused(500, 10057, "write 1.blk: no space left on device"), success.clone()], true),
        (
            vec![
                refused(503, 10008, "temporarily unavailable"),
                refused(503, 10009, "not leader"),
                success.clone(),
            ],
            true,
        ),
        // It was our first try that did it.
        (vec![String::new(), refused(500, 10057, "no message found")], true),
    ] {
        let told = answers.clone();
        let mut tries = answers.into_iter();
        let id = Arc::new(Mutex::new(String::new()));
        let campaign = {
            let id = Arc::clone(&id);
            move |asked: &Asked, n| {
                *id.lock().unwrap() = asked.header("Nats-Msg-Id").expect("has an id").to_owned();
                no_campaign(asked, n)
            }
        };
        let fake = governor("2.15.1", campaign, move |asked| match asked.verb()? {
            "MSG.DELETE" => Some(match tries.next().expect("not more tries") {
                silence if silence.is_empty() => Says::Nothing,
                answer => answer.into(),
            }),
            // Who repeats a deletion looks whose number it is by now: still ours.
            "MSG.GET" => {
                let hdrs =
                    STANDARD.encode(format!("NATS/1.0\r\nNats-Msg-Id: {}\r\n\r\n", id.lock().unwrap()));
                Some(
                    format!(r#"{{"message":{{"seq":3,"hdrs":"{hdrs}","time":"2026-11-22T00:49:02Z"}}}}"#)
                        .into(),
                )
            }
            _ => None,
        })
        .await;
        let pool = pool(&fake).await;
        let lease = soon(pool.try_acquire(&request("h"))).await.unwrap().expect("granted");
        assert_eq!(soon(pool.release(&lease)).await.unwrap(), freed, "{told:?}");
        let deletes: Vec<_> =
            fake.asked().into_iter().filter(|asked| asked.verb() == Some("MSG.DELETE")).collect();
        assert_eq!(deletes.len(), told.len(), "{told:?}");
        assert!(deletes.iter().all(|asked| asked.body == r#"{"seq":3,"no_erase":true}"#), "{deletes:?}");
    }
    for (code, err_code, text) in
        [(500, 10057, "message delete not permitted"), (400, 10109, "invalid operation on sealed stream")]
    {
        let answer = refused(code, err_code, text);
        let fake = governor("2.15.1", no_campaign, on("MSG.DELETE", move || answer.clone().into())).await;
        let pool = pool(&fake).await;
        let lease = soon(pool.try_acquire(&request("h"))).await.unwrap().expect("granted");
        let error = soon(pool.release(&lease)).await.unwrap_err();
        assert_eq!(error.kind(), LeaseErrorKind::Misconfigured, "{error}");
    }
}

#[tokio::test]
async fn messages_are_read_as_captured_and_as_nobody_would_send_them() {
    let odd = STANDARD.encode([0xff, 0x00, 0x1b]);
    let messages = [
        r#"{"type":"io.nats.jetstream.api.v1.stream_msg_get_response","message":{"subject":"$GOVERNOR.campaign.T","seq":2,"data":"aG9zdDI=","time":"2026-11-22T00:49:02.466003454Z"}}"#.to_owned(),
        // A gap; reordered; more than we know; bytes that are no text; another zone; younger than the look.
        format!(r#"{{ "message": {{ "time":"2026-11-22T01:49:30+01:00", "x":{{}}, "data":"{odd}", "seq":9, "subject":"s" }} }}"#),
        format!(r#"{{"message":{{"seq":{},"hdrs":"{}","time":"2026-11-22T00:49:05Z"}}}}"#, u64::MAX, STANDARD.encode([0xff, b'\n'])),
    ];
    let fake = governor("2.15.1", no_campaign, move |asked| match asked.verb() {
        Some("INFO") => Some(info(&campaign_config(), 3, 2).into()),
        Some("MSG.GET") => {
            let from = asked.json()["seq"].as_u64().expect("a sequence");
            let n = if from <= 2 {
                0
            } else if from <= 9 {
                1
            } else {
                2
            };
            Some(messages[n].clone().into())
        }
        _ => None,
    })
    .await;
    let held = soon(pool(&fake).await.held()).await.unwrap();
    let shown: Vec<_> = held.iter().map(|lease| (lease.id.0, lease.holder.to_string())).collect();
    assert_eq!(
        shown,
        [(2, "host2".to_owned()), (9, "\\xFF\\u{0}\\u{1b}".to_owned()), (u64::MAX, String::new())]
    );
    assert!(held[0].age >= Duration::from_secs(7), "by the server's clock: {:?}", held[0].age);
    assert_eq!(held[1].age, Duration::ZERO);
    let gets: Vec<_> = fake.asked().into_iter().filter(|asked| asked.verb() == Some("MSG.GET")).collect();
    assert_eq!(gets[0].body, r#"{"seq":2,"next_by_subj":">"}"#);
}

#[tokio::test]
async fn a_server_that_does_not_move_on_is_not_asked_for_ever() {
    let fake = governor("2.15.1", no_campaign, move |asked| match asked.verb() {
        Some("INFO") => Some(info(&campaign_config(), 3, 5).into()),
        Some("MSG.GET") => Some(r#"{"message":{"seq":4,"time":"2026-11-22T00:49:02Z"}}"#.into()),
        // Neither does this list end, and each page has nothing new.
        Some("NAMES" | "LIST") => Some(r#"{"total":9999999999,"streams":["GOVERNOR_T"]}"#.into()),
        _ => None,
    })
    .await;
    let pool = pool(&fake).await;
    let error = soon(pool.held()).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Misconfigured, "{error}");
    let before = fake.asked().len();
    let connection = fake.connection().await;
    let error = soon(GovernorAdmin::list(&connection, &Filter::all())).await.unwrap_err();
    assert!(error.to_string().contains("does not end"), "{error}");
    assert!(fake.asked().len() - before < 20, "given up soon");
}

#[tokio::test]
async fn lists_are_read_page_by_page_and_what_is_missing_is_looked_at() {
    let fake = governor("2.15.1", no_campaign, |asked| {
        let body = asked.json();
        let offset = body["offset"].as_u64().unwrap_or_default();
        match (asked.verb()?, body["subject"].as_str(), asked.subject.rsplit('.').next()?) {
            ("NAMES", Some("$GOVERNOR.campaign.*"), _) => Some(match offset {
                0 => r#"{"type":"io.nats.jetstream.api.v1.stream_names_response","total":3,"offset":0,"limit":2,"streams":["GOVERNOR_a","OTHER"]}"#.into(),
                2 => r#"{ "streams": ["GOVERNOR_b"], "limit":2, "total":3, "offset":2 }"#.into(),
                _ => panic!("asked beyond the end: {body}"),
            }),
            ("NAMES", ..) => Some(r#"{"type":"io.nats.jetstream.api.v1.stream_names_response","total":0,"offset":0,"limit":1024,"streams":null}"#.into()),
            // One of them as it should be, one that cannot be read, one whose server did not answer.
            ("LIST", ..) => {
                let whole = info(&campaign_config(), 1, 4);
                Some(format!(
                    r#"{{"total":3,"offset":0,"limit":256,"streams":[{whole},{{"config":{{"name":"GOVERNOR_odd"}}}}],"missing":["GOVERNOR_gone"]}}"#
                ).into())
            }
            ("INFO", _, "GOVERNOR_a") => Some(refused(503, 10008, "temporarily unavailable").into()),
            ("INFO", _, "GOVERNOR_b" | "GOVERNOR_odd") => {
                let mut config = campaign_config();
                config["name"] = asked.subject.rsplit('.').next().into();
                Some(info(&config, 0, 0).into())
            }
            ("INFO", ..) => Some(refused(404, 10059, "stream not found").into()),
            _ => None,
        }
    })
    .await;
    let listed = soon(GovernorAdmin::list(&fake.connection().await, &Filter::all())).await.unwrap();
    let shown: Vec<_> = listed.iter().map(|governor| (governor.name.as_str(), governor.active)).collect();
    assert_eq!(shown, [("T", Some(1)), ("a", None), ("b", Some(0)), ("odd", Some(0))]);
    assert!(listed[1].warnings[0].to_string().contains("10008"), "{:?}", listed[1].warnings);
    let lists: Vec<_> = fake.asked().into_iter().filter(|asked| asked.verb() == Some("LIST")).collect();
    assert_eq!(lists.iter().map(|asked| asked.body.as_str()).collect::<Vec<_>>(), [r#"{"offset":0}"#]);
}

#[tokio::test]
async fn each_answer_to_an_operator_is_what_it_means() {
    type Call = fn(GovernorAdmin) -> futures::future::BoxFuture<'static, sluicegate_core::LeaseError>;
    let resize: Call = |admin| Box::pin(async move { admin.resize(slots(9)).await.unwrap_err() });
    let reset: Call = |admin| Box::pin(async move { admin.reset().await.unwrap_err() });
    let delete: Call = |admin| Box::pin(async move { admin.delete().await.unwrap_err() });
    let evict: Call = |admin| Box::pin(async move { admin.evict(LeaseId(3)).await.unwrap_err() });
    let view: Call = |admin| Box::pin(async move { admin.view().await.unwrap_err() });
    for (verb, call, code, err_code, text, kind) in [
        ("UPDATE", resize, 500, 10052, "max age needs to be >= 100ms", LeaseErrorKind::Invalid),
        ("UPDATE", resize, 400, 10065, "subjects overlap with an existing stream", LeaseErrorKind::Conflict),
        ("UPDATE", resize, 400, 10058, "stream name already in use", LeaseErrorKind::Conflict),
        ("UPDATE", resize, 404, 10059, "stream not found", LeaseErrorKind::NotFound),
        (
            "UPDATE",
            resize,
            500,
            10074,
            "replicas > 1 not supported in non-clustered mode",
            LeaseErrorKind::Invalid,
        ),
        ("UPDATE", resize, 400, 10005, "no suitable peers for placement", LeaseErrorKind::Invalid),
        ("UPDATE", resize, 412, 10185, "minimum api level required", LeaseErrorKind::Unsupported),
        ("PURGE", reset, 500, 10110, "stream purge failed", LeaseErrorKind::Transient),
        ("PURGE", reset, 503, 10008, "temporarily unavailable", LeaseErrorKind::Transient),
        ("DELETE", delete, 404, 10059, "stream not found", LeaseErrorKind::NotFound),
        ("MSG.GET", evict, 503, 10009, "not leader", LeaseErrorKind::Transient),
        ("MSG.GET", view, 503, 10009, "not leader", LeaseErrorKind::Transient),
        ("MSG.GET", view, 503, 10039, "JetStream not enabled for account", LeaseErrorKind::Misconfigured),
    ] {
        let answer = refused(code, err_code, text);
        let fake = governor("2.15.1", no_campaign, on(verb, move || answer.clone().into())).await;
        let admin = GovernorAdmin::bind_on(&fake.connection().await, "T", Wire::Campaign).await.unwrap();
        let error = soon(call(admin)).await;
        assert_eq!(error.kind(), kind, "{verb} {err_code}: {error}");
    }
    // No answer to a change: it may have happened. None to a look: it may be asked again.
    for (verb, call, kind) in [
        ("UPDATE", resize, LeaseErrorKind::Unknown),
        ("PURGE", reset, LeaseErrorKind::Unknown),
        ("DELETE", delete, LeaseErrorKind::Unknown),
        ("MSG.GET", view, LeaseErrorKind::Transient),
    ] {
        let fake = governor("2.15.1", no_campaign, on(verb, || Says::Nothing)).await;
        let admin = GovernorAdmin::bind_on(&fake.connection().await, "T", Wire::Campaign).await.unwrap();
        let error = soon(call(admin)).await;
        assert_eq!(error.kind(), kind, "{verb}: {error}");
    }
}

#[tokio::test]
async fn purges_and_deletions_are_read_as_captured() {
    let fake = governor("2.15.1", no_campaign, |asked| match asked.verb()? {
        "PURGE" => Some(
            r#"{"type":"io.nats.jetstream.api.v1.stream_purge_response","success":true,"purged":7}"#.into(),
        ),
        "DELETE" => {
            Some(r#"{"type":"io.nats.jetstream.api.v1.stream_delete_response","success":true}"#.into())
        }
        _ => None,
    })
    .await;
    let pool = pool(&fake).await;
    fake.take();
    assert_eq!(pool.reset().await.unwrap(), 7);
    pool.delete().await.unwrap();
    let asked = fake.take();
    let calls: Vec<_> = asked.iter().filter_map(|asked| Some((asked.verb()?, asked.body.as_str()))).collect();
    assert_eq!(calls, [("INFO", ""), ("PURGE", ""), ("DELETE", "")], "without a filter, without a body");
}

#[tokio::test]
async fn what_is_created_is_compared_with_what_was_asked_for() {
    let created = |config: &Value, new: bool| {
        let mut answer: Value = serde_json::from_str(&info(config, 0, 0)).expect("JSON");
        answer["type"] = "io.nats.jetstream.api.v1.stream_create_response".into();
        answer["did_create"] = new.into();
        answer.to_string()
    };
    // It gives back what it was given, and has more of its own to say.
    let fake = governor("2.15.1", no_campaign, move |asked| match asked.verb()? {
        "INFO" => Some(refused(404, 10059, "stream not found").into()),
        "CREATE" => {
            let mut config = asked.json();
            config["duplicate_window"] = json!(60_000_000_000_u64);
            config["metadata"]["_nats.ver"] = "2.15.1".into();
            config["future"] = json!({"a": 1});
            Some(created(&config, true).into())
        }
        _ => None,
    })
    .await;
    let wanted = config("T", 2, LONG);
    let (admin, changed) = GovernorAdmin::ensure(&fake.connection().await, &wanted).await.unwrap();
    assert!(changed && admin.wire() == Wire::Campaign);
    let sent = fake.asked().into_iter().find(|asked| asked.verb() == Some("CREATE")).expect("created").json();
    let mut choria = campaign_config();
    choria.as_object_mut().unwrap().remove("duplicate_window");
    for (field, value) in choria.as_object().unwrap() {
        assert_eq!(sent.get(field), Some(value), "{field}");
    }
    let incarnation = sent["metadata"]["sluicegate.incarnation"].as_str().expect("named");
    let (micros, unique) = incarnation.split_once('-').expect("micros and a unique part");
    assert!(
        micros.parse::<u64>().is_ok_and(|micros| micros >= sent["first_seq"].as_u64().unwrap()),
        "{incarnation}"
    );
    assert_eq!(unique.len(), 22, "{incarnation}");

    // It drops what it does not know.
    let dropping = move |asked: &Asked| match asked.verb()? {
        "INFO" => Some(refused(404, 10059, "stream not found").into()),
        "CREATE" => {
            let mut config = asked.json();
            config.as_object_mut().unwrap().remove("first_seq");
            Some(created(&config, true).into())
        }
        "DELETE" => Some(r#"{"success":true}"#.into()),
        _ => None,
    };
    let fake = governor("2.15.1", no_campaign, dropping).await;
    let error = CampaignPool::create(&fake.connection().await, &wanted).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Unsupported);
    assert!(error.to_string().contains("first_seq not set →"), "{error}");
    assert_eq!(fake.asked().last().and_then(Asked::verb), Some("DELETE"), "nothing is left of it");

    for (code, err_code, text, kind) in [
        (400, 10052, "invalid configuration", LeaseErrorKind::Invalid),
        (400, 10128, "Stream name can not contain path separators", LeaseErrorKind::Invalid),
        (400, 10065, "subjects overlap with an existing stream", LeaseErrorKind::Conflict),
        (500, 10047, "insufficient storage resources available", LeaseErrorKind::Transient),
        (503, 10076, "JetStream not enabled", LeaseErrorKind::Misconfigured),
    ] {
        let fake = governor("2.15.1", no_campaign, move |asked| match asked.verb()? {
            "INFO" => Some(refused(404, 10059, "stream not found").into()),
            "CREATE" => Some(refused(code, err_code, text).into()),
            _ => None,
        })
        .await;
        let error = CampaignPool::create(&fake.connection().await, &wanted).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{err_code}: {error}");
    }
}

#[tokio::test]
async fn an_update_that_the_server_did_not_make_is_reported() {
    // It answers with success, and with the configuration as it was.
    let fake = governor("2.10.26", no_campaign, on("UPDATE", || info(&campaign_config(), 0, 0).into())).await;
    let admin = GovernorAdmin::bind_on(&fake.connection().await, "T", Wire::Campaign).await.unwrap();
    let error = admin.resize(slots(9)).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Unsupported);
    assert!(error.to_string().contains("limit 2 → 9"), "{error}");
    let error = admin.set_subject("elsewhere", Force::Yes).await.unwrap_err();
    assert!(error.to_string().contains("→ elsewhere"), "{error}");
    let updates: Vec<_> = fake.asked().into_iter().filter(|asked| asked.verb() == Some("UPDATE")).collect();
    let mut expected = campaign_config();
    expected["max_msgs"] = json!(9);
    assert_eq!(updates[0].json(), expected, "all that was stored, with one difference");
}

#[tokio::test]
async fn native_answers_are_what_they_mean() {
    async fn native(
        write: impl FnMut(&Asked, usize) -> Says + Send + 'static,
        call: impl FnMut(&Asked) -> Option<Says> + Send + 'static,
    ) -> (Fake, NativePool) {
        let fake = governor("2.15.1", write, call).await;
        let options = PoolOptions::default().request_timeout(UNCONFIRMED).resolve_for(Duration::from_secs(3));
        let pool = NativePool::bind_with(&fake.connection().await, "T", options).await.expect("bound");
        (fake, pool)
    }
    const GRANTED: &str = r#"{"stream":"GOVERNOR2_T","seq":3}"#;
    for (code, err_code, text, kind) in [
        (400, 10165, "invalid per-message TTL", LeaseErrorKind::Invalid),
        (400, 10166, "per-message TTL is disabled", LeaseErrorKind::Unsupported),
    ] {
        let (_fake, pool) = native(move |_, _| campaign_refused(code, err_code, text).into(), no_call).await;
        let error = soon(pool.try_acquire(&request("h"))).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    // A renewal whose answer was lost shows as a conflict with our own earlier write, told in two ways.
    for (err_code, text) in [(10071, "wrong last sequence: 4"), (10164, "wrong last sequence")] {
        let (fake, pool) = native(
            move |_, n| match n {
                0 => GRANTED.into(),
                1 => Says::Nothing,
                _ => campaign_refused(400, err_code, text).into(),
            },
            on("MSG.GET", || r#"{"message":{"seq":4,"time":"2026-11-22T00:49:02Z"}}"#.into()),
        )
        .await;
        let lease = soon(pool.try_acquire(&request("h"))).await.unwrap().expect("granted");
        let renewed = soon(pool.renew(&lease)).await.unwrap();
        assert_eq!((renewed.id().0, renewed.token().0), (3, 4), "{text}");
        let looks = fake.asked().into_iter().filter(|asked| asked.verb() == Some("MSG.GET")).count();
        assert_eq!(looks, usize::from(err_code == 10164), "only one of them tells the sequence");
    }
    // And one that came too late is lost, also if slots are free.
    let (_fake, pool) = native(
        |_, n| {
            if n == 0 {
                GRANTED.into()
            } else {
                campaign_refused(400, 10071, "wrong last sequence: 0").into()
            }
        },
        no_call,
    )
    .await;
    let lease = soon(pool.try_acquire(&request("h"))).await.unwrap().expect("granted");
    let error = soon(pool.renew(&lease)).await.unwrap_err();
    assert_eq!(error.kind(), LeaseErrorKind::Lost, "{error}");
}

#[tokio::test]
async fn writes_without_answers_while_the_stream_is_there_are_told_of_once() {
    let fake = governor("2.15.1", |_, _| Says::Nothing, no_call).await;
    let (observer, mut events) = watched();
    let options =
        PoolOptions::default().request_timeout(UNCONFIRMED).resolve_for(UNCONFIRMED * 5).observer(observer);
    let pool = soon(CampaignPool::bind_with(&fake.connection().await, "T", options)).await.unwrap();
    for _ in 0..2 {
        let error = soon(pool.try_acquire(&request("a"))).await.unwrap_err();
        assert_eq!(error.kind(), LeaseErrorKind::Unknown, "{error}");
    }
    let mut degraded = 0;
    while let Ok(event) = events.try_recv() {
        degraded += usize::from(matches!(event, GovernorEvent::Degraded { .. }));
    }
    assert_eq!(degraded, 1);
}
