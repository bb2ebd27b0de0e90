//! The folder that everything is kept in, of one daemon at a time.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};

/// A claimed state folder. The claim ends with the process, however that ends.
pub(crate) struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the folder if need be and claims it.
    pub(crate) fn claim(path: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make state folder {}", path.display()))?;
        // VMMs run as users of their own: they may walk through, and see nothing.
        fs::set_permissions(path, Permissions::from_mode(0o711))
            .with_context(|| format!("cannot set the mode of state folder {}", path.display()))?;
        let path = path.canonicalize()?;
        let lock = File::create(path.join("lock")).with_context(|| format!("cannot write in {}", path.display()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!(
                "another daemon uses state folder {}; stop it, or choose another with --state-dir (and --socket)",
                path.display()
            );
        }
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it that VMMs may walk through.
    pub(crate) fn subfolder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o711))?;
        Ok(path)
    }

    /// A file in it for the daemon's eyes alone: specs carry environments, and environments carry secrets. What SQLite
    /// puts beside its database has the database's mode.
    pub(crate) fn private_file(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(path)
    }

    /// A folder in it, without what a dead daemon left there.
    pub(crate) fn emptied(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot empty {}", path.display()));
            }
            _ => {}
        }
        self.subfolder(name)
    }
}
