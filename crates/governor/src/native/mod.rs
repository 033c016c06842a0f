mod admin;
mod renew;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sluicegate_core::{
    FencingToken, HeldLease, Holder, HumanDuration, Lease, LeaseError, LeaseErrorKind, LeaseId, LeasePool,
    LossCause, PoolDescription, Request, WaitQueue,
};
use sluicegate_nats::Connection;

use crate::attempt::{Attempt, Granted, campaign};
use crate::board::Live;
use crate::event::GovernorEvent;
use crate::pool::{Facts, Handle, Wire};
use crate::stream::Stream;
use crate::wire::{GetMessage, LEASE_HEADER, StoredConfig, StoredMessage, StreamInfo, TTL, native_config};
use crate::{GovernorConfig, GovernorName, PoolOptions, make, reaper};

/// Fields of the stream that a configuration names, whatever else it says. The ttl stands in the metadata.
const NAMED: [&str; 6] =
    ["max_msgs", "max_age", "discard", "retention", "max_msgs_per_subject", "allow_msg_ttl"];

const WIRE: Wire = Wire {
    read: facts,
    renewable: true,
    ttl_applies_to_held: false,
    expiry_grain: Duration::from_millis(10),
};

/// A [`LeasePool`] whose leases can be renewed: one message with a time to live of its own for each lease, on a
/// stream that only sluicegate uses. Needs nats-server 2.11.
///
/// A value is one process's handle on the governor; `clone` shares it, [`bind`](Self::bind) makes another one.
/// Leases are renewed and released through a handle of the process that acquired them.
///
/// When the last clone is dropped, abandoned attempts are still resolved for a few seconds by tasks of the runtime
/// in which the handle was made; [`close`](Self::close) waits for them.
#[derive(Clone, Debug)]
pub struct NativePool(Arc<Handle>);

impl NativePool {
    /// Makes the governor, or binds to one that is exactly so. The ttl has to be whole seconds, and a subject cannot
    /// be chosen.
    ///
    /// # Errors
    /// `Unsupported` if the server is older than 2.11. `Conflict` if there is a governor that differs, naming each
    /// field as `have → want`: nothing is changed then. `Invalid`, `NotPermitted`, `Misconfigured`, `Transient`,
    /// `Unknown` (repeat: creating is idempotent).
    pub async fn create(connection: &Connection, config: &GovernorConfig) -> Result<Self, LeaseError> {
        Self::create_with(connection, config, PoolOptions::default()).await
    }

    /// As [`create`](Self::create), with options.
    ///
    /// # Errors
    /// As `create`.
    pub async fn create_with(
        connection: &Connection,
        config: &GovernorConfig,
        options: PoolOptions,
    ) -> Result<Self, LeaseError> {
        let stream = prepare(connection, config, &options)?;
        let wanted = native_config(config, make::seed(connection), &make::incarnation());
        let info = make::create(&stream, &wanted, &named(config)).await?;
        if ttl_of(&info.config) != Some(config.ttl) {
            return Err(other_ttl(&stream, &info, config.ttl));
        }
        Handle::attach(WIRE, stream, options, &info).map(Self)
    }

    /// Makes the governor, or changes limit, ttl and replicas to what is wanted. Nothing is written if all is so
    /// already. Lowering the limit evicts nobody; a changed ttl holds for grants and renewals from then on.
    ///
    /// # Errors
    /// As [`create`](Self::create); `Conflict` if something else differs.
    pub async fn ensure(connection: &Connection, config: &GovernorConfig) -> Result<Self, LeaseError> {
        Self::ensure_with(connection, config, PoolOptions::default()).await
    }

    /// As [`ensure`](Self::ensure), with options.
    ///
    /// # Errors
    /// As `ensure`.
    pub async fn ensure_with(
        connection: &Connection,
        config: &GovernorConfig,
        options: PoolOptions,
    ) -> Result<Self, LeaseError> {
        let stream = prepare(connection, config, &options)?;
        let wanted = native_config(config, make::seed(connection), &make::incarnation());
        let ttl = HumanDuration(config.ttl).to_string();
        let changeable = ["max_msgs", "num_replicas"];
        let apply = |stored: &mut StoredConfig| {
            if stored.limit() != Some(config.limit) {
                stored.set_limit(config.limit);
            }
            if let Some(replicas) = config.replicas {
                stored.set("num_replicas", replicas.get().into());
            }
        };
        let mut info = make::ensure(&stream, &wanted, &named(config), &changeable, apply).await?;
        if ttl_of(&info.config) != Some(config.ttl)
            && let Some(changed) = stream.change(|stored| stored.set_metadata(TTL, &ttl)).await?
        {
            info = changed;
        }
        Handle::attach(WIRE, stream, options, &info).map(Self)
    }

    /// Attaches to a governor that exists: reads limit and ttl, changes nothing.
    ///
    /// # Errors
    /// `NotFound` ("unknown governor"), `Misconfigured` if the stream is no native governor, `Invalid` for the name,
    /// `NotPermitted`, `Transient`.
    pub async fn bind(connection: &Connection, name: impl AsRef<str>) -> Result<Self, LeaseError> {
        Self::bind_with(connection, name, PoolOptions::default()).await
    }

    /// As [`bind`](Self::bind), with options.
    ///
    /// # Errors
    /// As `bind`.
    pub async fn bind_with(
        connection: &Connection,
        name: impl AsRef<str>,
        options: PoolOptions,
    ) -> Result<Self, LeaseError> {
        let name = GovernorName::try_new(name)?;
        let stream = Stream::new(connection, name.native_stream(), options.request_timeout);
        let info = stream.info().await?;
        Handle::attach(WIRE, stream, options, &info).map(Self)
    }

    /// The connection that it uses.
    pub fn connection(&self) -> &Connection {
        self.0.connection()
    }

    /// The name of its stream.
    pub fn stream(&self) -> &str {
        self.0.pool.stream.name()
    }

    /// The number of slots, as it was last read.
    pub fn limit(&self) -> NonZeroU32 {
        self.0.pool.board.limit()
    }

    /// The time to live of a grant or renewal, as it was last read.
    pub fn ttl(&self) -> Duration {
        self.0.pool.board.ttl()
    }

    /// Ends the handle: no further attempts, and abandoned ones are resolved, for at most `within`. Leases that are
    /// held stay held, and can be renewed and released.
    ///
    /// # Errors
    /// `Unknown` if some attempts are not resolved by then: slots that they got expire.
    ///
    /// # Cancel safety
    /// Safe: the handle stays closed; call it again to wait on.
    pub async fn close(&self, within: Duration) -> Result<(), LeaseError> {
        self.0.pool.close();
        reaper::flush(&self.0.pool, within).await
    }

    fn attempt(&self, holder: &Bytes) -> Attempt {
        let pool = &self.0.pool;
        // A subject of its own: it can be renewed, and read back, without anybody else's help.
        let subject: Arc<str> = format!("{}{}", pool.subject(), nuid::next().as_str()).into();
        let ttl = pool.board.ttl();
        let mut attempt = Attempt::new(pool, subject, true, holder.clone(), ttl);
        attempt.headers.insert(NATS_TTL, ttl_header(ttl));
        attempt
    }

    /// Whether a lease is still in the stream, and if not why.
    async fn verify(&self, lease: &Lease) -> Option<LossCause> {
        let pool = &self.0.pool;
        let live = pool.board.live(lease.id())?;
        match pool.stream.get(GetMessage::Last { last_by_subj: &live.subject }).await {
            Ok(Some(_)) => {
                pool.inspect(pool.board.ttl() / 3).await;
                None
            }
            Ok(None) => Some(pool.why_gone(lease.id()).await),
            Err(error) => self.0.judge(error).await,
        }
    }
}

/// The header that gives a message its time to live.
const NATS_TTL: &str = "Nats-TTL";

fn ttl_header(ttl: Duration) -> String {
    format!("{}s", ttl.as_secs())
}

fn prepare(
    connection: &Connection,
    config: &GovernorConfig,
    options: &PoolOptions,
) -> Result<Stream, LeaseError> {
    config.validate()?;
    validate_ttl(config.ttl)?;
    if config.subject.is_some() {
        let context = "native governors have subjects of their own: leave `subject` out";
        return Err(LeaseError::new(LeaseErrorKind::Invalid, context));
    }
    let version = make::version(connection);
    if !make::is_2_11(&version) {
        let context = format!("native governors need nats-server 2.11 or later, this is {version}");
        return Err(LeaseError::new(LeaseErrorKind::Unsupported, context));
    }
    Ok(Stream::new(connection, config.name.native_stream(), options.request_timeout))
}

/// Servers count these times in seconds.
fn validate_ttl(ttl: Duration) -> Result<(), LeaseError> {
    if ttl.as_secs() == 0 || ttl.subsec_nanos() > 0 {
        let context = format!("ttl is {ttl:?}: native leases last whole seconds, at least one");
        return Err(LeaseError::new(LeaseErrorKind::Invalid, context));
    }
    Ok(())
}

/// The fields in which the stream has to be as the configuration says.
fn named(config: &GovernorConfig) -> Vec<&'static str> {
    let mut named = NAMED.to_vec();
    named.push("subjects");
    named.extend(config.replicas.map(|_| "num_replicas"));
    named
}

fn ttl_of(config: &StoredConfig) -> Option<Duration> {
    config.metadata(TTL)?.parse::<HumanDuration>().ok().map(Duration::from)
}

fn other_ttl(stream: &Stream, info: &StreamInfo, want: Duration) -> LeaseError {
    let have = info.config.metadata(TTL).unwrap_or("not set");
    let want = HumanDuration(want);
    let context = format!("stream {} exists with another configuration: ttl {have} → {want}", stream.name());
    LeaseError::new(LeaseErrorKind::Conflict, context)
}

fn facts(config: &StoredConfig) -> Result<Facts, LeaseError> {
    let stream = config.text("name").unwrap_or_default();
    let misconfigured = |problem: &str| {
        Err(LeaseError::new(
            LeaseErrorKind::Misconfigured,
            format!("stream {stream} cannot be used as a native governor: {problem}"),
        ))
    };
    let Some(prefix) = config.subject().and_then(|subject| subject.strip_suffix('>')) else {
        return misconfigured("it has not exactly one subject that ends in `>`");
    };
    let Some(limit) = config.limit() else { return misconfigured("it has no limit; set one with `ensure`") };
    let Some(ttl) = ttl_of(config).filter(|ttl| validate_ttl(*ttl).is_ok()) else {
        return misconfigured("its metadata does not say the ttl; set one with `ensure`");
    };
    if !config.flag("allow_msg_ttl") {
        return misconfigured("its messages have no time to live (allow_msg_ttl is off)");
    }
    if config.text("discard") != Some("new") {
        return misconfigured(
            "it drops the oldest lease where it should refuse a new one (discard is not `new`)",
        );
    }
    if config.flag("sealed") || config.flag("deny_delete") {
        return misconfigured("leases cannot be released (sealed or deny_delete)");
    }
    Ok(Facts { subject: prefix.to_owned(), limit, ttl })
}

/// Which lease a message belongs to: its own sequence, or the one that a renewal carries along.
fn lease_id(message: &StoredMessage) -> LeaseId {
    let carried = message.header(LEASE_HEADER).and_then(|id| id.parse().ok());
    // Nobody renews a lease that is younger than the renewal; whoever says so lies.
    LeaseId(carried.filter(|id| *id <= message.seq).unwrap_or(message.seq))
}

#[async_trait]
impl LeasePool for NativePool {
    async fn describe(&self) -> Result<PoolDescription, LeaseError> {
        self.0.pool.describe().await
    }

    async fn try_acquire(&self, request: &Request) -> Result<Option<Lease>, LeaseError> {
        let pool = &self.0.pool;
        pool.open()?;
        if request.slots() > NonZeroU32::MIN {
            let context = "weights are not there yet: ask for one slot";
            return Err(LeaseError::new(LeaseErrorKind::Unsupported, context));
        }
        let (mark, floor) = pool.board.begin(self.0.id);
        let holder = Bytes::copy_from_slice(request.holder().as_bytes());
        let granted = campaign(pool, || self.attempt(&holder)).await?;
        let Some(Granted { sequence, first_send, attempt, tries }) = granted else {
            pool.board.full(self.0.id, mark);
            pool.emit(&GovernorEvent::Full);
            return Ok(None);
        };
        let id = LeaseId(sequence);
        let lease = Lease::granted(id, FencingToken(sequence), request, first_send, attempt.ttl);
        let live = Live::new(&lease, attempt.subject, attempt.id, first_send);
        if pool.board.granted(&lease, live, floor).is_some() {
            pool.emit(&GovernorEvent::EpochChanged { incarnation: pool.board.incarnation() });
        }
        pool.emit(&GovernorEvent::Acquired { id, tries });
        Ok(Some(lease))
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        renew::renew(&self.0.pool, lease).await
    }

    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        let (pool, id) = (&self.0.pool, lease.id());
        if matches!(pool.board.loss(id), Some(LossCause::Recreated | LossCause::Deleted)) {
            return Ok(false);
        }
        pool.board.releasing(id);
        let live = pool.board.live(id);
        let token = live.as_ref().map_or(lease.token(), |live| live.token);
        let within = lease.remaining().max(pool.stream.timeout()).min(pool.options.resolve_for);
        let mut freed = pool.delete_message(token.0, within).await?;
        if let Some(live) = live
            && live.in_doubt
            && !freed
        {
            // A renewal that was never answered may have put a newer message in its place.
            let which = GetMessage::Last { last_by_subj: &live.subject };
            if let Some(message) = pool.stream.get(which).await? {
                freed = pool.delete_message(message.seq, within).await?;
            }
        }
        pool.board.released(id);
        if freed {
            pool.board.tell(1);
        }
        pool.emit(&GovernorEvent::Released { id, freed });
        Ok(freed)
    }

    async fn held(&self) -> Result<Vec<HeldLease>, LeaseError> {
        let pool = &self.0.pool;
        let info = pool.stream.info().await?;
        let asked = tokio::time::Instant::now();
        let messages = pool.stream.walk(info.state.first_seq).await?;
        let mut held: Vec<_> = messages
            .iter()
            .map(|message| {
                let age = info.since(message.time).unwrap_or_default();
                let age = if age.is_zero() { age } else { age + asked.elapsed() };
                let holder = Holder::from_wire(&message.data);
                HeldLease::new(lease_id(message), FencingToken(message.seq), holder, age)
            })
            .collect();
        held.sort_by_key(|lease| lease.id);
        Ok(held)
    }

    async fn freed(&self) -> NonZeroU32 {
        self.0.freed().await
    }

    async fn lost(&self, lease: &Lease) -> LossCause {
        self.0.lost(lease.id(), || self.verify(lease)).await
    }

    fn line(&self) -> &WaitQueue {
        &self.0.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_seconds_can_be_kept() {
        for (millis, fits) in [(0, false), (999, false), (1000, true), (1500, false), (60_000, true)] {
            assert_eq!(validate_ttl(Duration::from_millis(millis)).is_ok(), fits, "{millis} ms");
        }
    }

    #[test]
    fn a_renewed_message_says_which_lease_it_is() {
        let message = |headers: &str| -> StoredMessage {
            use base64::Engine;
            let headers = base64::engine::general_purpose::STANDARD.encode(headers);
            let json = format!(r#"{{"seq":9,"hdrs":"{headers}","time":"2026-11-22T00:49:02Z"}}"#);
            serde_json::from_str(&json).unwrap()
        };
        assert_eq!(lease_id(&message("NATS/1.0\r\nSluicegate-Lease: 4\r\n\r\n")), LeaseId(4));
        for unusable in [
            "NATS/1.0\r\n\r\n",
            "NATS/1.0\r\nSluicegate-Lease: x\r\n\r\n",
            "NATS/1.0\r\nSluicegate-Lease: 10\r\n\r\n",
        ] {
            assert_eq!(lease_id(&message(unusable)), LeaseId(9), "{unusable}");
        }
    }
}
