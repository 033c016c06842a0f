//! What those are answered who look, manage, and use the native wire.

use super::*;

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
    // A renewal whose answer was lost shows as a conflict with our own earlier write, told in two ways. As nobody knows
    // when that was stored, it is written once more.
    for (err_code, text) in [(10071, "wrong last sequence: 4"), (10164, "wrong last sequence")] {
        let (fake, pool) = native(
            move |_, n| match n {
                0 => GRANTED.into(),
                1 => Says::Nothing,
                2 => campaign_refused(400, err_code, text).into(),
                _ => r#"{"stream":"GOVERNOR2_T","seq":5}"#.into(),
            },
            on("MSG.GET", || r#"{"message":{"seq":4,"time":"2026-11-22T00:49:02Z"}}"#.into()),
        )
        .await;
        let lease = soon(pool.try_acquire(&request("h"))).await.unwrap().expect("granted");
        let renewed = soon(pool.renew(&lease)).await.unwrap();
        assert_eq!((renewed.id().0, renewed.token().0), (3, 5), "{text}");
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
