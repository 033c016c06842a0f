use std::path::PathBuf;

use crate::env::{Env, non_empty};

/// `$VAR` and `${VAR}` first (unset: empty), then a leading `~`.
pub(crate) fn path(text: &str, env: &dyn Env) -> PathBuf {
    let text = variables(text, env);
    let rest = match text.strip_prefix('~') {
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix('/'),
        None => None,
    };
    match (rest, non_empty(env, "HOME")) {
        (Some(""), Some(home)) => PathBuf::from(home),
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(text),
    }
}

fn variables(text: &str, env: &dyn Env) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, left) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, left)) => (name, left),
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                after.split_at(end)
            }
        };
        if name.is_empty() {
            expanded.push('$');
            rest = after;
        } else {
            expanded.push_str(&env.var(name).unwrap_or_default());
            rest = left;
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/home/bob".to_owned()),
            "DIR" => Some("~/keys".to_owned()),
            "A" => Some("a".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn expands_variables_first_and_then_the_home() {
        for (text, expanded) in [
            ("~/x.creds", "/home/bob/x.creds"),
            ("~", "/home/bob"),
            ("$DIR/x", "/home/bob/keys/x"),
            ("${A}b/$A", "ab/a"),
            ("$MISSING/x", "/x"),
            ("${MISSING}x", "x"),
            ("/plain", "/plain"),
            ("~eve/x", "~eve/x"),
            ("cost$", "cost$"),
            ("$$A", "$a"),
            ("${A", "${A"),
            ("x~/y", "x~/y"),
        ] {
            assert_eq!(path(text, &env), PathBuf::from(expanded), "{text}");
        }
    }
}
