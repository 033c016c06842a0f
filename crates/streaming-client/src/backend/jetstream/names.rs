//! Names on the server: reversible, and safe as stream names, consumer names and subject tokens.

use std::fmt::Write;

use crate::subscribe::Wanted;
use crate::{ClientId, ErrorKind, StreamError};

/// Longest name that a server takes, as it becomes a file name.
const LONGEST: usize = 255;

/// Every byte outside `[A-Za-z0-9-]` becomes `_` and two hexadecimal digits.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "_{byte:02x}");
        }
    }
    out
}

/// The name of the position that is wanted; `None`: a plain subscription, which gets one of its own.
pub(super) fn consumer(client: &ClientId, wanted: &Wanted) -> Result<Option<String>, StreamError> {
    let name = match (&wanted.durable, &wanted.queue) {
        (None, None) => return Ok(None),
        (Some(durable), None) => format!("d_{}__{}", escape(client.as_str()), escape(durable.as_str())),
        (None, Some(queue)) => format!("q_{}", escape(queue.as_str())),
        (Some(durable), Some(queue)) => {
            format!("dq_{}__{}", escape(durable.as_str()), escape(queue.as_str()))
        }
    };
    checked(name).map(Some)
}

pub(super) fn checked(name: String) -> Result<String, StreamError> {
    if name.len() > LONGEST {
        let context = format!("{name:?} is longer than 255 bytes once escaped: use shorter names");
        return Err(StreamError::new(ErrorKind::InvalidName, context));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unescape(text: &str) -> Option<String> {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'_' {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            } else {
                bytes.push(byte);
            }
        }
        String::from_utf8(bytes).ok()
    }

    #[test]
    fn known_names() {
        assert_eq!(escape("ticket:created"), "ticket_3acreated");
        assert_eq!(escape("a.b_c-d"), "a_2eb_5fc-d");
    }

    proptest! {
        #[test]
        fn escaping_is_reversible_and_safe(text in "\\PC*") {
            let escaped = escape(&text);
            prop_assert_eq!(unescape(&escaped), Some(text));
            prop_assert!(escaped.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        }
    }
}
