//! The SSH servers of the guest, held while they have no keys.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::process::send_signal;

const NAME: &str = "sshd";
const SIGHUP: i32 = 1;
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

/// Name and parent in `/proc/<pid>/stat`: `pid (name) state parent …`, where a name may hold anything.
fn name_and_parent(stat: &str) -> Option<(&str, i32)> {
    let (_, rest) = stat.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    Some((name, rest.split_whitespace().nth(1)?.parse().ok()?))
}

/// The servers that listen, which are root's: their children serve one connection each.
fn find(proc: &Path, owner: u32) -> Vec<i32> {
    let stat = |pid: i32| fs::read_to_string(proc.join(pid.to_string()).join("stat")).unwrap_or_default();
    let is_server = |pid: i32| name_and_parent(&stat(pid)).is_some_and(|(name, _)| name == NAME);
    let listens = |pid: &i32| {
        let is_owners = fs::metadata(proc.join(pid.to_string())).is_ok_and(|folder| folder.uid() == owner);
        is_owners && name_and_parent(&stat(*pid)).is_some_and(|(name, parent)| name == NAME && !is_server(parent))
    };
    let Ok(entries) = fs::read_dir(proc) else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(listens).collect()
}

fn signal_all(signals: &[i32]) {
    for pid in find(Path::new("/proc"), 0) {
        for signal in signals {
            // One that has ended serves no old key either.
            let _ = send_signal(pid, *signal, false);
        }
    }
}

/// Nobody is answered with a key that is still in memory; who connects waits in the listener's queue.
pub(super) fn hold() {
    signal_all(&[SIGSTOP]);
}

/// Has the servers read their keys again, and go on.
pub(super) fn reload() {
    signal_all(&[SIGHUP, SIGCONT]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_that_listen_are_found() {
        let proc = tempfile::tempdir().unwrap();
        let add = |pid: i32, name: &str, parent: i32| {
            let folder = proc.path().join(pid.to_string());
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("stat"), format!("{pid} ({name}) S {parent} 1 1 0 -1")).unwrap();
        };
        add(1, "hearth-guest", 0);
        add(20, "sshd", 1);
        add(21, "sshd", 20);
        add(22, "sshd-session", 20);
        add(23, "bash", 21);
        add(24, "x) S 1 (sshd", 1);
        fs::create_dir(proc.path().join("sys")).unwrap();
        let own = rustix::process::getuid().as_raw();
        assert_eq!(find(proc.path(), own), [20]);
        assert!(find(proc.path(), own + 1).is_empty(), "another user's");
        assert!(find(&proc.path().join("none"), own).is_empty());
    }

    #[test]
    fn names_may_hold_anything() {
        assert_eq!(name_and_parent("7 (a) b (c) S 3 7"), Some(("a) b (c", 3)));
        for nonsense in ["", "7", "7 (a", "7 (a)", "7 (a) S", "7 (a) S x"] {
            assert_eq!(name_and_parent(nonsense), None, "{nonsense}");
        }
    }
}
