//! What each test stands on: a kernel with a small guest, files, a namespace with a tap. All of it is one test's own
//! and goes away with it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use hearth_driver::{Driver, KernelFiles, NetAttachment, StartPlan, VmmUser, launch::Launcher};
use hearth_driver_qemu::{QemuDriver, QemuOptions};
use hearth_ids::MachineId;
use hearth_testkit::kernel::{debian_kernel_deb, debian_kernel_files, downloads};
use tempfile::TempDir;

/// How long a guest may take to say something. It needs 2 s on an idle machine.
pub(crate) const BOOT_DEADLINE: Duration = Duration::from_mins(1);
const MODULES: [&str; 10] = [
    "virtio_ring",
    "virtio",
    "virtio_mmio",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio-rng",
    "evdev",
    "button",
];

/// Places for machines.
pub(crate) struct Ground {
    folder: TempDir,
    places: Vec<(MachineId, PathBuf, String)>,
}

/// `None`, and says so, where something is absent.
pub(crate) fn ground() -> Option<Ground> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root (namespaces, another user)");
        return None;
    }
    for program in ["qemu-system-x86_64", "busybox", "cpio", "ip", "dpkg-deb"] {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .output()
            .unwrap();
        if !found.status.success() {
            eprintln!("SKIPPED: {program} is not installed");
            return None;
        }
    }
    let folder = tempfile::Builder::new()
        .prefix("hearth-qemu-")
        .tempdir_in("/tmp")
        .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    fs::set_permissions(folder.path(), mode).unwrap();
    make_guest(folder.path());
    let root = File::create(folder.path().join("root.img")).unwrap();
    std::io::Write::write_all(&mut &root, b"hearth-root\n").unwrap();
    root.set_len(1 << 20).unwrap();
    Some(Ground {
        folder,
        places: Vec::new(),
    })
}

impl Ground {
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A machine that can be started.
    pub(crate) fn plan(&mut self) -> StartPlan {
        let machine = MachineId::new();
        let user = unused_user();
        let netns = format!("hq-{}", &machine.to_string()[16..]);
        let own = self.folder.path().join(machine.to_string());
        fs::create_dir(&own).unwrap();
        let disk = own.join("disk.raw");
        File::create(&disk).unwrap().set_len(2 << 20).unwrap();
        std::os::unix::fs::chown(&disk, Some(user.uid), Some(user.gid)).unwrap();
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
        ip(&["-n", &netns, "addr", "add", "169.254.0.1/30", "dev", "tap0"]);
        ip(&["-n", &netns, "link", "set", "tap0", "up"]);
        let folder = own.join("vm");
        self.places.push((machine, folder.clone(), netns.clone()));
        let at = |name: &str| self.folder.path().join(name);
        StartPlan {
            machine,
            folder,
            kernel: KernelFiles {
                bzimage: at("vmlinuz"),
                vmlinux: at("vmlinux"),
                pvh: false,
                initramfs: at("initramfs"),
                cmdline: "quiet".into(),
            },
            root: at("root.img"),
            layers: Vec::new(),
            disk: Some(disk),
            vcpus: 1,
            memory_mib: 128,
            net: NetAttachment {
                netns: Some(Path::new("/run/netns").join(&netns)),
                tap: "tap0".into(),
                mac: "06:00:ac:10:00:02".into(),
            },
            cgroups: Vec::new(),
            user,
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for (machine, folder, netns) in self.places.drain(..) {
            // A test that failed may be inside a runtime, where another must not be made: so a thread of its own.
            let cleaned = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(driver().clean(machine, &folder)).unwrap();
            });
            let cleaned = cleaned.join();
            ip(&["netns", "delete", &netns]);
            if !std::thread::panicking() {
                cleaned.unwrap();
                assert_eq!(processes_of(machine), Vec::<u32>::new(), "processes left");
            }
        }
    }
}

pub(crate) fn driver() -> Arc<QemuDriver> {
    Arc::new(QemuDriver::new(QemuOptions::default(), launcher()))
}

pub(crate) fn launcher() -> Launcher {
    Launcher::new(env!("CARGO_BIN_EXE_hearth-qemu-test-launch"), [""; 0])
}

/// Processes that name the machine.
pub(crate) fn processes_of(machine: MachineId) -> Vec<u32> {
    let id = machine.to_string();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&id)
    })
    .collect()
}

/// Waits until the guest has said something.
pub(crate) async fn until_said(driver: &dyn Driver, folder: &Path, what: &str) -> String {
    let begin = Instant::now();
    loop {
        let console = String::from_utf8_lossy(&driver.console_tail(folder, 1 << 20).await).into_owned();
        if console.contains(what) {
            return console;
        }
        assert!(
            begin.elapsed() < BOOT_DEADLINE,
            "the guest never said {what:?}:\n{console}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn unused_user() -> VmmUser {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let uid = 700_000_000 + (std::process::id() % 1_000_000) * 100 + NEXT.fetch_add(1, Ordering::Relaxed);
    VmmUser { uid, gid: uid }
}

pub(crate) fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().unwrap();
    assert!(
        output.status.success(),
        "ip {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Debian's kernel as an ELF, imported once and kept beside the other downloads.
pub(crate) fn vmlinux() -> PathBuf {
    let deb = debian_kernel_deb();
    let kept = downloads().join(format!("{}.vmlinux", deb.file_stem().unwrap().to_string_lossy()));
    let lock = File::create(downloads().join("vmlinux.lock")).unwrap();
    lock.lock().unwrap();
    if !kept.exists() {
        let work = TempDir::new_in(downloads()).unwrap();
        let store = hearth_kernel::KernelStore::open(work.path()).unwrap();
        let bundle = store.import_deb(&deb, &mut |_| ()).unwrap();
        fs::rename(bundle.folder().join("vmlinux"), &kept).unwrap();
    }
    kept
}

/// Puts `vmlinuz` and `initramfs` into the folder.
fn make_guest(folder: &Path) {
    let kernel = debian_kernel_files();
    let boot = fs::read_dir(kernel.join("boot")).unwrap().flatten();
    let vmlinuz = boot
        .map(|e| e.path())
        .find(|p| p.to_string_lossy().contains("/vmlinuz-"))
        .unwrap();
    fs::copy(vmlinuz, folder.join("vmlinuz")).unwrap();
    let script = r#"
        set -e
        cd "$1"; mkdir -p guest/bin guest/modules guest/proc guest/sys guest/dev
        cp "$(command -v busybox)" guest/bin/busybox
        cp "$3" guest/init; chmod 755 guest/init
        : > guest/modules/order
        for m in $4; do
            f=$(find "$2/lib/modules" -name "$m.ko" | head -n 1)
            if [ -n "$f" ]; then cp "$f" guest/modules/; echo "$m.ko" >> guest/modules/order; fi
        done
        (cd guest && find . | cpio -o -H newc --quiet) > initramfs
        rm -r guest; chmod 644 initramfs vmlinuz
    "#;
    let init = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/init.sh");
    run(Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(folder)
        .arg(kernel)
        .arg(init)
        .arg(MODULES.join(" ")));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
