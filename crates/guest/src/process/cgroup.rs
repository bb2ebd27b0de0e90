//! A control group for each thing that runs, so that an out-of-memory kill is known as one and everything can be killed.
//!
//! On a kernel without cgroup v2 the groups are simply absent: processes still run, an out-of-memory kill then looks like any kill.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// One group; removed when dropped, if nothing runs in it any more.
pub(crate) struct Cgroup {
    path: PathBuf,
}

/// Switches on the controllers that groups need. Each by itself, since one that is absent makes a joint write fail.
pub(crate) fn enable_controllers() {
    for controller in ["+memory", "+pids", "+cpu"] {
        // A controller that this kernel lacks is no reason not to run.
        let _ = fs::write(Path::new(ROOT).join("cgroup.subtree_control"), controller);
    }
}

impl Cgroup {
    /// Makes a group; `None` where that is impossible.
    pub(crate) fn create(name: &str) -> Option<Self> {
        // On a hybrid host (tests) this folder is no cgroup v2 root, and must not be touched.
        if !Path::new(ROOT).join("cgroup.procs").exists() {
            return None;
        }
        let path = Path::new(ROOT).join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => None,
            _ => Some(Self { path }),
        }
    }

    /// For the child to join by, between fork and exec.
    pub(crate) fn procs(&self) -> Option<File> {
        OpenOptions::new().write(true).open(self.path.join("cgroup.procs")).ok()
    }

    /// How many of its processes the kernel killed for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        parse_oom_kills(&events)
    }

    /// Kills everything in it.
    pub(crate) fn kill(&self) -> bool {
        fs::write(self.path.join("cgroup.kill"), "1").is_ok()
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Busy while something that was left running still does; such a group stays until the machine ends.
        let _ = fs::remove_dir(&self.path);
    }
}

fn parse_oom_kills(events: &str) -> u64 {
    events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_memory_events() {
        assert_eq!(
            super::parse_oom_kills("low 0\noom 2\noom_kill 3\noom_group_kill 0\n"),
            3
        );
        assert_eq!(super::parse_oom_kills(""), 0);
    }
}
