//! What workers are answered.

use super::*;

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
