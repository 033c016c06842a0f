use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ServerError, ServerErrorKind};

/// One request to a server and its answer, on a connection of its own and with as little of the protocol as that
/// takes: for those who disturb servers and must not trust the client that they test. An empty body for
/// [`Value::Null`]; `null` when nobody answers for that subject.
///
/// # Errors
///
/// The server is not there, or there is no answer `within` that time.
///
/// # Cancel safety
///
/// The request may have been sent.
pub async fn ask(
    server: SocketAddr,
    subject: &str,
    body: &Value,
    within: Duration,
) -> Result<Value, ServerError> {
    let late =
        || ServerError::new(ServerErrorKind::State, format!("no answer to {subject} within {within:?}"));
    timeout(within, exchange(server, subject, body)).await.map_err(|_| late())?
}

async fn exchange(server: SocketAddr, subject: &str, body: &Value) -> Result<Value, ServerError> {
    let failed = |error| ServerError::io(format!("the connection to {server} ended"), error);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = BufReader::new(TcpStream::connect(server).await.map_err(failed)?);
    let text = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true,\"no_responders\":true}}\r\n\
         SUB answer 1\r\nPUB {subject} answer {}\r\n{body}\r\n",
        body.len()
    );
    stream.get_mut().write_all(text.as_bytes()).await.map_err(failed)?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.map_err(failed)? == 0 {
            return Err(ServerError::new(ServerErrorKind::State, format!("{server} ended the connection")));
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if !matches!(words.first(), Some(&("MSG" | "HMSG"))) {
            continue;
        }
        let size = words.last().and_then(|size| size.parse::<usize>().ok()).unwrap_or(0);
        let mut payload = vec![0; size];
        stream.read_exact(&mut payload).await.map_err(failed)?;
        // An answer without a body has headers only: nobody answers.
        return Ok(serde_json::from_slice(&payload).unwrap_or(Value::Null));
    }
}
