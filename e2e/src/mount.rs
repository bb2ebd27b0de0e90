//! A small file system of a test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A file system in memory, gone with the value. Whoever uses it has to go before.
#[derive(Debug)]
pub struct Mount(PathBuf);

impl Mount {
    /// An empty one at this folder, which is made if it is not there; with options of `mount`.
    pub fn new(at: &Path, options: &str) -> Self {
        fs::create_dir_all(at).expect("a folder to mount at can be made");
        mount(&["-t", "tmpfs", "-o", options, "hearth-e2e"], at);
        Self(at.to_owned())
    }

    /// Gives it another size, such as `400m`.
    pub fn resize(&self, size: &str) {
        mount(&["-o", &format!("remount,size={size}")], &self.0);
    }
}

fn mount(args: &[&str], at: &Path) {
    let mounted = Command::new("mount").args(args).arg(at).status();
    assert!(mounted.expect("mount can be run").success(), "{args:?}");
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
