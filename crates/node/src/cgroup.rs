//! Limits on VMMs, by cgroup.
//!
//! A machine's VMM lives in `/<parent>/<machine id>` of each hierarchy that carries a controller we use: one folder
//! on a unified (v2) host, up to three on a v1 or hybrid one. The parent is fixed for a state folder, not derived
//! from where the daemon happens to run, so that a restarted daemon finds the groups of its predecessor.
//!
//! Three controllers and a handful of files are all we need; hence plain files rather than a library (see
//! `docs/adr/0008-cgroups-by-file.md`).

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hearth_ids::MachineId;
use thiserror::Error;

/// The controllers that limit a VMM.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// Length of a CPU quota period, in microseconds (the kernel's default).
const CPU_PERIOD_US: u64 = 100_000;
/// How long the processes of a killed group may take to go.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a group could not be made or removed.
#[derive(Debug, Error)]
#[error("cannot {action} cgroup {path:?}")]
pub(crate) struct CgroupError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What a VMM may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// CPU time, in thousandths of a CPU.
    pub cpu_millis: u64,
    /// Memory of the guest and the VMM together, in bytes.
    pub memory_bytes: u64,
    /// Threads and processes.
    pub tasks: u64,
}

/// What a VMM has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// CPU time, in nanoseconds.
    pub cpu_ns: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A mounted hierarchy and those of our controllers that it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    version: Version,
    mount: PathBuf,
    controllers: Vec<&'static str>,
}

/// All groups of one state folder.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    parent: String,
}

impl Cgroups {
    /// Finds out what the host has. `parent` is the name of our group at the top of each hierarchy.
    pub(crate) fn detect(parent: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let hierarchies = parse_mounts(&mounts, |mount| {
            fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default()
        });
        Self {
            hierarchies,
            parent: parent.to_owned(),
        }
    }

    /// The controllers that are there, for `hearth doctor`.
    pub(crate) fn controllers(&self) -> Vec<&'static str> {
        self.hierarchies
            .iter()
            .flat_map(|h| h.controllers.iter().copied())
            .collect()
    }

    /// A sentence on the host's layout.
    pub(crate) fn layout(&self) -> &'static str {
        let has = |version| self.hierarchies.iter().any(|h| h.version == version);
        match (has(Version::V1), has(Version::V2)) {
            (true, true) => "hybrid",
            (true, false) => "v1",
            (false, true) => "v2",
            (false, false) => "none",
        }
    }

    /// Makes a machine's groups with their limits, and returns their folders. Idempotent.
    pub(crate) fn create(&self, machine: MachineId, limits: &Limits) -> Result<Vec<PathBuf>, CgroupError> {
        self.hierarchies
            .iter()
            .map(|hierarchy| {
                let parent = hierarchy.mount.join(&self.parent);
                make_folder(&parent)?;
                if hierarchy.version == Version::V2 {
                    delegate(&hierarchy.mount, &hierarchy.controllers)?;
                    delegate(&parent, &hierarchy.controllers)?;
                }
                let group = parent.join(machine.to_string());
                make_folder(&group)?;
                set_limits(hierarchy, &group, limits)?;
                Ok(group)
            })
            .collect()
    }

    /// What a machine's groups have used.
    pub(crate) fn usage(&self, machine: MachineId) -> Usage {
        let mut usage = Usage::default();
        for (hierarchy, group) in self.groups(machine) {
            let number = |file: &str| {
                fs::read_to_string(group.join(file))
                    .ok()
                    .and_then(|s| s.trim().parse().ok())
            };
            match hierarchy.version {
                Version::V2 => {
                    usage.memory_bytes = usage.memory_bytes.max(number("memory.current").unwrap_or(0));
                    let stat = fs::read_to_string(group.join("cpu.stat")).unwrap_or_default();
                    usage.cpu_ns = usage.cpu_ns.max(stat_field(&stat, "usage_usec").saturating_mul(1000));
                }
                Version::V1 => {
                    usage.memory_bytes = usage.memory_bytes.max(number("memory.usage_in_bytes").unwrap_or(0));
                    usage.cpu_ns = usage.cpu_ns.max(number("cpuacct.usage").unwrap_or(0));
                }
            }
        }
        usage
    }

    /// The machines that have a group here.
    pub(crate) fn machines(&self) -> Vec<MachineId> {
        let mut found: Vec<MachineId> = self
            .hierarchies
            .iter()
            .filter_map(|h| fs::read_dir(h.mount.join(&self.parent)).ok())
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Processes in a machine's groups.
    pub(crate) fn processes(&self, machine: MachineId) -> Vec<i32> {
        let mut found: Vec<i32> = self
            .groups(machine)
            .flat_map(|(_, group)| subtree(&group))
            .filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok())
            .flat_map(|procs| procs.lines().filter_map(|l| l.parse().ok()).collect::<Vec<i32>>())
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Kills whatever is in a machine's groups and removes them. Idempotent. Blocks until the processes are gone.
    pub(crate) fn remove(&self, machine: MachineId) -> Result<(), CgroupError> {
        let deadline = Instant::now() + EMPTY_TIMEOUT;
        loop {
            for pid in self.processes(machine) {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    // One that went meanwhile is what we want.
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            match self.remove_folders(machine) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Removes our group at the top, if no machine is left in it.
    pub(crate) fn remove_parent(&self) {
        for hierarchy in &self.hierarchies {
            let _ = fs::remove_dir(hierarchy.mount.join(&self.parent));
        }
    }

    fn remove_folders(&self, machine: MachineId) -> Result<(), CgroupError> {
        for (_, group) in self.groups(machine) {
            for folder in subtree(&group) {
                match fs::remove_dir(&folder) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(CgroupError {
                            action: "remove",
                            path: folder,
                            source,
                        });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn groups(&self, machine: MachineId) -> impl Iterator<Item = (&Hierarchy, PathBuf)> {
        let name = machine.to_string();
        self.hierarchies
            .iter()
            .map(move |h| (h, h.mount.join(&self.parent).join(&name)))
            .filter(|(_, group)| group.is_dir())
    }
}

/// A group and all below it, the deepest first. A jailer makes groups below ours.
fn subtree(group: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Ok(entries) = fs::read_dir(group) {
        for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            found.extend(subtree(&entry.path()));
        }
    }
    found.push(group.to_owned());
    found
}

fn parse_mounts(mounts: &str, v2_controllers: impl Fn(&Path) -> String) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(mount), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let mount = PathBuf::from(mount);
        let (version, names): (Version, Vec<String>) = match kind {
            "cgroup" => (Version::V1, options.split(',').map(str::to_owned).collect()),
            "cgroup2" => (
                Version::V2,
                v2_controllers(&mount).split_whitespace().map(str::to_owned).collect(),
            ),
            _ => continue,
        };
        // A controller belongs to one hierarchy; a second mount of the same one adds nothing.
        let fresh = |c: &&str| names.iter().any(|n| n == c) && !found.iter().any(|h| h.controllers.contains(c));
        let mut controllers: Vec<&'static str> = CONTROLLERS.into_iter().filter(fresh).collect();
        if version == Version::V1 && names.iter().any(|n| n == "cpuacct") && !names.iter().any(|n| n == "cpu") {
            controllers.push("cpuacct");
        }
        if !controllers.is_empty() {
            found.push(Hierarchy {
                version,
                mount,
                controllers,
            });
        }
    }
    found
}

fn make_folder(path: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(CgroupError {
            action: "make",
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Lets the groups below `folder` use our controllers (v2 only).
fn delegate(folder: &Path, controllers: &[&str]) -> Result<(), CgroupError> {
    let file = folder.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&file).unwrap_or_default();
    let missing: Vec<String> = controllers
        .iter()
        .filter(|c| !enabled.split_whitespace().any(|e| e == **c))
        .map(|c| format!("+{c}"))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        write(&file, &missing.join(" "))
    }
}

fn set_limits(hierarchy: &Hierarchy, group: &Path, limits: &Limits) -> Result<(), CgroupError> {
    let quota_us = limits.cpu_millis.saturating_mul(CPU_PERIOD_US) / 1000;
    for controller in &hierarchy.controllers {
        match (hierarchy.version, *controller) {
            (Version::V2, "cpu") => write(&group.join("cpu.max"), &format!("{quota_us} {CPU_PERIOD_US}"))?,
            (Version::V2, "memory") => {
                write(&group.join("memory.max"), &limits.memory_bytes.to_string())?;
                write_if_there(&group.join("memory.swap.max"), "0");
            }
            (Version::V1, "cpu") => {
                write(&group.join("cpu.cfs_period_us"), &CPU_PERIOD_US.to_string())?;
                write(&group.join("cpu.cfs_quota_us"), &quota_us.to_string())?;
            }
            (Version::V1, "memory") => write(&group.join("memory.limit_in_bytes"), &limits.memory_bytes.to_string())?,
            (_, "pids") => write(&group.join("pids.max"), &limits.tasks.to_string())?,
            _ => {}
        }
    }
    Ok(())
}

fn write(file: &Path, value: &str) -> Result<(), CgroupError> {
    fs::write(file, value).map_err(|source| CgroupError {
        action: "set",
        path: file.to_owned(),
        source,
    })
}

/// For files that depend on how the kernel was built.
fn write_if_there(file: &Path, value: &str) {
    if file.exists() {
        let _ = fs::write(file, value);
    }
}

/// A field of a `key value` file; 0 if it is not there.
pub(crate) fn stat_field(stat: &str, key: &str) -> u64 {
    stat.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_v1_v2_and_hybrid_hosts() {
        let v1 = "cgroup /c/cpu cgroup rw,cpu,cpuacct 0 0\ncgroup /c/memory cgroup rw,memory 0 0\n";
        let found = parse_mounts(v1, |_| String::new());
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].controllers, ["cpu"]);

        let v2 = "cgroup2 /c cgroup2 rw 0 0\n";
        let found = parse_mounts(v2, |_| "cpuset cpu io memory hugetlb pids".into());
        assert_eq!(found[0].controllers, CONTROLLERS);

        let hybrid = "cgroup /c/pids cgroup rw,pids 0 0\ncgroup2 /c/unified cgroup2 rw 0 0\n";
        let found = parse_mounts(hybrid, |_| "cpu memory".into());
        assert_eq!(
            found.iter().map(|h| h.version).collect::<Vec<_>>(),
            [Version::V1, Version::V2]
        );
        assert_eq!(found[1].controllers, ["cpu", "memory"]);
    }

    #[test]
    fn limits_hold_on_this_host() {
        let cgroups = Cgroups::detect("hearth-test-cgroup");
        if cgroups.hierarchies.is_empty() {
            eprintln!("SKIPPED: no cgroup hierarchy is mounted");
            return;
        }
        let machine = MachineId::new();
        let limits = Limits {
            cpu_millis: 1500,
            memory_bytes: 64 << 20,
            tasks: 10,
        };
        let folders = match cgroups.create(machine, &limits) {
            Ok(folders) => folders,
            Err(error) => {
                eprintln!("SKIPPED: {error}: {}", error.source);
                return;
            }
        };
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        for folder in &folders {
            fs::write(folder.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        assert_eq!(cgroups.processes(machine), [child.id().cast_signed()]);
        assert_eq!(cgroups.machines(), [machine]);
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        cgroups.remove(machine).unwrap();
        assert!(!reaper.join().unwrap().success(), "it was killed");
        assert!(folders.iter().all(|f| !f.exists()));
        cgroups.remove(machine).unwrap();
        cgroups.remove_parent();
    }
}
