use async_nats::ServerAddr;

/// An address without what stands before the `@`.
pub(crate) fn address(server: &ServerAddr) -> String {
    url(server.as_url_str())
}

/// The text of a URL, which need not be a valid one, with its user part as `xxxxx`.
pub(crate) fn url(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    // A password may hold an unescaped `@` or `/`; hide too much rather than too little.
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}xxxxx@{host}"),
        None => format!("{scheme}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_the_user_part_of_every_url() {
        for (text, shown) in [
            ("nats://bob:secret@host:4222", "nats://xxxxx@host:4222"),
            ("nats://token@host", "nats://xxxxx@host"),
            ("nats://bob:se@cr/et@host", "nats://xxxxx@host"),
            ("bob:secret@host", "xxxxx@host"),
            ("nats://host:4222", "nats://host:4222"),
            ("", ""),
        ] {
            assert_eq!(url(text), shown);
        }
    }
}
