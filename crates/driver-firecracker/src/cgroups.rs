//! The VMM's control groups.
//!
//! The node has made the groups and set their limits; the process is put into them before it is the jailer, so that
//! all it does counts. In the unified hierarchy the jailer is told its group as well, since it would otherwise be free
//! to choose one. That the VMM ended up in each of them is then looked at, not assumed: the jailer passes over a group
//! that it does not find.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hearth_driver::DriverError;

const MEMBERS: &str = "cgroup.procs";

/// Fails unless the process is in each of the groups.
pub(crate) fn check(cgroups: &[PathBuf], pid: u32) -> Result<(), DriverError> {
    for cgroup in cgroups {
        let members = cgroup.join(MEMBERS);
        let read = fs::read_to_string(&members).map_err(DriverError::io(format!("read {}", members.display())))?;
        if !read.lines().any(|member| member.parse() == Ok(pid)) {
            let action = format!(
                "run the VMM (pid {pid}) in the control group {}: it is not there",
                cgroup.display()
            );
            return Err(DriverError::io(action)(io::ErrorKind::NotFound.into()));
        }
    }
    Ok(())
}

/// What the jailer calls the group of the unified hierarchy, if one of the groups is in it: the path below the mount.
pub(crate) fn unified_parent(cgroups: &[PathBuf]) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mount = unified_mount(&mounts)?;
    cgroups.iter().find_map(|cgroup| below(cgroup, &mount))
}

fn unified_mount(mounts: &str) -> Option<PathBuf> {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut unified = fields.filter(|fields| fields.get(2) == Some(&"cgroup2"));
    unified.find_map(|fields| Some(PathBuf::from(fields.get(1)?)))
}

fn below(cgroup: &Path, mount: &Path) -> Option<PathBuf> {
    let below = cgroup.strip_prefix(mount).ok()?;
    (!below.as_os_str().is_empty()).then(|| below.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                          cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";

    #[test]
    fn a_group_of_the_unified_hierarchy_is_named_from_its_mount() {
        let mount = unified_mount(HYBRID).unwrap();
        assert_eq!(mount, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(
            below(Path::new("/sys/fs/cgroup/unified/hearth/a"), &mount),
            Some("hearth/a".into())
        );
        assert_eq!(below(Path::new("/sys/fs/cgroup/cpu/hearth/a"), &mount), None);
        assert_eq!(below(&mount, &mount), None);
        assert_eq!(unified_mount("tmpfs / tmpfs rw 0 0\n"), None);
    }

    #[test]
    fn a_group_without_the_process_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MEMBERS), "1\n22\n").unwrap();
        let cgroups = [folder.path().to_owned()];
        check(&cgroups, 22).unwrap();
        let error = check(&cgroups, 2).unwrap_err().to_string();
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
    }
}
