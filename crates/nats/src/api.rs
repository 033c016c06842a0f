use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Connection;
use crate::error::{ApiError, RequestError, RequestErrorKind, ServerErrorBody};

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    error: Option<ServerErrorBody>,
}

impl Connection {
    /// The subject of a verb of the JetStream API (`STREAM.INFO.ORDERS`), with the prefix or domain of the settings:
    /// for what [`api`](Self::api) does not do, such as answers of several messages.
    pub fn api_subject(&self, verb: &str) -> String {
        format!("{}.{verb}", self.api_prefix())
    }

    /// Calls the JetStream API: `verb` is what follows the prefix (`STREAM.INFO.ORDERS`), the prefix and domain are
    /// those of the settings. `&()` as body sends an empty payload, as some verbs refuse `null`.
    ///
    /// # Errors
    /// `Server` with the server's codes, `Request` if there was no answer, `Malformed` if it is no `T`.
    ///
    /// # Cancel safety
    /// Dropping it forgets the answer; the call may have happened.
    pub async fn api<T: DeserializeOwned>(
        &self,
        verb: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<T, ApiError> {
        let subject = self.api_subject(verb);
        let payload = match serde_json::to_vec(body) {
            Ok(json) if json == b"null" => Bytes::new(),
            Ok(json) => json.into(),
            Err(error) => {
                let invalid = RequestError::new(RequestErrorKind::Invalid, subject, "the body is no JSON");
                return Err(invalid.with_source(error).into());
            }
        };
        tracing::trace!(%subject, request = %String::from_utf8_lossy(&payload), "api request");
        let answer = self.request(&subject, None, payload, timeout).await?;
        tracing::trace!(%subject, reply = %String::from_utf8_lossy(&answer.payload), "api reply");
        parse(&subject, &answer.payload)
    }
}

fn parse<T: DeserializeOwned>(subject: &str, payload: &[u8]) -> Result<T, ApiError> {
    let unreadable =
        |error: serde_json::Error| ApiError::malformed(subject, error.to_string()).with_source(error);
    let envelope: Envelope = serde_json::from_slice(payload).map_err(unreadable)?;
    match envelope.error {
        Some(body) => Err(ApiError::server(subject, body)),
        None => serde_json::from_slice(payload).map_err(unreadable),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::error::ApiErrorKind;

    #[test]
    fn errors_of_the_server_come_before_the_shape_of_the_answer() {
        let json = br#"{"type":"x","error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
        let error = parse::<Vec<u8>>("s", json).unwrap_err();
        assert_eq!(error.kind(), ApiErrorKind::Server { code: 404, err_code: 10059 });
        assert_eq!(error.to_string(), "`s` answered 404/10059: stream not found");
    }

    #[test]
    fn an_answer_of_another_shape_is_malformed() {
        assert_eq!(parse::<Vec<u8>>("s", b"{}").unwrap_err().kind(), ApiErrorKind::Malformed);
        assert_eq!(parse::<Value>("s", b"").unwrap_err().kind(), ApiErrorKind::Malformed);
        assert!(parse::<Value>("s", br#"{"error":null,"success":true}"#).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse::<Value>("s", &bytes);
        }
    }
}
