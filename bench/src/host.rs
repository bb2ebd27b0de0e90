//! Where the benchmarks run: one temporary folder, gone when it is dropped.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// What every benchmark is given.
pub(crate) struct Ground {
    /// The binary that is measured.
    pub(crate) hearth: PathBuf,
    quick: bool,
    folder: tempfile::TempDir,
}

impl Ground {
    pub(crate) fn new(hearth: PathBuf, quick: bool) -> anyhow::Result<Self> {
        // In /tmp: VMMs run as users of their own, who must be able to walk here, and socket paths are short.
        let folder = tempfile::Builder::new()
            .prefix("hearth-bench-")
            .permissions(fs::Permissions::from_mode(0o711))
            .tempdir_in("/tmp")
            .context("cannot make a folder in /tmp")?;
        Ok(Self { hearth, quick, folder })
    }

    /// How often to measure.
    pub(crate) fn rounds(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(4) } else { full }
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new folder in it, walkable for all.
    pub(crate) fn subfolder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder().join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711))?;
        Ok(path)
    }
}
