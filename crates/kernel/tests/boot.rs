//! Booting kernels from bundles, up to the point where it mounts an EROFS root.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hearth_kernel::{BuildOptions, Bundle, KernelStore, cmdline};
use hearth_testkit::kernel::{debian_kernel_deb, downloads};

/// Loads what the list says, as the agent does, and mounts the root.
const INIT: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs devtmpfs /dev
while read file; do
  optional=; case $file in -*) optional=1; file=${file#-};; esac
  $b insmod /lib/hearth/modules/$file || [ $optional ] || echo "FAILED $file"
done < /lib/hearth/modules.list
for try in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vda ] && break; $b sleep 0.1; done
$b mount -t erofs -o ro /dev/vda /newroot && echo "ROOT $($b cat /newroot/hello) $($b uname -r)"
$b reboot -f
"#;

fn missing_tools() -> Vec<&'static str> {
    let there = |program: &str| {
        Command::new(program)
            .arg("--help")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    };
    let tools = ["qemu-system-x86_64", "mkfs.erofs", "cpio", "busybox"];
    tools.into_iter().filter(|tool| there(tool).is_err()).collect()
}

#[test]
fn both_shapes_of_debians_kernel_boot_to_an_erofs_root() {
    let missing = missing_tools();
    if !missing.is_empty() {
        eprintln!("SKIPPED: {}", missing.join(", "));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = KernelStore::open(&folder.path().join("kernels")).unwrap();
    let bundle = store.import_deb(&debian_kernel_deb(), &mut |_| {}).unwrap();
    boots_in_both_shapes(&store, &bundle, folder.path());
}

/// Minutes of building, unless the cache has it: only when asked for.
#[test]
fn the_kernel_that_we_build_boots_to_an_erofs_root() {
    if std::env::var_os("HEARTH_TEST_KERNEL_BUILD").is_none() {
        eprintln!("SKIPPED: HEARTH_TEST_KERNEL_BUILD=1, which asks for a build of the guest kernel");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = KernelStore::open(&folder.path().join("kernels")).unwrap();
    let cache = downloads().parent().unwrap().join("kernels");
    let options = BuildOptions {
        source: None,
        cache,
        jobs: 2,
        cancelled: std::sync::Arc::default(),
    };
    let bundle = store.build(&options, &mut |_| {}).unwrap();
    assert!(
        bundle.pvh && bundle.modules.is_empty() && bundle.absent.is_empty(),
        "{bundle:?}"
    );
    boots_in_both_shapes(&store, &bundle, folder.path());
}

fn boots_in_both_shapes(store: &KernelStore, bundle: &Bundle, folder: &Path) {
    let initramfs = initramfs_with_script(store, bundle, folder);
    let root = erofs_root(folder);
    // As QEMU's driver does under software emulation.
    let clock = hearth_driver::tsc::host_khz().map(|khz| format!(" tsc=reliable tsc_early_khz={khz}"));
    let cmdline = cmdline("qemu") + &clock.unwrap_or_default();
    for kernel in [&bundle.bzimage, &bundle.vmlinux] {
        let console = boot(kernel, &initramfs, &root, &cmdline);
        assert!(
            console.contains(&format!("ROOT from erofs {}", bundle.version)),
            "{}: {console}",
            kernel.display()
        );
        assert!(!console.contains("FAILED"), "{console}");
    }
}

/// The bundle's own initramfs, and behind it a second archive, which the kernel lays over the first: the script as `/init`.
fn initramfs_with_script(store: &KernelStore, bundle: &Bundle, folder: &Path) -> PathBuf {
    let busybox = fs::read("/bin/busybox").unwrap();
    let mut image = fs::read(store.ensure_initramfs(bundle, &busybox).unwrap()).unwrap();
    let overlay = folder.join("overlay");
    fs::create_dir_all(overlay.join("bin")).unwrap();
    fs::write(overlay.join("bin/busybox"), &busybox).unwrap();
    fs::write(overlay.join("init"), INIT).unwrap();
    assert!(
        Command::new("chmod")
            .args(["755", "init", "bin/busybox"])
            .current_dir(&overlay)
            .status()
            .unwrap()
            .success()
    );
    let mut cpio = Command::new("cpio");
    cpio.args(["-o", "-H", "newc", "--quiet"]).current_dir(&overlay);
    let mut cpio = cpio_spawn(&mut cpio);
    cpio.stdin
        .take()
        .unwrap()
        .write_all(b"bin\nbin/busybox\ninit\n")
        .unwrap();
    image.extend_from_slice(&cpio.wait_with_output().unwrap().stdout);
    let path = folder.join("initramfs");
    fs::write(&path, image).unwrap();
    path
}

fn cpio_spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn erofs_root(folder: &Path) -> PathBuf {
    let tree = folder.join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("hello"), "from erofs").unwrap();
    let image = folder.join("root.erofs");
    let made = Command::new("mkfs.erofs").arg(&image).arg(&tree).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    image
}

/// Runs to the end, or to a deadline; returns what the console said.
fn boot(kernel: &Path, initramfs: &Path, root: &Path, cmdline: &str) -> String {
    let mut qemu = Command::new("qemu-system-x86_64")
        .args([
            "-M", "microvm", "-accel", "tcg", "-cpu", "max", "-m", "256", "-smp", "1",
        ])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-serial",
            "stdio",
        ])
        .args(["-append", cmdline, "-device", "virtio-blk-device,drive=root", "-drive"])
        .arg(format!(
            "id=root,file={},format=raw,if=none,readonly=on",
            root.display()
        ))
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = qemu.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut console = Vec::new();
        let _ = output.read_to_end(&mut console);
        String::from_utf8_lossy(&console).into_owned()
    });
    let deadline = Instant::now() + Duration::from_mins(1);
    while qemu.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            qemu.kill().unwrap();
            qemu.wait().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    reader.join().unwrap()
}
