//! What the jailer is for: user, root, namespace, control groups, seccomp.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use hearth_driver::Driver;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::ground::{Ground, ground};

fn identity(path: impl AsRef<Path>) -> (u64, u64) {
    let meta = fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()));
    (meta.dev(), meta.ino())
}

/// The values of a field of `/proc/<pid>/status`.
fn status(pid: &str, field: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

fn jail_root(ground: &Ground) -> PathBuf {
    let program = ground.config.firecracker.as_ref().unwrap().file_name().unwrap();
    ground
        .plan
        .folder
        .join("jail")
        .join(program)
        .join(ground.plan.machine.to_string())
        .join("root")
}

#[tokio::test]
async fn the_vmm_is_confined() {
    let Some(mut ground) = ground() else { return };
    let cgroups = ground.make_cgroups();
    ground.plan.cgroups.clone_from(&cgroups);
    let driver = ground.driver();
    let handle = driver.start(&ground.plan).await.unwrap();
    let pid = handle.pid.to_string();
    let proc = Path::new("/proc").join(&pid);

    let uid = ground.plan.user.uid.to_string();
    assert_eq!(status(&pid, "Uid"), vec![uid.clone(); 4]);
    assert_eq!(status(&pid, "Gid"), vec![uid; 4]);
    assert_eq!(status(&pid, "CapEff"), ["0000000000000000"]);
    for task in fs::read_dir(proc.join("task")).unwrap() {
        let task = task.unwrap().file_name().into_string().unwrap();
        assert_eq!(status(&format!("{pid}/task/{task}"), "Seccomp"), ["2"], "thread {task}");
    }
    assert_eq!(identity(proc.join("root")), identity(jail_root(&ground)));
    assert_ne!(identity(proc.join("ns/mnt")), identity("/proc/self/ns/mnt"));
    assert_eq!(
        identity(proc.join("ns/net")),
        identity(ground.plan.net.netns.as_ref().unwrap())
    );
    for cgroup in &cgroups {
        let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        assert!(members.lines().any(|member| member == pid), "{}", cgroup.display());
    }
    let environment = fs::read(proc.join("environ")).unwrap();
    assert!(environment.is_empty(), "{}", String::from_utf8_lossy(&environment));
}

#[tokio::test]
async fn a_control_group_that_is_not_there_fails_the_start() {
    let Some(mut ground) = ground() else { return };
    ground.plan.cgroups = vec!["/sys/fs/cgroup/absent/hearth".into()];
    let error = ground.driver().start(&ground.plan).await.unwrap_err().to_string();
    assert!(error.contains("/sys/fs/cgroup/absent/hearth"), "{error}");
    assert!(ground.processes().is_empty());
}

#[tokio::test]
async fn the_root_is_shared_by_hard_link_and_over_file_systems_by_bind_mount() {
    let Some(mut ground) = ground() else { return };
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let root = elsewhere.path().join("root.erofs");
    fs::copy(&ground.plan.root, &root).unwrap();
    ground.plan.root.clone_from(&root);
    let driver = ground.driver();
    let handle = driver.start(&ground.plan).await.unwrap();
    let inside = Path::new("/proc").join(handle.pid.to_string()).join("root");
    assert_eq!(identity(inside.join("root")), identity(&root), "bound");
    assert_eq!(
        identity(inside.join("vmlinux")),
        identity(&ground.plan.kernel.vmlinux),
        "linked"
    );
    assert_eq!(
        identity(inside.join("disk")),
        identity(ground.plan.disk.as_ref().unwrap()),
        "linked"
    );

    driver.clean(handle.machine, &handle.folder).await.unwrap();
    assert_eq!(ground.leftovers(), Vec::<String>::new());
    assert!(root.exists(), "only the mount is gone");
    assert!(ground.plan.kernel.vmlinux.exists());
}

#[tokio::test]
async fn a_folder_where_no_device_works_is_refused_with_the_way_out() {
    let Some(mut ground) = ground() else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let flags = MountFlags::NODEV;
    rustix::mount::mount("none", elsewhere.path(), "tmpfs", flags, None).unwrap();
    ground.plan.folder = elsewhere.path().join("vm");
    let result = ground.driver().start(&ground.plan).await;
    rustix::mount::unmount(elsewhere.path(), UnmountFlags::DETACH).unwrap();
    let error = result.unwrap_err().to_string();
    assert!(error.contains("nodev") && error.contains("choose"), "{error}");
}
