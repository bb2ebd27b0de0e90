//! A control group for each thing that runs, so that an out-of-memory kill is known as one and everything can be killed.
//!
//! ```text
//!  the root: the agent ─┬─ programs ─┬─ workload
//!                       │            └─ exec-1 …       held together, by one file
//!                       └─ hook-1, ssh-keygen …        never held
//! ```
//! On a kernel without cgroup v2 the groups are simply absent: processes still run, an out-of-memory kill then looks like any
//! kill, and nothing can be held.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Where a guest's groups are.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";
const PROGRAMS: &str = "programs";
/// Far more than `cgroup.events` has.
const EVENTS_BYTES: usize = 256;

/// Where groups are made: nowhere by default.
#[derive(Clone, Default)]
pub(crate) struct Groups {
    root: Option<PathBuf>,
    strays: Rc<Cell<bool>>,
}

/// One group; removed when dropped, if nothing runs in it any more.
pub(crate) struct Cgroup {
    path: PathBuf,
}

/// The files by which all programs are held, open for good.
pub(crate) struct Freezer {
    freeze: File,
    events: File,
}

impl Groups {
    /// Sets up a folder of cgroup v2. One that is none must not be touched, and gives no groups.
    pub(crate) fn set_up(root: &Path) -> Self {
        let programs = root.join(PROGRAMS);
        if !root.join("cgroup.procs").exists() {
            return Self::default();
        }
        enable_controllers(root);
        match fs::create_dir(&programs) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Self::default(),
            _ => enable_controllers(&programs),
        }
        Self {
            root: Some(root.to_owned()),
            strays: Rc::default(),
        }
    }

    /// A group for one of the guest's programs; `None` where that is impossible.
    pub(crate) fn program(&self, name: &str) -> Option<Cgroup> {
        let group = Cgroup::create(&self.root.as_ref()?.join(PROGRAMS).join(name));
        self.strays.set(self.strays.get() || group.is_none());
        group
    }

    /// A group for what the agent runs for its own ends, while programs may be held; `None` where that is impossible.
    pub(crate) fn helper(&self, name: &str) -> Option<Cgroup> {
        Cgroup::create(&self.root.as_ref()?.join(name))
    }

    /// Whether a program runs, or ran, outside of all groups.
    pub(crate) fn has_strays(&self) -> bool {
        self.strays.get()
    }

    /// What holds all programs but strays.
    pub(crate) fn freezer(&self) -> Option<Freezer> {
        let programs = self.root.as_ref()?.join(PROGRAMS);
        let freeze = OpenOptions::new().write(true).open(programs.join("cgroup.freeze"));
        let events = File::open(programs.join("cgroup.events"));
        Some(Freezer {
            freeze: freeze.ok()?,
            events: events.ok()?,
        })
    }
}

/// Switches on the controllers that groups need: at once, or each by itself, since one that is absent makes a joint write fail.
fn enable_controllers(folder: &Path) {
    let control = folder.join("cgroup.subtree_control");
    if fs::write(&control, "+memory +pids +cpu").is_ok() {
        return;
    }
    for controller in ["+memory", "+pids", "+cpu"] {
        // A controller that this kernel lacks is no reason not to run.
        let _ = fs::write(&control, controller);
    }
}

impl Cgroup {
    fn create(path: &Path) -> Option<Self> {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => None,
            _ => Some(Self { path: path.to_owned() }),
        }
    }

    /// For the child to join by, between fork and exec.
    pub(crate) fn procs(&self) -> Option<File> {
        OpenOptions::new().write(true).open(self.path.join("cgroup.procs")).ok()
    }

    /// How many of its processes the kernel killed for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        value_of("oom_kill", &events).unwrap_or_default()
    }

    /// Kills everything in it, held or not.
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

impl Freezer {
    /// Has everything stop at the end of what the kernel does for it, which may take a moment.
    pub(crate) fn freeze(&self) -> io::Result<()> {
        self.freeze.write_all_at(b"1", 0)
    }

    pub(crate) fn thaw(&self) -> io::Result<()> {
        self.freeze.write_all_at(b"0", 0)
    }

    /// Whether everything stands still.
    pub(crate) fn is_frozen(&self) -> io::Result<bool> {
        let mut events = [0; EVENTS_BYTES];
        let count = self.events.read_at(&mut events, 0)?;
        let events = String::from_utf8_lossy(&events[..count]);
        Ok(value_of("frozen", &events) == Some(1))
    }
}

/// A value of a file whose lines are a name and a number.
fn value_of(name: &str, lines: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    lines.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_events() {
        let events = "low 0\noom 2\noom_kill 3\noom_group_kill 0\n";
        assert_eq!(value_of("oom_kill", events), Some(3));
        assert_eq!(value_of("oom", events), Some(2));
        assert_eq!(value_of("frozen", "populated 1\nfrozen 0\n"), Some(0));
        assert_eq!(value_of("oom_kill", ""), None);
    }

    #[test]
    fn a_folder_that_is_no_cgroup_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let groups = Groups::set_up(folder.path());
        assert!(groups.program("workload").is_none() && groups.helper("hook").is_none() && groups.freezer().is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_program_without_a_group_is_a_stray() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cgroup.procs"), "").unwrap();
        let groups = Groups::set_up(folder.path());
        assert!(groups.program("exec-1").is_some() && groups.helper("no/such/folder").is_none());
        assert!(!groups.has_strays());
        assert!(groups.clone().program("no/such/folder").is_none());
        assert!(groups.has_strays());
    }
}
