//! Every crate has the same rooms.

use super::Findings;
use crate::shell::root;
use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace) -> Findings {
    let crates = root().join("crates");
    let mut findings = Vec::new();
    for member in workspace.members() {
        let (name, dir) = (member.name(), member.dir());
        if !dir.starts_with(&crates) {
            continue;
        }
        for file in ["README.md", "CHANGELOG.md"] {
            if !dir.join(file).is_file() {
                findings.push(format!("{name}: {file} is missing"));
            }
        }
        for test in member.integration_tests() {
            if test != "it" {
                findings.push(format!(
                    "{name}: tests/{test} must be a module of tests/it/main.rs, one binary a crate"
                ));
            }
        }
        if dir.join("tests").is_dir() && !dir.join("tests/it/main.rs").is_file() {
            findings.push(format!("{name}: tests/it/main.rs is missing"));
        }
        if member.has_library() && !starts_with_readme(&dir.join("src/lib.rs")) {
            findings.push(format!("{name}: src/lib.rs must begin with the README as its documentation"));
        }
    }
    findings
}

fn starts_with_readme(library: &std::path::Path) -> bool {
    std::fs::read_to_string(library)
        .is_ok_and(|text| text.contains("#![doc = include_str!(\"../README.md\")]"))
}
