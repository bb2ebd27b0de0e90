//! Finding `firecracker` and `jailer`, and what they are.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use hearth_driver::DriverError;
use tokio::{process::Command, time::timeout};

use crate::{
    config::{Confinement, FirecrackerConfig},
    features::{Features, Version},
};

/// Where Firecracker comes from.
pub(crate) const ADVICE: &str = "download a release from https://github.com/firecracker-microvm/firecracker/releases \
     and put firecracker and jailer on the daemon's PATH";

/// How long `--version` may take.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

/// The programs, looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The VMM.
    pub firecracker: PathBuf,
    /// The jailer, where one is used.
    pub jailer: Option<PathBuf>,
    /// The VMM's version.
    pub version: Version,
}

impl Programs {
    /// Finds the programs and asks for their version.
    pub async fn find(config: &FirecrackerConfig) -> Result<Self, DriverError> {
        let (firecracker, jailer) = Self::locate(config)?;
        let version = version_of(&firecracker).await?;
        Ok(Self {
            firecracker,
            jailer,
            version,
        })
    }

    /// Finds the VMM, and the jailer where one is used, without running them.
    pub(crate) fn locate(config: &FirecrackerConfig) -> Result<(PathBuf, Option<PathBuf>), DriverError> {
        let firecracker = locate("firecracker", config.firecracker.as_deref(), None)?;
        let jailer = match config.confinement {
            Confinement::Jailer => Some(locate("jailer", config.jailer.as_deref(), firecracker.parent())?),
            Confinement::None => None,
        };
        Ok((firecracker, jailer))
    }

    /// What this version can do.
    pub fn features(&self) -> Features {
        Features::of(self.version)
    }
}

/// The configured path; else `name` on `PATH`, in `beside` too; else the newest file there that is named as the
/// releases are, such as `firecracker-v1.12.1-x86_64`.
fn locate(name: &'static str, configured: Option<&Path>, beside: Option<&Path>) -> Result<PathBuf, DriverError> {
    let missing = || DriverError::MissingProgram {
        program: name.to_owned(),
        advice: ADVICE,
    };
    if let Some(path) = configured {
        let missing = || DriverError::MissingProgram {
            program: path.display().to_string(),
            advice: ADVICE,
        };
        return is_program(path).then(|| path.to_owned()).ok_or_else(missing);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = beside
        .map(Path::to_owned)
        .into_iter()
        .chain(env::split_paths(&path))
        .collect();
    let plain = folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| is_program(path));
    plain
        .or_else(|| folders.iter().find_map(|folder| newest_release(name, folder)))
        .ok_or_else(missing)
}

fn newest_release(name: &str, folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let releases = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let version = release_version(name, path.file_name()?)?;
        is_program(&path).then_some((version, path))
    });
    releases.max().map(|(_version, path)| path)
}

/// The version in `firecracker-v1.12.1-x86_64`, where it is for this machine.
fn release_version(name: &str, file: &OsStr) -> Option<Version> {
    let rest = file.to_str()?.strip_prefix(name)?.strip_prefix("-v")?;
    rest.strip_suffix(env::consts::ARCH)?.strip_suffix('-')?.parse().ok()
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs `--version`.
pub(crate) async fn version_of(program: &Path) -> Result<Version, DriverError> {
    let action = format!("run {} --version", program.display());
    let output = Command::new(program).arg("--version").kill_on_drop(true).output();
    let output = timeout(VERSION_TIMEOUT, output)
        .await
        .map_err(|_elapsed| DriverError::TimedOut {
            action: action.clone(),
            timeout_ms: 5_000,
        })?
        .map_err(DriverError::io(action.clone()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.parse()
        .map_err(|error| DriverError::io(action)(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_configured_program_must_be_there() {
        let error = locate("firecracker", Some(Path::new("/nowhere/fc")), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nowhere/fc") && error.contains("releases"), "{error}");
    }

    #[test]
    fn releases_are_known_by_their_names_and_the_newest_wins() {
        let folder = tempfile::tempdir().unwrap();
        let arch = env::consts::ARCH;
        program(folder.path(), &format!("firecracker-v1.9.0-{arch}"));
        let newest = program(folder.path(), &format!("firecracker-v1.12.1-{arch}"));
        program(folder.path(), "firecracker-v1.99.0-mips");
        program(folder.path(), &format!("jailer-v1.99.0-{arch}"));
        fs::write(folder.path().join(format!("firecracker-v2.0.0-{arch}.debug")), "").unwrap();
        assert_eq!(newest_release("firecracker", folder.path()), Some(newest));
    }

    #[test]
    fn the_jailer_is_looked_for_beside_the_vmm_first() {
        let folder = tempfile::tempdir().unwrap();
        let jailer = program(folder.path(), "jailer");
        assert_eq!(locate("jailer", None, Some(folder.path())).unwrap(), jailer);
    }
}
