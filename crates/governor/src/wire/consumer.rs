use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `CONSUMER.CREATE` of a consumer that lives as long as somebody listens.
#[derive(Serialize)]
pub(crate) struct NewConsumer<'a> {
    stream_name: &'a str,
    config: Config<'a>,
}

#[derive(Serialize)]
struct Config<'a> {
    deliver_subject: &'a str,
    deliver_policy: &'static str,
    ack_policy: &'static str,
    replay_policy: &'static str,
    max_deliver: u8,
    flow_control: bool,
    idle_heartbeat: u64,
    inactive_threshold: u64,
    mem_storage: bool,
    num_replicas: u8,
}

impl<'a> NewConsumer<'a> {
    /// Everything that the stream has and gets, in order, each message once.
    pub(crate) fn ordered(
        stream: &'a str,
        deliver_subject: &'a str,
        heartbeat: Duration,
        forgotten: Duration,
    ) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            stream_name: stream,
            config: Config {
                deliver_subject,
                deliver_policy: "all",
                ack_policy: "none",
                replay_policy: "instant",
                max_deliver: 1,
                flow_control: true,
                idle_heartbeat: nanos(heartbeat),
                inactive_threshold: nanos(forgotten),
                mem_storage: true,
                num_replicas: 1,
            },
        }
    }
}

/// The answer.
#[derive(Deserialize)]
pub(crate) struct MadeConsumer {
    /// Messages that it will deliver of those stored now.
    #[serde(default)]
    pub(crate) num_pending: u64,
}
