use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ServerError, ServerErrorKind};

const WITHIN: Duration = Duration::from_secs(5);

/// What a server says of itself as soon as somebody connects.
pub(super) async fn read_info(address: SocketAddr) -> Result<Value, ServerError> {
    let late =
        || ServerError::new(ServerErrorKind::Start, format!("no INFO from {address} within {WITHIN:?}"));
    timeout(WITHIN, greet(address)).await.map_err(|_| late())?
}

async fn greet(address: SocketAddr) -> Result<Value, ServerError> {
    let failed = |error| ServerError::io(format!("cannot reach the server at {address}"), error);
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.map_err(failed)?;
    let json = line.strip_prefix("INFO ").and_then(|json| serde_json::from_str(json).ok());
    json.ok_or_else(|| {
        ServerError::new(ServerErrorKind::Start, format!("no NATS server answers at {address}"))
    })
}
