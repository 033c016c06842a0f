//! Who may know whom.

use super::Findings;
use crate::shell::Outcome;
use crate::workspace::{Member, Workspace};

const CORE: &str = "sluicegate-core";
const NATS: &str = "sluicegate-nats";
const TESTKIT: &str = "sluicegate-testkit";
const CLIENT: &str = "async-nats";

/// Who may use which crates of this workspace. Whoever is not named here may use all.
const ALLOWED: [(&str, &[&str]); 8] = [
    (CORE, &[]),
    (NATS, &[CORE]),
    (TESTKIT, &[CORE]),
    ("sluicegate-batcher", &[CORE]),
    ("sluicegate-governor", &[CORE, NATS]),
    ("sluicegate-autoscaler", &[CORE, NATS]),
    ("sluicegate-streaming-client", &[CORE, NATS]),
    ("xtask", &[TESTKIT]),
];

/// The only crate that names the client library; the others use it through this one.
const OWNS_CLIENT: [&str; 1] = [NATS];

/// Who tests without servers and without the client library, in the whole tree of dependencies.
const FREE_OF_NATS: [&str; 2] = [CORE, "sluicegate-batcher"];

pub(super) fn check(workspace: &Workspace) -> Outcome<Findings> {
    let mut findings: Findings = workspace.members().into_iter().flat_map(of_member).collect();
    for name in FREE_OF_NATS {
        if workspace.tree(workspace.member(name)?).iter().any(|package| package == CLIENT) {
            findings.push(format!("{name}: {CLIENT} is in its tree; it must not know NATS"));
        }
    }
    let versions = workspace.versions_of(CLIENT);
    if versions.len() != 1 {
        findings.push(format!("{CLIENT} must be there in one version, not {versions:?}"));
    }
    Ok(findings)
}

fn of_member(member: Member<'_>) -> Findings {
    let name = member.name();
    let mut findings = Vec::new();
    for dependency in member.dependencies() {
        let used = dependency.name();
        if used == CLIENT && !OWNS_CLIENT.contains(&name) {
            findings.push(format!("{name}: use `sluicegate_nats::async_nats` instead of {CLIENT}"));
        }
        if used == TESTKIT && !dependency.is_dev() && name != "xtask" {
            findings.push(format!("{name}: {TESTKIT} may only be a dev-dependency"));
        }
        if used.starts_with("sluicegate-") && !may_use(name, used) {
            findings.push(format!("{name} must not know {used} (ARCHITECTURE.md, layers)"));
        }
    }
    findings
}

/// Everybody may test with the testkit; a crate may name itself to switch its own features on for its tests.
fn may_use(name: &str, used: &str) -> bool {
    let allowed = ALLOWED.iter().find(|(who, _)| *who == name);
    allowed.is_none_or(|(_, used_by_it)| used_by_it.contains(&used) || used == TESTKIT || used == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_crates_never_know_each_other() {
        assert!(!may_use("sluicegate-governor", "sluicegate-batcher"));
        assert!(!may_use("sluicegate-batcher", NATS));
        assert!(!may_use(TESTKIT, NATS));
        assert!(may_use("sluicegate-governor", NATS));
        assert!(may_use("sluicegate-cli", "sluicegate-batcher"));
    }
}
