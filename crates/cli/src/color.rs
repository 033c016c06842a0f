//! When to colour what goes to stderr.

use std::io::{self, IsTerminal};

use crate::cli::Color;

/// What was asked for, else what the environment says, else whether a terminal that knows colours listens.
pub(crate) fn on_stderr(color: Color) -> bool {
    decide(color, io::stderr().is_terminal(), |name| std::env::var(name).ok())
}

fn decide(color: Color, terminal: bool, env: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if set("NO_COLOR").is_some() => false,
        Color::Auto if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
        Color::Auto if set("CLICOLOR").is_some_and(|value| value == "0") => false,
        Color::Auto => terminal && set("TERM").is_none_or(|term| term != "dumb"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_flag_no_color_force_color_terminal() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        };
        for (color, terminal, pairs, expected) in [
            (Color::Always, false, &[("NO_COLOR", "1")][..], true),
            (Color::Never, true, &[("CLICOLOR_FORCE", "1")], false),
            (Color::Auto, true, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], false),
            (Color::Auto, true, &[("NO_COLOR", "")], true),
            (Color::Auto, false, &[("CLICOLOR_FORCE", "1")], true),
            (Color::Auto, false, &[("CLICOLOR_FORCE", "0")], false),
            (Color::Auto, true, &[("CLICOLOR", "0")], false),
            (Color::Auto, true, &[("TERM", "dumb")], false),
            (Color::Auto, true, &[("TERM", "xterm")], true),
            (Color::Auto, true, &[], true),
            (Color::Auto, false, &[], false),
        ] {
            assert_eq!(decide(color, terminal, env(pairs)), expected, "{color:?} {terminal} {pairs:?}");
        }
    }
}
