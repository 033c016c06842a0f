//! Short files, libraries that only list their modules, and nothing of one machine.

use std::fs;
use std::path::Path;

use super::Findings;
use crate::shell::{Outcome, program, read, root};

const MAX_LINES: usize = 500;

/// Files that may be longer, with the reason.
const LONG: [(&str, &str); 0] = [];

/// Beginnings of paths that exist on some machines only. Written in two parts, so that this file passes.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/t", "mp/")];

pub(super) fn check() -> Outcome<Findings> {
    let mut findings = Vec::new();
    let places = machine_paths();
    for path in read(&mut program("git", &["ls-files"]))?.lines() {
        // Deleted but not committed yet, or not text.
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        let lines = text.lines().count();
        if path.ends_with(".rs") && lines > MAX_LINES && !LONG.iter().any(|(long, _)| *long == path) {
            findings.push(format!("{path}: {lines} lines, at most {MAX_LINES}: split it by subject"));
        }
        if is_library(path) {
            findings.extend(statements(&text).filter(|statement| !is_listing(statement)).map(|statement| {
                let begin = statement.split_whitespace().take(6).collect::<Vec<_>>().join(" ");
                format!("{path}: `{begin} …`: only documentation, mod and pub use stand here")
            }));
        }
        for (n, line) in text.lines().enumerate() {
            if let Some(found) = machine_path(line, &places) {
                findings.push(format!("{path}:{}: {found}…: a path of one machine", n + 1));
            }
        }
    }
    Ok(findings)
}

fn is_library(path: &str) -> bool {
    Path::new(path).ends_with("src/lib.rs")
}

/// The items of a file, without comments and attributes.
fn statements(text: &str) -> impl Iterator<Item = String> {
    let code = text.lines().map(str::trim);
    let code =
        code.filter(|line| !line.starts_with("//") && !line.starts_with("#[") && !line.starts_with("#!["));
    let code = code.collect::<Vec<_>>().join(" ");
    let items: Vec<String> = code.split(';').map(|item| item.trim().to_owned()).collect();
    items.into_iter().filter(|item| !item.is_empty())
}

fn is_listing(statement: &str) -> bool {
    ["mod ", "pub mod ", "pub use "].iter().any(|begin| statement.starts_with(begin))
        && !statement.contains("{ fn")
}

/// The known ones, and those of this machine.
fn machine_paths() -> Vec<String> {
    let here = [Some(root()), std::env::home_dir()].into_iter().flatten();
    let here = here.map(|path| path.to_string_lossy().into_owned()).filter(|path| path.len() > 1);
    MACHINE_PATHS.into_iter().map(str::to_owned).chain(here).collect()
}

/// A path is at the beginning of a word: `https://host/dir/` is none.
fn machine_path<'a>(line: &str, places: &'a [String]) -> Option<&'a String> {
    places.iter().find(|path| {
        line.match_indices(path.as_str()).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "._-}$/".contains(c))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_lists_and_does_nothing_else() {
        let good = "//! doc\n#![doc = include_str!(\"../README.md\")]\nmod a;\n#[cfg(x)]\npub mod b;\n\
            pub use a::{\n    One,\n    Two,\n};\n";
        assert!(statements(good).all(|statement| is_listing(&statement)));
        let bad = "mod a;\npub fn f() {}\n";
        assert_eq!(statements(bad).filter(|statement| !is_listing(statement)).count(), 1);
    }

    #[test]
    fn paths_of_one_machine_are_found_and_others_are_not() {
        let places = ["/one/machine/".to_owned()];
        assert!(machine_path("see /one/machine/x", &places).is_some());
        assert!(machine_path("https://host/one/machine/x", &places).is_none());
        assert!(machine_path("\"/one/machine/x\"", &places).is_some());
    }
}
