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
        // Whoever can open it can lock it, and keep every daemon out.
        let lock = private(&path.join("lock"))?;
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
    pub(crate) fn open_folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.folder(name, 0o711)
    }

    /// A folder in it for the daemon's eyes alone: images carry secrets, too.
    pub(crate) fn private_folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.folder(name, 0o700)
    }

    fn folder(&self, name: &str, mode: u32) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of {}", path.display()))?;
        Ok(path)
    }

    /// A file in it for the daemon's eyes alone: specs carry environments, and environments carry secrets. What SQLite
    /// puts beside its database has the database's mode.
    pub(crate) fn private_file(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        private(&path)?;
        Ok(path)
    }

    /// A folder of the daemon's own in it, without what a dead daemon left there.
    pub(crate) fn emptied(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot empty {}", path.display()));
            }
            _ => {}
        }
        self.private_folder(name)
    }
}

/// Opens a file that nobody else may open, made if need be.
fn private(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}
