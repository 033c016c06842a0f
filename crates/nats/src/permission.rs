use crate::Operation;

/// What the server denied, taken from the text of its `-ERR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) subject: String,
    pub(crate) operation: Operation,
}

impl Denied {
    /// `Permissions Violation for Publish to "X"`, `… for Subscription to "X"`, `… using queue "Q"`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let rest = lower.strip_prefix("permissions violation for ")?;
        let operation = if rest.starts_with("publish") {
            Operation::Publish
        } else if rest.starts_with("subscription") {
            Operation::Subscribe
        } else {
            return None;
        };
        Some(Self { subject: quoted(text)?, operation })
    }
}

/// The first quoted text, as Go's `%q` writes it. Escapes other than `\"` and `\\` are left as they are: such
/// subjects never match one of ours.
fn quoted(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('"')?;
    let mut subject = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some(subject),
            '\\' => match chars.next()? {
                c @ ('"' | '\\') => subject.push(c),
                c => subject.extend(['\\', c]),
            },
            c => subject.push(c),
        }
    }
}

/// The server's text speaks of credentials.
pub(crate) fn is_about_credentials(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("authorization") || text.contains("authentication") || text.contains("credentials revoked")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Option<(String, Operation)> {
        Denied::parse(text).map(|denied| (denied.subject, denied.operation))
    }

    #[test]
    fn reads_what_servers_write() {
        for (text, subject, operation) in [
            (
                r#"Permissions Violation for Publish to "$GOVERNOR.campaign.T""#,
                "$GOVERNOR.campaign.T",
                Operation::Publish,
            ),
            (r#"Permissions Violation for Subscription to "a.>""#, "a.>", Operation::Subscribe),
            (
                r#"Permissions Violation for Subscription to "_GOV.rel.T" using queue "sluicegate""#,
                "_GOV.rel.T",
                Operation::Subscribe,
            ),
            (r#"Permissions Violation for Publish with Reply of "_R_.x""#, "_R_.x", Operation::Publish),
            (r#"permissions violation for publish to "A\"b\\c\xff""#, r#"A"b\c\xff"#, Operation::Publish),
        ] {
            assert_eq!(parse(text), Some((subject.to_owned(), operation)));
        }
        for text in
            ["", "Permissions Violation", "Permissions Violation for Publish to X", "Stale Connection"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn knows_refusals_from_other_errors() {
        for text in
            ["Authorization Violation", "User Authentication Expired", "Account Authentication Expired"]
        {
            assert!(is_about_credentials(text), "{text}");
        }
        for text in ["Stale Connection", "Maximum Connections Exceeded", "IO error"] {
            assert!(!is_about_credentials(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse(&format!("Permissions Violation for Publish to {text}"));
        }
    }
}
