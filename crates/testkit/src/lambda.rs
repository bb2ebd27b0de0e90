//! AWS's own Lambda runtime client for Python, unmodified, fetched once and kept.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use crate::kernel::downloads;

const PACKAGE: &str = "awslambdaric==4.2.2";

/// A Python with what it needs to run `-m awslambdaric`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonRuntime {
    /// The interpreter, by its absolute path.
    pub python: PathBuf,
    /// For `PYTHONPATH`: the package and what it depends on.
    pub packages: PathBuf,
}

/// `awslambdaric` 4.2.2 for this host's Python, from the cache of downloads or else by pip.
///
/// A lock lets parallel tests download once. The error says what is missing, for a test to skip with.
pub fn python_runtime() -> Result<PythonRuntime, String> {
    let script = "import sys; print(sys.executable); print(sys.implementation.cache_tag)";
    let told = output(Command::new("python3").args(["-c", script]))?;
    let mut lines = told.lines();
    let (Some(python), Some(tag)) = (lines.next(), lines.next()) else {
        return Err(format!("python3 does not say what it is: {told}"));
    };
    let cache = downloads();
    let packages = cache.join(format!("{}-{tag}", PACKAGE.replace("==", "-")));
    fs::create_dir_all(&cache).map_err(|error| format!("cannot create {}: {error}", cache.display()))?;
    let lock =
        File::create(cache.join("awslambdaric.lock")).map_err(|error| format!("cannot create a lock: {error}"))?;
    lock.lock()
        .map_err(|error| format!("cannot lock {}: {error}", cache.display()))?;
    if !packages.exists() {
        let work = tempfile::tempdir_in(&cache).map_err(|error| format!("cannot make a folder: {error}"))?;
        let made = work.path().join("packages");
        output(
            Command::new(python)
                .args(["-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target"])
                .arg(&made)
                .arg(PACKAGE),
        )?;
        fs::rename(&made, &packages).map_err(|error| format!("cannot move to {}: {error}", packages.display()))?;
    }
    Ok(PythonRuntime {
        python: python.into(),
        packages,
    })
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} failed: {}", said.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
