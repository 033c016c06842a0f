//! The processes of this machine, as far as they are needed to tell whether a command is gone with all that it
//! started.

use rustix::process::{Pid, Signal};

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// It has ended, and only its status is left.
    pub(super) ended: bool,
}

/// Every process, or nothing where that cannot be told.
pub(super) fn all() -> Option<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that is gone meanwhile has no file.
        let Ok(stat) = std::fs::read(entry.path().join("stat")) else { continue };
        processes.extend(parse(pid, &String::from_utf8_lossy(&stat)));
    }
    // Without itself it is no list.
    let own = std::process::id().cast_signed();
    processes.iter().any(|process| process.pid == own).then_some(processes)
}

/// `pid (name) state parent group …`, where the name may be anything.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some(Process { pid, parent, group, ended })
}

/// Of `all` those that descend from `ancestor`.
pub(super) fn descendants(all: &[Process], ancestor: i32) -> Vec<Process> {
    let mut found = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent && process.pid != parent) {
            found.push(*process);
            parents.push(process.pid);
        }
    }
    found
}

/// Sends a signal; who is gone needs none.
pub(super) fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pretend_to_be_more_fields() {
        let process = parse(7, "7 (a) Z 1 1 (b) S 5 6 7 8").unwrap();
        assert_eq!(process, Process { pid: 7, parent: 5, group: 6, ended: false });
        assert!(parse(7, "7 (sh) Z 5 6 7").unwrap().ended);
        assert_eq!(parse(7, "7 (sh"), None);
    }

    #[test]
    fn descendants_are_found_over_generations() {
        let process = |pid, parent| Process { pid, parent, group: 1, ended: false };
        let all = [process(1, 0), process(2, 1), process(3, 2), process(4, 3), process(5, 1)];
        let mut found: Vec<_> = descendants(&all, 2).iter().map(|process| process.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [3, 4]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_among_them() {
        assert!(all().is_some());
    }
}
