//! What a VMM may, as the kernel shows it; and what `doctor` says.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use hearth_driver::{CheckOutcome, Driver, conformance::processes_of, launch};
use hearth_driver_qemu::{AccelChoice, QemuDriver, QemuOptions};

use crate::ground::{driver, ground, launcher, until_said};

/// cgroup folders of a test, one a hierarchy, as far as there are any.
struct Cgroups(Vec<PathBuf>);

impl Cgroups {
    fn new(name: &str) -> Self {
        let hierarchies = ["unified", "pids", "cpu", ""].map(|h| Path::new("/sys/fs/cgroup").join(h));
        let usable = hierarchies.iter().filter(|h| h.join("cgroup.procs").exists());
        let folders = usable.map(|h| h.join(format!("hearth-test-{name}")));
        Self(folders.filter(|f| fs::create_dir(f).is_ok()).collect())
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for folder in &self.0 {
            let _ = fs::remove_dir(folder);
        }
    }
}

#[tokio::test]
async fn a_vmm_has_no_rights_but_its_own() {
    let Some(mut ground) = ground() else { return };
    let mut plan = ground.plan();
    let cgroups = Cgroups::new(&plan.machine.to_string());
    plan.cgroups.clone_from(&cgroups.0);
    let driver = driver();
    let handle = driver.start(&plan).await.unwrap();
    // QEMU and its keeper.
    let processes = processes_of(plan.machine);
    assert_eq!(processes.len(), 2);
    for pid in processes {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let status = fs::read_to_string(proc.join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
            line.trim_start_matches(':')
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let (uid, gid) = (plan.user.uid.to_string(), plan.user.gid.to_string());
        assert!(
            field("Uid").iter().all(|u| *u == uid) && field("Gid").iter().all(|g| *g == gid),
            "{status}"
        );
        assert!(field("Groups").is_empty(), "{status}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(set), ["0000000000000000"], "{set}");
        }
        assert_eq!(field("NoNewPrivs"), ["1"]);
        let namespace = |name: &str| fs::read_link(proc.join("ns").join(name)).unwrap();
        let own = |name: &str| fs::read_link(Path::new("/proc/self/ns").join(name)).unwrap();
        for name in ["net", "mnt", "ipc", "uts"] {
            assert_ne!(namespace(name), own(name), "{name}");
        }
        let netns = fs::metadata(plan.net.netns.as_ref().unwrap()).unwrap().ino();
        assert_eq!(namespace("net").to_str().unwrap(), format!("net:[{netns}]"));
        let joined = fs::read_to_string(proc.join("cgroup")).unwrap();
        let ours = joined
            .lines()
            .filter(|l| l.ends_with(&format!("/hearth-test-{}", plan.machine)));
        assert_eq!(ours.count(), cgroups.0.len(), "{joined}");
        assert_eq!(fs::read_to_string(proc.join("environ")).unwrap(), "");
        assert_eq!(fs::read_to_string(proc.join("oom_score_adj")).unwrap().trim(), "500");
        let limits = fs::read_to_string(proc.join("limits")).unwrap();
        assert!(
            limits
                .lines()
                .any(|l| l.starts_with("Max core file size        0                    0")),
            "{limits}"
        );
        let session = rustix::process::getsid(rustix::process::Pid::from_raw(pid.cast_signed())).unwrap();
        assert_eq!(session.as_raw_nonzero().get(), handle.pid.cast_signed());
    }
    let status = fs::read_to_string(format!("/proc/{}/status", handle.pid)).unwrap();
    assert!(status.contains("Seccomp:\t2"), "{status}");
    assert_eq!(fs::metadata(&plan.folder).unwrap().mode() & 0o777, 0o700);
    driver.clean(plan.machine, &plan.folder).await.unwrap();
    for cgroup in &cgroups.0 {
        assert_eq!(
            fs::read_to_string(cgroup.join("cgroup.procs")).unwrap(),
            "",
            "{}",
            cgroup.display()
        );
    }
}

#[tokio::test]
async fn only_the_root_may_lie_in_a_folder_that_is_shut() {
    let Some(mut ground) = ground() else { return };
    let mut plan = ground.plan();
    let shut = ground.path().join("shut");
    fs::create_dir(&shut).unwrap();
    for file in [&mut plan.root, &mut plan.kernel.initramfs] {
        let inside = shut.join(file.file_name().unwrap());
        fs::copy(&file, &inside).unwrap();
        *file = inside;
    }
    fs::set_permissions(&shut, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let error = driver().start(&plan).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.contains(&format!("through the folder {}", shut.display())),
        "{cause}"
    );
    plan.kernel.initramfs = ground.plan().kernel.initramfs;
    let driver = driver();
    let handle = driver.start(&plan).await.unwrap();
    until_said(&*driver, &plan.folder, "GUEST ready").await;
    driver.kill(&handle).await.unwrap();
    driver.clean(plan.machine, &plan.folder).await.unwrap();
}

#[tokio::test]
async fn a_pid_file_that_names_another_harms_nobody() {
    let Some(mut ground) = ground() else { return };
    let plan = ground.plan();
    let driver = driver();
    let handle = driver.start(&plan).await.unwrap();
    // As a guest that has taken over its VMM may do: the folder is that user's own.
    let own = hearth_driver::process::ProcessId::own().unwrap();
    own.write_file(&launch::pid_file(&plan.folder)).unwrap();
    driver.kill(&handle).await.unwrap();
    driver.clean(plan.machine, &plan.folder).await.unwrap();
}

#[tokio::test]
async fn the_probe_tells_what_works_and_how_to_mend_the_rest() {
    if ground().is_none() {
        return;
    }
    let rows = driver().probe().await;
    assert_eq!(rows[0].outcome, CheckOutcome::Ok, "{rows:?}");
    assert!(rows[0].detail.contains("QEMU emulator version"), "{rows:?}");
    match hearth_driver::kvm::usable() {
        Ok(()) => assert!(rows[1].detail.starts_with("kvm"), "{rows:?}"),
        Err(why) => {
            assert!(
                rows[1].detail.contains("tcg") && rows[1].detail.contains(&why.to_string()),
                "{rows:?}"
            );
            assert!(rows[1].advice.is_some());
        }
    }
    let options = QemuOptions {
        program: Some("/nonexistent/qemu".into()),
        accel: AccelChoice::Tcg,
    };
    let rows = QemuDriver::new(options, launcher()).probe().await;
    assert_eq!(rows[0].outcome, CheckOutcome::Failed);
    assert!(
        rows[0]
            .advice
            .as_ref()
            .unwrap()
            .contains("apt-get install qemu-system-x86"),
        "{rows:?}"
    );
}
