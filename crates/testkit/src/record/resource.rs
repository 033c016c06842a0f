use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Recorder;
use crate::check::{Event, Op, Phase};

/// What leases protect. It lets in whoever shows a lease, and writes down who is in; it refuses a lease that is over
/// and, if it is fenced, a token that is smaller than the largest it has seen.
///
/// A visitor that dies has left.
#[derive(Debug)]
pub struct Resource {
    address: SocketAddr,
    _end: DropGuard,
}

#[derive(Debug)]
struct Shared {
    recorder: Arc<Recorder>,
    /// With more than one slot, smaller tokens may be valid, too.
    fenced: bool,
    /// The largest token that was shown.
    seen: Mutex<u64>,
}

/// What a visitor asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ask {
    p: String,
    c: u32,
    op: Op,
    lease: u64,
    token: u64,
    deadline: u64,
}

impl Resource {
    /// A resource on a free port of the loopback interface, on the runtime that starts it; fenced, if it is for one at
    /// a time.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(recorder: Arc<Recorder>, fenced: bool) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let end = CancellationToken::new();
        let shared = Arc::new(Shared { recorder, fenced, seen: Mutex::default() });
        tokio::spawn({
            let end = end.clone();
            async move {
                loop {
                    tokio::select! {
                        biased;
                        () = end.cancelled() => return,
                        accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                            let (shared, end) = (Arc::clone(&shared), end.clone());
                            tokio::spawn(async move {
                                tokio::select! {
                                    biased;
                                    () = end.cancelled() => {}
                                    _ = shared.receive(stream) => {}
                                }
                            });
                        },
                    }
                }
            }
        });
        Ok(Self { address, _end: end.drop_guard() })
    }

    /// Where visitors connect.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }
}

impl Shared {
    async fn receive(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let mut inside = BTreeMap::new();
        let ended = self.serve(&mut stream, &mut inside).await;
        for ask in inside.into_values() {
            self.left(&ask);
        }
        ended
    }

    async fn serve(
        &self,
        stream: &mut BufReader<TcpStream>,
        inside: &mut BTreeMap<u32, Ask>,
    ) -> io::Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let ask: Ask = serde_json::from_str(&line)?;
            let c = ask.c;
            let admitted = match ask.op {
                Op::Leave => {
                    if inside.remove(&c).is_some() {
                        self.left(&ask);
                    }
                    true
                }
                op if op == Op::Enter || inside.contains_key(&c) => self.admit(&ask),
                _ => false,
            };
            if admitted && ask.op != Op::Leave {
                inside.insert(c, ask);
            } else {
                inside.remove(&c);
            }
            stream.write_all(if admitted { b"y" } else { b"n" }).await?;
        }
    }

    /// Decides, and writes down what was decided at that very time.
    fn admit(&self, ask: &Ask) -> bool {
        let mut admitted = true;
        self.recorder.write(&ask.p, ask.op, Phase::Event, |mut event| {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let small = self.fenced && ask.token < *seen;
            if small || event.t > ask.deadline {
                admitted = false;
                (event.op, event.kind) = (Op::Refuse, (!small).then(|| "expired".into()));
            } else {
                *seen = ask.token.max(*seen);
            }
            by_resource(event, ask)
        });
        admitted
    }

    fn left(&self, ask: &Ask) {
        self.recorder.write(&ask.p, Op::Leave, Phase::Event, |event| by_resource(event, ask));
    }
}

fn by_resource(mut event: Event, ask: &Ask) -> Event {
    event.c = ask.c;
    event.by = Some("resource".into());
    event.lease(ask.lease, ask.token)
}

/// One client of one worker process, at the resource.
#[derive(Debug)]
pub struct Visitor {
    stream: TcpStream,
    p: String,
    c: u32,
}

impl Visitor {
    /// Connects client `c` of process `p`.
    ///
    /// # Errors
    /// The resource is not there.
    pub async fn connect(resource: SocketAddr, p: &str, c: u32) -> io::Result<Self> {
        let stream = TcpStream::connect(resource).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, p: p.to_owned(), c })
    }

    /// Goes in with a lease; `false`: refused.
    ///
    /// # Errors
    /// The resource is gone.
    pub async fn enter(&mut self, lease: u64, token: u64, deadline: u64) -> io::Result<bool> {
        self.ask(Op::Enter, lease, token, deadline).await
    }

    /// Does something inside, and shows its lease again.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub async fn touch(&mut self, lease: u64, token: u64, deadline: u64) -> io::Result<bool> {
        self.ask(Op::Touch, lease, token, deadline).await
    }

    /// Goes out.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub async fn leave(&mut self, lease: u64, token: u64) -> io::Result<()> {
        self.ask(Op::Leave, lease, token, 0).await.map(drop)
    }

    async fn ask(&mut self, op: Op, lease: u64, token: u64, deadline: u64) -> io::Result<bool> {
        use tokio::io::AsyncReadExt;

        let ask = Ask { p: self.p.clone(), c: self.c, op, lease, token, deadline };
        let mut line = serde_json::to_vec(&ask)?;
        line.push(b'\n');
        self.stream.write_all(&line).await?;
        Ok(self.stream.read_u8().await? == b'y')
    }
}
