use std::fmt;
use std::sync::Arc;

/// Says who holds a lease: process and work, unique per process. Free text that operators read; never parsed,
/// never trusted.
///
/// What is written by us obeys [`Holder::try_new`]; what is read back ([`Holder::from_wire`]) may be any bytes, and
/// `Display` escapes everything that a terminal could take for a command.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder(Arc<[u8]>);

/// Why a text cannot be a [`Holder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HolderError {
    /// There is no text.
    #[error("holder is empty: say who works, for example `user@host 4711`")]
    Empty,
    /// More than [`Holder::MAX_BYTES`] bytes.
    #[error("holder has {0} bytes: at most 255 are allowed")]
    TooLong(usize),
    /// A control character, which terminals and log files would interpret.
    #[error("holder has a control character at byte {0}")]
    Control(usize),
}

impl Holder {
    /// Longest text accepted by [`Holder::try_new`], in bytes.
    pub const MAX_BYTES: usize = 255;

    /// A holder of that text.
    ///
    /// # Errors
    /// Empty, longer than [`Holder::MAX_BYTES`] bytes, or with a control character.
    pub fn try_new(text: impl AsRef<str>) -> Result<Self, HolderError> {
        let text = text.as_ref();
        if text.is_empty() {
            return Err(HolderError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(HolderError::TooLong(text.len()));
        }
        if let Some((at, _)) = text.char_indices().find(|(_, c)| c.is_control()) {
            return Err(HolderError::Control(at));
        }
        Ok(Self(text.as_bytes().into()))
    }

    /// The holder that somebody else wrote: any bytes at all.
    pub fn from_wire(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes as they stand in the pool.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                let bidi =
                    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
                if c.is_control() || bidi {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    write!(f, "{c}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02X}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Holder({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_operators_could_not_read() {
        assert_eq!(Holder::try_new(""), Err(HolderError::Empty));
        assert_eq!(Holder::try_new("x".repeat(256)), Err(HolderError::TooLong(256)));
        assert_eq!(Holder::try_new("a\tb"), Err(HolderError::Control(1)));
        assert_eq!(Holder::try_new("root@web03 4411").unwrap().to_string(), "root@web03 4411");
    }

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        let hostile = Holder::from_wire(b"\x1b[2Jhi\xff\xe2\x80\xae");
        assert_eq!(hostile.to_string(), "\\u{1b}[2Jhi\\xFF\\u{202e}");
    }
}
