//! Every answer that servers are known to give, in the shapes of several versions and in some of none.

mod operator;
mod worker;

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

fn no_campaign(_: &Asked, _: usize) -> Says {
    r#"{"stream":"GOVERNOR_T","seq":3}"#.into()
}
