//! Versions stand in one place.

use std::fs;

use super::Findings;
use crate::shell::{Doing, Outcome};
use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace) -> Outcome<Findings> {
    let mut findings = Vec::new();
    for member in workspace.members() {
        let path = member.dir().join("Cargo.toml");
        let text = fs::read_to_string(&path).doing(path.display())?;
        findings.extend(foreign_versions(&text).into_iter().map(|line| {
            format!("{}: `{line}`: versions stand in [workspace.dependencies] only", member.name())
        }));
    }
    Ok(findings)
}

/// Lines of dependency tables that do not take their version from the workspace.
fn foreign_versions(manifest: &str) -> Vec<&str> {
    let mut in_dependencies = false;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            in_dependencies = table.trim_end_matches(']').ends_with("dependencies");
        } else if in_dependencies && line.contains('=') && !line.starts_with('#') && !inherits(line) {
            found.push(line);
        }
    }
    found
}

fn inherits(line: &str) -> bool {
    let line: String = line.split_whitespace().collect();
    // A path without a version: only for what is never published together with it.
    line.contains("workspace=true") || (line.contains("path=") && !line.contains("version="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_outside_the_workspace_are_found() {
        let manifest = "[package]\nversion = \"1.0.0\"\n[dependencies]\nserde.workspace = true\n\
            tokio = { workspace = true, features = [] }\n# old = \"1\"\nrand = \"0.9\"\n\
            [target.'cfg(unix)'.dependencies]\nlibc = { version = \"1\" }\n[features]\ndefault = []\n";
        assert_eq!(foreign_versions(manifest), ["rand = \"0.9\"", "libc = { version = \"1\" }"]);
    }
}
