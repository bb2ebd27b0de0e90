//! A state folder with kernel and images, made once and copied for each test.
//!
//! The seed lies in the cache folder, named by what it is made of, so that a change of the binary makes a new one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{FlockOperation, flock};

use crate::{Host, HostOptions, Ran};

/// A tiny image: busybox, whose command is `sh`.
pub const BUSYBOX: &str = "test/busybox:latest";
/// A small Debian with Python.
pub const PYTHON: &str = "test/python:latest";

/// What of a state folder makes a seed.
const SEEDED: [&str; 2] = ["images", "kernels"];

/// The hearth binary beside the tests.
pub(crate) fn hearth() -> PathBuf {
    if let Some(path) = std::env::var_os("HEARTH_BIN") {
        return path.into();
    }
    let exe = std::env::current_exe().expect("a test knows its own path");
    let folder = exe.ancestors().nth(2).expect("tests lie in target/<profile>/deps");
    let path = folder.join("hearth");
    assert!(
        path.exists(),
        "{} is not built; run: cargo build -p hearth-cli",
        path.display()
    );
    path
}

/// Fills a new state folder from the seed.
pub(crate) fn sow(state_dir: &Path) {
    let cache = cache();
    // Held while it is copied, too: another binary's tests would take it away for one of their own.
    let lock = fs::File::create(cache.join(".seed.lock")).expect("the cache can be written");
    flock(&lock, FlockOperation::LockExclusive).expect("the cache can be locked");
    copy(&seed(&cache), state_dir);
}

/// Copies what makes a seed.
fn copy(from: &Path, to: &Path) {
    for part in SEEDED {
        let copied = Command::new("cp")
            .args(["-a", "--sparse=always"])
            .arg(from.join(part))
            .arg(to)
            .status();
        assert!(copied.expect("cp runs").success(), "cannot copy the seed");
    }
}

fn cache() -> PathBuf {
    let base = hearth_testkit::kernel::cache().join("fixtures");
    fs::create_dir_all(&base).expect("the cache folder can be made");
    base
}

/// The seed, made by the first test that needs it.
fn seed(cache: &Path) -> PathBuf {
    let binary = fs::metadata(hearth()).expect("the binary is there");
    let modified = binary
        .modified()
        .expect("files have times")
        .duration_since(std::time::UNIX_EPOCH);
    let name = format!("seed-{}-{}", binary.len(), modified.expect("after 1970").as_millis());
    let seed = cache.join(&name);
    if !seed.exists() {
        remove_old_seeds(cache);
        let making = tempfile::Builder::new()
            .prefix(".seed-")
            .tempdir_in(cache)
            .expect("the cache can be written");
        make(making.path());
        fs::rename(making.path().join("state"), &seed).expect("the seed can be put into place");
    }
    seed
}

fn remove_old_seeds(cache: &Path) {
    for entry in fs::read_dir(cache).expect("the cache can be read").flatten() {
        if entry.file_name().to_string_lossy().starts_with("seed-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes a seed in `folder`, on a host of its own: VMMs may not pass through every cache folder.
fn make(folder: &Path) {
    let mut host = Host::empty(&HostOptions::default());
    let root = host.folder().join("busybox.tar");
    let busybox = hearth_testkit::images::busybox_root().expect("busybox-static is installed");
    fs::write(&root, busybox).expect("one's own folder");
    let deb = hearth_testkit::kernel::debian_kernel_deb();
    let hearth = |args: &[&str], path: &Path, more: &[&str]| {
        let args = [args, &[path.to_str().expect("UTF-8")], more].concat();
        host.hearth(&args).ok();
    };
    hearth(&["kernel", "import", "--deb"], &deb, &[]);
    hearth(&["image", "import"], &root, &["--name", BUSYBOX, "--cmd", "/bin/sh"]);
    hearth(
        &["image", "import"],
        &python_root(),
        &["--name", PYTHON, "--cmd", "python3"],
    );
    // The first machine makes the initramfs, which then is part of the seed.
    host.hearth(&["run", "--rm", BUSYBOX, "true"]).ok();
    host.down();
    let state = folder.join("state");
    fs::create_dir(&state).expect("one's own folder");
    copy(&host.state_dir(), &state);
}

/// The archive of a runtime's image, which `scripts/test` makes beforehand.
pub fn runtime_archive(runtime: &str) -> PathBuf {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    let ran = Ran::of(Command::new(scripts.join("runtimes")).arg(runtime), b"");
    PathBuf::from(ran.ok())
}

/// Made by the same script as the demo's.
fn python_root() -> PathBuf {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    let ran = Ran::of(
        Command::new("bash")
            .current_dir(scripts)
            .args(["-ec", ". ./lib; python_root"]),
        b"",
    );
    PathBuf::from(ran.ok())
}
