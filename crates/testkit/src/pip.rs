//! What comes by pip: fetched once, and kept in the cache of downloads.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::kernel::downloads;

/// The cache of downloads, while nobody else fetches the same. Errors say what is missing, for a test to skip with.
pub(crate) struct Shelf {
    folder: PathBuf,
    _lock: File,
}

impl Shelf {
    /// Waits until nobody else fetches what goes by this name: parallel tests download once.
    pub(crate) fn lock(name: &str) -> Result<Self, String> {
        let folder = downloads();
        fs::create_dir_all(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        let lock = File::create(folder.join(format!("{name}.lock")))
            .map_err(|error| format!("cannot create a lock: {error}"))?;
        lock.lock()
            .map_err(|error| format!("cannot lock {}: {error}", folder.display()))?;
        Ok(Self { folder, _lock: lock })
    }

    /// A place on it.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Packages with what they depend on, for `PYTHONPATH`, as the folder `name`. Installed aside and moved into place,
    /// so that nobody sees half of them.
    pub(crate) fn packages(
        &self,
        python: &Path,
        name: &str,
        options: &[&str],
        packages: &[&str],
    ) -> Result<PathBuf, String> {
        let place = self.place(name);
        if !place.exists() {
            let work = self.work_folder()?;
            let made = work.path().join("packages");
            run(Command::new(python)
                .args(["-m", "pip", "install", "--quiet"])
                .args(options)
                .arg("--target")
                .arg(&made)
                .args(packages))?;
            move_to(&made, &place)?;
        }
        Ok(place)
    }

    /// A wheel without what it depends on, unpacked in a folder that goes when it is dropped.
    pub(crate) fn wheel(&self, wheel: &str, options: &[&str]) -> Result<Wheel, String> {
        let work = self.work_folder()?;
        run(Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"])
            .args(options)
            .arg(wheel)
            .current_dir(&work))?;
        let file = fs::read_dir(&work)
            .ok()
            .and_then(|mut entries| Some(entries.next()?.ok()?.path()));
        let file = file.ok_or_else(|| format!("pip downloaded nothing for {wheel}"))?;
        run(Command::new("python3")
            .args(["-m", "zipfile", "-e"])
            .arg(&file)
            .arg(UNPACKED)
            .current_dir(&work))?;
        Ok(Wheel(work))
    }

    fn work_folder(&self) -> Result<TempDir, String> {
        tempfile::tempdir_in(&self.folder).map_err(|error| format!("cannot make a folder: {error}"))
    }
}

const UNPACKED: &str = "out";

/// An unpacked wheel.
pub(crate) struct Wheel(TempDir);

impl Wheel {
    /// Where something of it lies.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(UNPACKED).join(inside)
    }
}

/// Moves what was made aside into its place.
pub(crate) fn move_to(made: &Path, place: &Path) -> Result<(), String> {
    fs::rename(made, place).map_err(|error| format!("cannot move to {}: {error}", place.display()))
}

/// Refuses a file that is not the one that was pinned.
pub(crate) fn check_pin(path: &Path, pin: &str) -> Result<(), String> {
    let digest = sha256(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if digest == pin {
        return Ok(());
    }
    Err(format!("{} has SHA-256 {digest} instead of {pin}", path.display()))
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(format!("{:x}", hasher.finalize()))
}

/// Runs a command to its good end; gives what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} failed: {}", said.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
