//! Where the things lie that a restore touches: under `/`, and in tests under another folder.

use std::path::{Path, PathBuf};

use crate::process::spawn::DEFAULT_PATH;

/// A root folder, and what is where in it.
#[derive(Debug)]
pub(crate) struct Places {
    root: PathBuf,
}

impl Places {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn machine_id(&self) -> PathBuf {
        self.root.join("etc/machine-id")
    }

    pub(super) fn dbus_machine_id(&self) -> PathBuf {
        self.root.join("var/lib/dbus/machine-id")
    }

    /// What lies over the kernel's own boot ID.
    pub(super) fn boot_id(&self) -> PathBuf {
        self.root.join("run/hearth/boot_id")
    }

    pub(super) fn generation(&self) -> PathBuf {
        self.root.join("run/hearth/generation")
    }

    pub(super) fn after_restore(&self) -> PathBuf {
        self.root.join("etc/hearth/after-restore.d")
    }

    pub(super) fn before_snapshot(&self) -> PathBuf {
        self.root.join("etc/hearth/before-snapshot.d")
    }

    pub(super) fn ssh(&self) -> PathBuf {
        self.root.join("etc/ssh")
    }

    /// Where the image's programs are.
    pub(super) fn search_path(&self) -> String {
        let folders = DEFAULT_PATH.split(':').map(|folder| {
            let inside = self.root.join(folder.trim_start_matches('/'));
            inside.to_string_lossy().into_owned()
        });
        folders.collect::<Vec<_>>().join(":")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_the_real_root_the_path_is_the_usual_one() {
        assert_eq!(Places::new(Path::new("/")).search_path(), DEFAULT_PATH);
        assert_eq!(Places::new(Path::new("/")).machine_id(), Path::new("/etc/machine-id"));
    }
}
