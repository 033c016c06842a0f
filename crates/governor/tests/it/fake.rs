//! A server that answers as a script says: shapes that no real server of today sends, or only rarely.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use sluicegate_nats::Connection;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::connection;

/// What a client published with a reply subject.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) subject: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The verb of a call of the API: `INFO` in `$JS.API.STREAM.INFO.GOVERNOR_T`.
    pub(crate) fn verb(&self) -> Option<&str> {
        let call = self.subject.strip_prefix("$JS.API.STREAM.")?;
        Some(call.rsplit_once('.').map_or(call, |(verb, _)| verb))
    }

    pub(crate) fn json(&self) -> Value {
        if self.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&self.body).expect("JSON is sent")
        }
    }
}

/// What the server does about it.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    Text(String),
    /// A status without a body; 2.15 tells the subject, 2.10 does not.
    NobodyListens {
        tells_subject: bool,
    },
    Nothing,
    /// Says that much later, while it goes on listening.
    Late(Duration, String),
    Twice(String),
}

impl From<&str> for Says {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Says {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

type Script = Box<dyn FnMut(&Asked) -> Says + Send>;

pub(crate) struct Fake {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Subscriptions to inboxes are denied.
    deaf: Arc<AtomicBool>,
    sessions: Arc<Mutex<Vec<JoinHandle<Option<()>>>>>,
    task: JoinHandle<()>,
}

impl Fake {
    pub(crate) async fn start(version: &str, script: impl FnMut(&Asked) -> Says + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let asked = Arc::new(Mutex::default());
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let info = format!(
            r#"INFO {{"server_id":"FAKE","server_name":"fake","version":"{version}","go":"go","host":"127.0.0.1","port":{port},"headers":true,"max_payload":1048576,"proto":1,"jetstream":true}}"#
        );
        let (deaf, sessions) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let task = tokio::spawn({
            let (asked, deaf, sessions) = (Arc::clone(&asked), Arc::clone(&deaf), Arc::clone(&sessions));
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (asked, script) = (Arc::clone(&asked), Arc::clone(&script));
                    let session = tokio::spawn(serve(stream, info.clone(), asked, script, Arc::clone(&deaf)));
                    sessions.lock().unwrap_or_else(PoisonError::into_inner).push(session);
                }
            }
        });
        Self { url: format!("nats://127.0.0.1:{port}"), asked, deaf, sessions, task }
    }

    /// Closes all connections; from then on inboxes are denied, or not.
    pub(crate) fn reconnect(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
        for session in self.sessions.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            session.abort();
        }
    }

    pub(crate) async fn connection(&self) -> Connection {
        connection(&self.url).await
    }

    /// What it was asked, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As `asked`, and forgets it.
    pub(crate) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One client, until it leaves. A client that breaks off in the middle ends the session, nothing else.
async fn serve(
    stream: TcpStream,
    info: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    script: Arc<Mutex<Script>>,
    deaf: Arc<AtomicBool>,
) -> Option<()> {
    let (reader, mut writer) = stream.into_split();
    let (sender, mut outgoing) = mpsc::unbounded_channel::<Vec<u8>>();
    tokio::spawn(async move {
        while let Some(bytes) = outgoing.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut reader = BufReader::new(reader);
    sender.send(format!("{info}\r\n").into_bytes()).ok()?;
    let mut subscriptions: Vec<(String, String)> = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["PING"] => sender.send(b"PONG\r\n".to_vec()).ok()?,
            ["SUB", subject, sid] | ["SUB", subject, _, sid] => {
                if deaf.load(Ordering::SeqCst) && subject.starts_with("_INBOX") {
                    let denied =
                        format!("-ERR 'Permissions Violation for Subscription to \"{subject}\"'\r\n");
                    sender.send(denied.into_bytes()).ok()?;
                } else {
                    subscriptions.push(((*subject).to_owned(), (*sid).to_owned()));
                }
            }
            [verb @ ("PUB" | "HPUB"), subject, rest @ ..] => {
                let sizes = usize::from(*verb == "HPUB") + 1;
                let (reply, sizes) = rest.split_at(rest.len().checked_sub(sizes)?);
                let total: usize = sizes.last()?.parse().ok()?;
                let head: usize = if sizes.len() == 2 { sizes.first()?.parse().ok()? } else { 0 };
                let mut payload = vec![0; total + 2];
                reader.read_exact(&mut payload).await.ok()?;
                let Some(reply) = reply.first() else { continue };
                let question = Asked {
                    subject: (*subject).to_owned(),
                    headers: headers(&payload[..head]),
                    body: String::from_utf8_lossy(&payload[head..total]).into_owned(),
                };
                let says = {
                    let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
                    asked.lock().unwrap_or_else(PoisonError::into_inner).push(question.clone());
                    script(&question)
                };
                let is_inbox = |(subject, _): &&(String, String)| {
                    subject.strip_suffix('*').is_some_and(|prefix| reply.starts_with(prefix))
                };
                // Nobody hears the answer of whom the inbox was denied to.
                if let Some((_, sid)) = subscriptions.iter().find(is_inbox) {
                    answer(&sender, says, reply, sid, subject);
                }
            }
            _ => {}
        }
    }
}

fn answer(sender: &mpsc::UnboundedSender<Vec<u8>>, says: Says, reply: &str, sid: &str, subject: &str) {
    let message = |text: &str| format!("MSG {reply} {sid} {}\r\n{text}\r\n", text.len()).into_bytes();
    // A client that has left hears nothing: that is its business.
    match says {
        Says::Text(text) => drop(sender.send(message(&text))),
        Says::Twice(text) => {
            drop(sender.send(message(&text)));
            drop(sender.send(message(&text)));
        }
        Says::Nothing => {}
        Says::NobodyListens { tells_subject } => {
            let told = if tells_subject { format!("Nats-Subject: {subject}\r\n") } else { String::new() };
            let head = format!("NATS/1.0 503\r\n{told}\r\n");
            let length = head.len();
            drop(sender.send(format!("HMSG {reply} {sid} {length} {length}\r\n{head}\r\n").into_bytes()));
        }
        Says::Late(delay, text) => {
            let (sender, message) = (sender.clone(), message(&text));
            tokio::spawn(async move {
                sleep(delay).await;
                drop(sender.send(message));
            });
        }
    }
}

fn headers(bytes: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split("\r\n").filter_map(|line| line.split_once(':'));
    lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
}
