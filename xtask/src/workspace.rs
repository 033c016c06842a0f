//! What cargo says about the workspace.

use std::path::PathBuf;

use serde_json::Value;

use crate::shell::{Doing, Failure, Outcome, cargo, read};

/// `cargo metadata`, read once.
#[derive(Debug)]
pub(crate) struct Workspace {
    metadata: Value,
}

/// One crate of the workspace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a>(&'a Value);

/// One line of a crate's dependencies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dependency<'a>(&'a Value);

impl Workspace {
    pub(crate) fn read() -> Outcome<Self> {
        let text = read(&mut cargo(&["metadata", "--format-version", "1"]))?;
        Ok(Self { metadata: serde_json::from_str(&text).doing("cargo metadata")? })
    }

    pub(crate) fn members(&self) -> Vec<Member<'_>> {
        let ids = list(&self.metadata["workspace_members"]);
        let mut members: Vec<_> =
            self.packages().filter(|package| ids.contains(&package["id"])).map(Member).collect();
        members.sort_by_key(Member::name);
        members
    }

    pub(crate) fn member(&self, name: &str) -> Outcome<Member<'_>> {
        let found = self.members().into_iter().find(|member| member.name() == name);
        found.ok_or_else(|| Failure::new(format!("no crate {name} in the workspace")))
    }

    pub(crate) fn target(&self) -> PathBuf {
        PathBuf::from(text(&self.metadata["target_directory"]))
    }

    /// All packages of that name, whatever their version.
    pub(crate) fn versions_of(&self, name: &str) -> Vec<String> {
        let versions = self.packages().filter(|package| package["name"] == name);
        versions.map(|package| text(&package["version"]).to_owned()).collect()
    }

    /// Names of everything that the member is built from and tested with.
    pub(crate) fn tree(&self, member: Member<'_>) -> Vec<String> {
        let nodes = list(&self.metadata["resolve"]["nodes"]);
        let mut open = vec![&member.0["id"]];
        let mut seen = Vec::new();
        while let Some(id) = open.pop() {
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            if let Some(node) = nodes.iter().find(|node| &node["id"] == id) {
                open.extend(list(&node["dependencies"]));
            }
        }
        let packages = self.packages().filter(|package| seen.contains(&&package["id"]));
        packages.map(|package| text(&package["name"]).to_owned()).collect()
    }

    fn packages(&self) -> impl Iterator<Item = &Value> {
        list(&self.metadata["packages"]).iter()
    }
}

impl<'a> Member<'a> {
    pub(crate) fn name(&self) -> &'a str {
        text(&self.0["name"])
    }

    pub(crate) fn dir(&self) -> PathBuf {
        let mut path = PathBuf::from(text(&self.0["manifest_path"]));
        path.pop();
        path
    }

    pub(crate) fn dependencies(&self) -> impl Iterator<Item = Dependency<'a>> {
        list(&self.0["dependencies"]).iter().map(Dependency)
    }

    /// Names of its integration tests.
    pub(crate) fn integration_tests(&self) -> Vec<&'a str> {
        let tests = list(&self.0["targets"]).iter().filter(|target| target["kind"][0] == "test");
        tests.map(|target| text(&target["name"])).collect()
    }

    pub(crate) fn has_library(&self) -> bool {
        list(&self.0["targets"]).iter().any(|target| target["kind"][0] == "lib")
    }

    /// Whether its integration tests start servers: it asks the testkit for them.
    pub(crate) fn needs_servers(&self) -> bool {
        let asks = |dependency: Dependency<'_>| {
            dependency.name() == TESTKIT
                && dependency.is_dev()
                && dependency.features().any(|name| name == "server")
        };
        self.name() == TESTKIT || self.dependencies().any(asks)
    }
}

const TESTKIT: &str = "sluicegate-testkit";

impl<'a> Dependency<'a> {
    pub(crate) fn name(&self) -> &'a str {
        text(&self.0["name"])
    }

    pub(crate) fn is_dev(&self) -> bool {
        self.0["kind"] == "dev"
    }

    fn features(&self) -> impl Iterator<Item = &'a str> {
        list(&self.0["features"]).iter().map(text)
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
