use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{ResolveError, SecretBytes};

/// A text taken apart as a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    /// As written; compare without case.
    pub(crate) scheme: &'a str,
    /// What follows `scheme://`, or `scheme:` for `data`.
    pub(crate) rest: &'a str,
}

impl<'a> Reference<'a> {
    /// `None` if the text is no URI: `C:\keys` and `host:4222` are not.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let mut letters = scheme.chars();
        let plausible = scheme.len() >= 2
            && letters.next().is_some_and(|c| c.is_ascii_alphabetic())
            && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        if !plausible {
            return None;
        }
        if scheme.eq_ignore_ascii_case("data") {
            return Some(Self { scheme, rest });
        }
        rest.strip_prefix("//").map(|rest| Self { scheme, rest })
    }

    pub(crate) fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }
}

/// What follows `data:`, which must be base64: `[type];base64,…`.
pub(crate) fn decode_data(rest: &str) -> Result<SecretBytes, ResolveError> {
    let refuse = |problem| Err(ResolveError::new(format!("data reference {problem}")));
    let Some((kind, encoded)) = rest.split_once(',') else {
        return refuse("has no comma");
    };
    if !kind.to_ascii_lowercase().ends_with(";base64") {
        return refuse("is not base64, write `data:;base64,…`");
    }
    match STANDARD.decode(encoded.trim()) {
        Ok(bytes) => Ok(bytes.into()),
        Err(_) => refuse("holds something that is not base64"),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn schemes_have_two_letters_at_least_and_no_case() {
        let parsed = |text| Reference::parse(text).map(|r| (r.scheme, r.rest));
        assert_eq!(parsed("file:///etc/x"), Some(("file", "/etc/x")));
        assert_eq!(parsed("FILE://~/x"), Some(("FILE", "~/x")));
        assert!(Reference::parse("OP://vault/item").is_some_and(|r| r.is("op")));
        assert_eq!(parsed("data:;base64,eA=="), Some(("data", ";base64,eA==")));
        for text in
            ["C:\\keys\\x", "C://x", "/etc/x", "x.creds", "host:4222", "se:cret", "://x", "", "a b://c"]
        {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn data_must_be_base64() {
        let text = |rest| decode_data(rest).map(|b| String::from_utf8(b.expose_secret().to_vec()).unwrap());
        assert_eq!(text(";base64,aGVsbG8="), Ok("hello".to_owned()));
        assert_eq!(text("text/plain;Base64,aGVsbG8="), Ok("hello".to_owned()));
        for rest in ["text/plain,hello", ";base64", ";base64,!!!", ""] {
            let error = text(rest).unwrap_err().to_string();
            assert!(error.starts_with("data reference"), "{error}");
            assert!(!error.contains("hello"), "{error}");
        }
    }
}
