use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::ServerError;

const CHUNK: usize = 16 * 1024;
/// Chunks on their way in one direction; with a delay this bounds the throughput.
const IN_FLIGHT: usize = 256;

/// What the proxy does to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Bytes pass as they come.
    Pass,
    /// Each byte passes that much later, without loss of throughput.
    Delay(Duration),
    /// A black hole: connections stay open, new ones are accepted, and bytes are held back until the fault
    /// changes.
    Hold,
    /// That many more bytes pass on each connection, then the connection is closed, in the middle of a message
    /// perhaps.
    CutAfter(u64),
    /// Connections are closed, and new ones as soon as they are made.
    Close,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// A TCP proxy before a server, that does what a bad network does. Its address stays the same; it ends when
/// dropped, and it runs on the runtime that started it.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _end: DropGuard,
}

struct Shared {
    upstream: SocketAddr,
    to_server: Lane,
    to_client: Lane,
    /// Replaced when all present connections are cut.
    connections: Mutex<CancellationToken>,
    open: AtomicUsize,
    end: CancellationToken,
}

struct Lane {
    fault: watch::Sender<Fault>,
    held: AtomicU64,
}

impl Lane {
    fn new() -> Self {
        Self { fault: watch::Sender::new(Fault::Pass), held: AtomicU64::new(0) }
    }
}

impl Proxy {
    /// A proxy on a free port of the loopback interface, before that server.
    ///
    /// # Errors
    ///
    /// There is no free port.
    pub async fn start(upstream: SocketAddr) -> Result<Self, ServerError> {
        let failed = |error| ServerError::io("cannot listen for the proxy", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let end = CancellationToken::new();
        let shared = Arc::new(Shared {
            upstream,
            to_server: Lane::new(),
            to_client: Lane::new(),
            connections: Mutex::new(end.child_token()),
            open: AtomicUsize::new(0),
            end: end.clone(),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _end: end.drop_guard() })
    }

    /// `nats://127.0.0.1:PORT` of the proxy.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Does that to both directions from now on, present connections included.
    pub fn set(&self, fault: Fault) {
        self.set_one_way(Direction::ToServer, fault);
        self.set_one_way(Direction::ToClient, fault);
    }

    /// Does that to one direction, and leaves the other as it is.
    pub fn set_one_way(&self, direction: Direction, fault: Fault) {
        self.shared.lane(direction).fault.send_replace(fault);
        if fault == Fault::Close {
            self.shared.cut();
        }
    }

    /// Resets all present connections; new ones are made as the fault says.
    pub fn reset(&self) {
        self.shared.cut();
    }

    /// Connections through the proxy now.
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Bytes that have been read and not passed on yet: above zero confirms that a [`Hold`](Fault::Hold) holds.
    pub fn held(&self, direction: Direction) -> u64 {
        self.shared.lane(direction).held.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    fn lane(&self, direction: Direction) -> &Lane {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    fn refuses(&self) -> bool {
        [&self.to_server, &self.to_client].iter().any(|lane| *lane.fault.borrow() == Fault::Close)
    }

    fn token(&self) -> CancellationToken {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn cut(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *connections, self.end.child_token()).cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let connections = TaskTracker::new();
    loop {
        tokio::select! {
            biased;
            () = shared.end.cancelled() => return,
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                let token = shared.token();
                if !shared.refuses() {
                    connections.spawn(connection(client, Arc::clone(&shared), token));
                }
            },
        }
    }
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>, cut: CancellationToken) {
    // The server may be dead: the client sees its connection end.
    let Ok(mut server) = TcpStream::connect(shared.upstream).await else { return };
    shared.open.fetch_add(1, Ordering::Relaxed);
    // Small messages must not wait for each other.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let reset = tokio::select! {
        biased;
        () = cut.cancelled() => true,
        () = carry(&mut client, &mut server, &shared) => false,
    };
    if reset {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
    shared.open.fetch_sub(1, Ordering::Relaxed);
}

/// Carries bytes both ways until both ways have ended, or one has failed.
async fn carry(client: &mut TcpStream, server: &mut TcpStream, shared: &Shared) {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let there = pump(from_client, to_server, &shared.to_server);
    let back = pump(from_server, to_client, &shared.to_client);
    if let Err(error) = tokio::try_join!(there, back) {
        tracing::debug!(%error, "a connection through the proxy ended");
    }
}

/// Carries the bytes of one direction, until they end or must not go on.
async fn pump(from: ReadHalf<'_>, to: WriteHalf<'_>, lane: &Lane) -> io::Result<()> {
    let (sender, chunks) = mpsc::channel(IN_FLIGHT);
    let held = Held { lane, bytes: AtomicU64::new(0) };
    tokio::try_join!(read(from, sender, &held), write(to, chunks, &held)).map(drop)
}

/// The held bytes of one connection: given back when it ends.
struct Held<'a> {
    lane: &'a Lane,
    bytes: AtomicU64,
}

impl Held<'_> {
    fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.lane.held.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sub(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.lane.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.sub(self.bytes.load(Ordering::Relaxed));
    }
}

type Chunk = (Instant, Vec<u8>);

async fn read(mut from: ReadHalf<'_>, chunks: mpsc::Sender<Chunk>, held: &Held<'_>) -> io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        if from.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        held.add(chunk.len() as u64);
        if chunks.send((Instant::now(), chunk)).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(mut to: WriteHalf<'_>, mut chunks: mpsc::Receiver<Chunk>, held: &Held<'_>) -> io::Result<()> {
    let mut fault = held.lane.fault.subscribe();
    let mut passed = 0;
    while let Some((read_at, chunk)) = chunks.recv().await {
        let left = allowance(&mut fault, read_at, &mut passed).await;
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        to.write_all(&chunk[..part]).await?;
        passed += part as u64;
        held.sub(chunk.len() as u64);
        if left == part as u64 {
            return Err(io::Error::other("cut by the proxy"));
        }
    }
    to.shutdown().await
}

/// Waits until bytes read at that time may go on; returns how many may before the connection is cut. `passed` counts
/// what went on under the present fault.
async fn allowance(fault: &mut watch::Receiver<Fault>, read_at: Instant, passed: &mut u64) -> u64 {
    loop {
        if fault.has_changed().unwrap_or(false) {
            *passed = 0;
        }
        let now = *fault.borrow_and_update();
        let until = match now {
            Fault::Pass => return u64::MAX,
            Fault::CutAfter(limit) => return limit.saturating_sub(*passed),
            Fault::Close => return 0,
            Fault::Delay(delay) => Some(read_at + delay),
            Fault::Hold => None,
        };
        tokio::select! {
            biased;
            // The proxy is gone, and with it the connection.
            changed = fault.changed() => if changed.is_err() { return 0 } else { *passed = 0 },
            () = sleep_until(until.unwrap_or(read_at)), if until.is_some() => return u64::MAX,
        }
    }
}
