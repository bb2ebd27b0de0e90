//! A state folder with kernel and images, made once and copied for each test.
//!
//! The seed lies in the cache folder, named by what it is made of, so that a change of the binary makes a new one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{FlockOperation, flock};

use crate::Ran;

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
    assert!(path.exists(), "{} is not built; run: cargo build -p hearth-cli", path.display());
    path
}

/// Fills a new state folder from the seed.
pub(crate) fn sow(state_dir: &Path) {
    let seed = seed();
    for part in SEEDED {
        let copied = Command::new("cp").args(["-a", "--sparse=always"]).arg(seed.join(part)).arg(state_dir).status();
        assert!(copied.expect("cp runs").success(), "cannot copy the seed");
    }
}

fn cache() -> PathBuf {
    let base = std::env::var_os("HEARTH_CACHE_DIR").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/hearth/fixtures"),
        PathBuf::from,
    );
    fs::create_dir_all(&base).expect("the cache folder can be made");
    base
}

/// The seed, made by the first test that needs it.
fn seed() -> PathBuf {
    let cache = cache();
    let lock = fs::File::create(cache.join(".seed.lock")).expect("the cache can be written");
    flock(&lock, FlockOperation::LockExclusive).expect("the cache can be locked");
    let binary = fs::metadata(hearth()).expect("the binary is there");
    let modified = binary.modified().expect("files have times").duration_since(std::time::UNIX_EPOCH);
    let name = format!("seed-{}-{}", binary.len(), modified.expect("after 1970").as_millis());
    let seed = cache.join(&name);
    if !seed.exists() {
        remove_old_seeds(&cache);
        let making = tempfile::Builder::new().prefix(".seed-").tempdir_in(&cache).expect("the cache can be written");
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

fn make(folder: &Path) {
    let state_dir = folder.join("state");
    let socket = folder.join("sock");
    let hearth = |args: &[&str]| Ran::of(Command::new(hearth()).env("HEARTH_SOCKET", &socket).args(args), b"");
    let root = folder.join("busybox.tar");
    fs::write(&root, hearth_testkit::images::busybox_root().expect("busybox-static is installed")).expect("writable");
    let python = python_root();
    let state = state_dir.to_str().expect("UTF-8");
    hearth(&["up", "--detach", "--warm-slots", "0", "--state-dir", state]).ok();
    let pid = fs::read_to_string(state_dir.join("lock")).unwrap_or_default();
    let deb = hearth_testkit::kernel::debian_kernel_deb();
    hearth(&["kernel", "import", "--deb", deb.to_str().expect("UTF-8")]).ok();
    hearth(&["image", "import", root.to_str().expect("UTF-8"), "--name", BUSYBOX, "--cmd", "/bin/sh"]).ok();
    hearth(&["image", "import", python.to_str().expect("UTF-8"), "--name", PYTHON, "--cmd", "python3"]).ok();
    // The first machine makes the initramfs, which then is part of the seed.
    hearth(&["run", "--rm", BUSYBOX, "true"]).ok();
    crate::host::end(pid.trim().parse().expect("the lock file names the daemon"));
}

/// Made by the same script as the demo's.
fn python_root() -> PathBuf {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    let ran = Ran::of(Command::new("bash").current_dir(scripts).args(["-ec", ". ./lib; python_root"]), b"");
    PathBuf::from(ran.ok())
}
