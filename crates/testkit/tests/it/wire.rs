//! As little of the NATS protocol as these tests need: the testkit depends on no client.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
    requests: u64,
}

impl Wire {
    /// Connects and waits for the answer to a PING.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connects");
        let mut wire = Self { stream: BufReader::new(stream), requests: 0 };
        assert!(wire.line().await.starts_with("INFO "), "a server greets with INFO");
        wire.send("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nPING\r\n").await;
        assert!(wire.pong().await, "a server answers a PING");
        wire.send("SUB in.> 1\r\n").await;
        wire
    }

    /// What the server says of itself.
    pub(crate) async fn info(address: SocketAddr) -> Value {
        let stream = TcpStream::connect(address).await.expect("connects");
        let line = Self { stream: BufReader::new(stream), requests: 0 }.line().await;
        serde_json::from_str(line.strip_prefix("INFO ").expect("INFO first")).expect("JSON")
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.write(text.as_bytes()).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.expect("sends");
    }

    /// The next line; panics when the connection ends or nothing comes for a long time.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.stream.read_line(&mut line)).await.expect("a line in time").expect("reads");
        assert!(!line.is_empty(), "the connection ended");
        line.trim_end().to_owned()
    }

    /// Whether the server answers a PING within that time.
    pub(crate) async fn answers(&mut self, within: Duration) -> bool {
        self.stream.get_mut().write_all(b"PING\r\n").await.is_ok()
            && timeout(within, self.pong()).await == Ok(true)
    }

    /// Waits for the answer to a PING, past what else the server says; `false` = the connection ended.
    pub(crate) async fn pong(&mut self) -> bool {
        loop {
            let mut line = String::new();
            match self.stream.read_line(&mut line).await {
                Ok(1..) if line == "PONG\r\n" => return true,
                Ok(1..) => {}
                _ => return false,
            }
        }
    }

    /// One request and its answer, as JSON; an answer without a body (no responders) is `null`.
    pub(crate) async fn request(&mut self, subject: &str, body: &Value) -> Value {
        let answer = self.request_bytes(subject, body.to_string().as_bytes()).await;
        serde_json::from_slice(&answer).unwrap_or(Value::Null)
    }

    /// One request and its answer.
    pub(crate) async fn request_bytes(&mut self, subject: &str, body: &[u8]) -> Vec<u8> {
        self.requests += 1;
        let inbox = format!("in.{}", self.requests);
        let head = format!("PUB {subject} {inbox} {}\r\n", body.len());
        self.write(&[head.as_bytes(), body, b"\r\n"].concat()).await;
        loop {
            let line = self.line().await;
            let words: Vec<&str> = line.split(' ').collect();
            if !matches!(words[0], "MSG" | "HMSG") {
                continue;
            }
            let size: usize = words[words.len() - 1].parse().expect("a size");
            let mut payload = vec![0; size + 2];
            self.stream.read_exact(&mut payload).await.expect("a payload");
            if words[1] == inbox {
                payload.truncate(size);
                return payload;
            }
        }
    }

    pub(crate) async fn create_stream(&mut self, name: &str) -> Value {
        let config = json!({"name": name, "subjects": [format!("{name}.>")]});
        self.request(&format!("$JS.API.STREAM.CREATE.{name}"), &config).await
    }

    /// Messages in the stream.
    pub(crate) async fn stored(&mut self, name: &str) -> u64 {
        let info = self.request(&format!("$JS.API.STREAM.INFO.{name}"), &json!({})).await;
        info["state"]["messages"].as_u64().unwrap_or_else(|| panic!("no state in {info}"))
    }
}
