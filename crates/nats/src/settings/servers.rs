use async_nats::ServerAddr;

use super::group::Level;
use crate::error::{ConnectError, ConnectErrorKind};
use crate::redact;

/// Servers without their user parts, and the first user part.
pub(super) fn parse(text: &str) -> Result<(Vec<ServerAddr>, Option<Level>), ConnectError> {
    let mut servers = Vec::new();
    let mut user = None;
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let refuse = |kind, problem: &str| {
            ConnectError::new(kind, format!("server `{}`: {problem}", redact::url(part)))
        };
        // The cause could quote the address.
        let server: ServerAddr = part.parse().map_err(|_| {
            refuse(ConnectErrorKind::Configuration, "is no address, write `nats://host:4222` or `tls://host`")
        })?;
        if server.is_websocket() {
            return Err(refuse(ConnectErrorKind::UnsupportedSetting, "websockets are not built in"));
        }
        if server.host().is_empty() {
            return Err(refuse(ConnectErrorKind::Configuration, "names no host"));
        }
        if let Some(name) = server.username()
            && user.is_none()
        {
            // The parser takes an empty password for none; to a server it makes a difference.
            let empty = part.rsplit_once('@').is_some_and(|(user, _)| user.ends_with(':'));
            let password = server.password().map(decode).or_else(|| empty.then(String::new));
            user = Some(Level::of_url(&decode(name), password.as_deref()));
        }
        let mut url = server.into_inner();
        if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
            return Err(refuse(ConnectErrorKind::Configuration, "cannot carry a user"));
        }
        let bare = ServerAddr::from_url(url)
            .map_err(|_| refuse(ConnectErrorKind::Configuration, "is no address of a NATS server"))?;
        servers.push(bare);
    }
    if servers.is_empty() {
        return Err(ConnectError::new(ConnectErrorKind::Configuration, "servers: no address given"));
    }
    Ok((servers, user))
}

/// `%40` back to `@`.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.extend(u8::try_from(high * 16 + low));
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Vec<String> {
        parse(text).unwrap().0.iter().map(|server| server.as_url_str().to_owned()).collect()
    }

    #[test]
    fn reads_lists_with_blanks_and_bare_hosts() {
        assert_eq!(shown(" nats://a:1 , b , tls://c,"), ["nats://a:1", "nats://b", "tls://c"]);
    }

    #[test]
    fn takes_the_user_part_out_of_the_address() {
        assert_eq!(shown("nats://bob:p%40ss@a,nats://b"), ["nats://a", "nats://b"]);
        assert_eq!(decode("p%40ss%2"), "p@ss%2");
        assert_eq!(decode("%zz%"), "%zz%");
    }

    #[test]
    fn names_what_is_wrong_without_the_user_part() {
        for (text, kind) in [
            ("http://canary:canary@h", ConnectErrorKind::Configuration),
            ("nats://canary@h:port", ConnectErrorKind::Configuration),
            ("wss://canary@h", ConnectErrorKind::UnsupportedSetting),
            (" , ", ConnectErrorKind::Configuration),
        ] {
            let error = parse(text).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), kind, "{text}");
            assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn decoding_is_the_inverse_of_encoding(text in "\\PC*") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decode(&encoded), text);
        }
    }
}
