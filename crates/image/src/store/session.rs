//! The folder for what this process is making, and the removal of what dead processes left.

use std::fs;
use std::path::{Path, PathBuf};

use super::lock::FileLock;
use super::paths::{Paths, names_in, remove_file};
use crate::error::StoreError;
use crate::fault;

/// Lives as long as the store is open; its folder goes with it.
#[derive(Debug)]
pub(crate) struct Session {
    folder: PathBuf,
    _lock: FileLock,
}

impl Session {
    /// Sweeps, then opens a folder of our own. The store's lock keeps others from sweeping it before it is locked.
    pub(crate) fn open(paths: &Paths) -> Result<Self, StoreError> {
        let _change = FileLock::take(&paths.store_lock())?;
        sweep_sessions(paths)?;
        sweep_images(paths)?;
        let folder = paths.tmp().join(ulid::Ulid::new().to_string().to_lowercase());
        fs::create_dir(&folder).map_err(StoreError::file("create folder", &folder))?;
        fault::point("image.session.folder");
        let lock = FileLock::try_take(&folder.join("lock"))?;
        let lock = lock.ok_or_else(|| StoreError::Locked {
            path: folder.clone(),
            seconds: 0,
        })?;
        Ok(Self { folder, _lock: lock })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder for one piece of work, removed when dropped.
    pub(crate) fn work_folder(&self) -> Result<tempfile::TempDir, StoreError> {
        let made = tempfile::tempdir_in(&self.folder).map_err(StoreError::file("create folder in", &self.folder))?;
        fault::point("image.work.folder");
        Ok(made)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "cannot remove the session's folder");
        }
    }
}

/// A session whose lock can be had has no process any more.
fn sweep_sessions(paths: &Paths) -> Result<(), StoreError> {
    for name in names_in(&paths.tmp())? {
        let folder = paths.tmp().join(name);
        let lock = folder.join("lock");
        if lock.exists() && FileLock::try_take(&lock)?.is_none() {
            continue;
        }
        tracing::info!(folder = %folder.display(), "removing what a dead process left");
        let removed = if folder.is_dir() {
            fs::remove_dir_all(&folder)
        } else {
            fs::remove_file(&folder)
        };
        removed.map_err(StoreError::file("remove", &folder))?;
    }
    Ok(())
}

/// A root without its record was being stored, or removed, when its process died.
fn sweep_images(paths: &Paths) -> Result<(), StoreError> {
    for name in names_in(&paths.images())? {
        let Some(hex) = name.strip_suffix(".erofs") else {
            continue;
        };
        if !paths.images().join(format!("{hex}.json")).exists() {
            remove_file(&paths.images().join(&name))?;
        }
    }
    Ok(())
}
