//! What each test stands on: the programs, a kernel, files, a namespace with a tap. All of it is one test's own and
//! goes away with it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    sync::atomic::{AtomicU32, Ordering},
};

use hearth_driver::{Driver, KernelFiles, NetAttachment, StartPlan, VmmUser, launch::Launcher};
use hearth_driver_firecracker::{FirecrackerConfig, FirecrackerDriver};
use hearth_ids::MachineId;
use hearth_testkit::firecracker::{FirecrackerPrograms, firecracker};
use tempfile::TempDir;

/// A place for one machine.
pub(crate) struct Ground {
    _folder: TempDir,
    pub(crate) plan: StartPlan,
    pub(crate) config: FirecrackerConfig,
    netns: String,
    cgroups: Vec<PathBuf>,
}

/// `None`, and says so, where something is absent.
pub(crate) fn ground() -> Option<Ground> {
    programs().map(|programs| Ground::new(&programs))
}

/// `None`, and says so, where something is absent.
pub(crate) fn programs() -> Option<FirecrackerPrograms> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root (jail, namespaces)");
        return None;
    }
    if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        eprintln!("SKIPPED: /dev/kvm does not open");
        return None;
    }
    match firecracker() {
        Ok(programs) => Some(programs),
        Err(missing) => {
            eprintln!("SKIPPED: {missing}");
            None
        }
    }
}

impl Ground {
    pub(crate) fn new(programs: &FirecrackerPrograms) -> Self {
        let machine = MachineId::new();
        let user = unused_user();
        let folder = tempfile::Builder::new()
            .prefix("hearth-fc-")
            .tempdir_in(root_of_tests())
            .unwrap();
        let machine_folder = folder.path().join("vm");
        fs::create_dir(&machine_folder).unwrap();
        std::os::unix::fs::chown(&machine_folder, Some(user.uid), Some(user.gid)).unwrap();
        let disk = folder.path().join("disk.ext4");
        sparse(&disk, 8 << 20);
        std::os::unix::fs::chown(&disk, Some(user.uid), Some(user.gid)).unwrap();
        let root = folder.path().join("root.erofs");
        sparse(&root, 1 << 20);
        let initramfs = folder.path().join("initramfs");
        fs::write(&initramfs, "070701").unwrap();
        let netns = format!("hearth-{}", &machine.to_string()[19..]);
        ip(&["netns", "add", &netns]);
        ip(&[
            "-n",
            &netns,
            "tuntap",
            "add",
            "tap0",
            "mode",
            "tap",
            "user",
            &user.uid.to_string(),
        ]);
        let kernel = KernelFiles {
            bzimage: "/nonexistent".into(),
            vmlinux: vmlinux(),
            pvh: false,
            initramfs,
            cmdline: "console=ttyS0 reboot=k panic=-1".to_owned(),
        };
        let net = NetAttachment {
            netns: Some(Path::new("/run/netns").join(&netns)),
            tap: "tap0".to_owned(),
            mac: "02:fc:00:00:00:05".to_owned(),
        };
        let plan = StartPlan {
            machine,
            folder: machine_folder,
            kernel,
            root,
            layers: Vec::new(),
            disk: Some(disk),
            vcpus: 1,
            memory_mib: 128,
            net,
            cgroups: Vec::new(),
            user,
        };
        let config = FirecrackerConfig {
            firecracker: Some(programs.firecracker.clone()),
            jailer: Some(programs.jailer.clone()),
            ..FirecrackerConfig::default()
        };
        Self {
            _folder: folder,
            plan,
            config,
            netns,
            cgroups: Vec::new(),
        }
    }

    pub(crate) fn driver(&self) -> FirecrackerDriver {
        FirecrackerDriver::new(self.config.clone(), launcher())
    }

    /// A control group in each of some hierarchies, as the node makes them.
    pub(crate) fn make_cgroups(&mut self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let wanted = |fields: &Vec<&str>| fields[2] == "cgroup2" || fields[1].ends_with("/pids");
        for fields in mounts.filter(|fields| fields[2].starts_with("cgroup") && wanted(fields)) {
            let folder = Path::new(fields[1]).join(format!("hearth-test-{}", self.plan.machine));
            fs::create_dir(&folder).unwrap();
            self.cgroups.push(folder);
        }
        assert!(!self.cgroups.is_empty());
        self.cgroups.clone()
    }

    /// The machine's folder as the node makes it, after a clean took it away.
    pub(crate) fn make_folder(&self) {
        fs::create_dir_all(&self.plan.folder).unwrap();
        std::os::unix::fs::chown(&self.plan.folder, Some(self.plan.user.uid), Some(self.plan.user.gid)).unwrap();
    }

    /// A tap in the machine's namespace.
    pub(crate) fn add_tap(&self, name: &str, uid: u32) {
        ip(&[
            "-n",
            &self.netns,
            "tuntap",
            "add",
            name,
            "mode",
            "tap",
            "user",
            &uid.to_string(),
        ]);
    }

    /// What still runs of the machine.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let id = self.plan.machine.to_string();
        let ours = |pid: &u32| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&id)
        };
        pids.filter(ours).collect()
    }

    /// What is left in the machine's folder, or mounted below it.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let files = fs::read_dir(&self.plan.folder).into_iter().flatten().flatten();
        let files = files.map(|entry| entry.path().display().to_string());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let folder = self.plan.folder.display().to_string();
        let mounts = mounts.lines().filter(|line| line.contains(&folder)).map(str::to_owned);
        files.chain(mounts).collect()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let driver = self.driver();
        let (machine, folder) = (self.plan.machine, self.plan.folder.clone());
        // A test that failed may be inside a runtime, where another must not be made: so a thread of its own.
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(driver.clean(machine, &folder))
        });
        let cleaned = cleaned.join();
        ip(&["netns", "delete", &self.netns]);
        for cgroup in &self.cgroups {
            fs::remove_dir(cgroup).unwrap();
        }
        if !std::thread::panicking() {
            cleaned.unwrap().unwrap();
        }
    }
}

fn launcher() -> Launcher {
    Launcher::new(env!("CARGO_BIN_EXE_hearth-firecracker-test-launch"), [] as [&str; 0])
}

/// Where jails can be: not on a file system without device nodes.
fn root_of_tests() -> PathBuf {
    std::env::var_os("HEARTH_TEST_JAILS").map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

/// Users of no other process: each test of each process has its own.
fn unused_user() -> VmmUser {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let id = 1_000_000 + (std::process::id() % 100_000) * 100 + NEXT.fetch_add(1, Ordering::Relaxed);
    VmmUser { uid: id, gid: id }
}

fn sparse(path: &Path, bytes: u64) {
    fs::File::create(path).unwrap().set_len(bytes).unwrap();
}

pub(crate) fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Debian's kernel as an ELF, imported once and kept beside the other downloads.
fn vmlinux() -> PathBuf {
    static VMLINUX: OnceLock<PathBuf> = OnceLock::new();
    VMLINUX
        .get_or_init(|| {
            let deb = hearth_testkit::kernel::debian_kernel_deb();
            let downloads = hearth_testkit::kernel::downloads();
            let kept = downloads.join(format!("{}.vmlinux", deb.file_stem().unwrap().to_string_lossy()));
            let lock = fs::File::create(downloads.join("vmlinux.lock")).unwrap();
            lock.lock().unwrap();
            if !kept.exists() {
                let work = tempfile::tempdir_in(&downloads).unwrap();
                let store = hearth_kernel::KernelStore::open(work.path()).unwrap();
                let bundle = store.import_deb(&deb, &mut |_| ()).unwrap();
                fs::rename(bundle.folder().join("vmlinux"), &kept).unwrap();
            }
            kept
        })
        .clone()
}

/// Waits until something holds, for 10 s at most.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    until_async(what, async || holds()).await;
}

/// Waits until something that must be waited for itself holds, for 10 s at most.
pub(crate) async fn until_async(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
