//! A machine's own disk: a sparse file with an ext4 in it.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::Stdio,
    time::Duration,
};

use thiserror::Error;
use tokio::{process::Command, time::timeout};

/// Making an empty file system takes milliseconds; a host that needs longer is stuck.
const MKFS_TIMEOUT: Duration = Duration::from_mins(1);

/// Why a disk could not be made.
#[derive(Debug, Error)]
pub(crate) enum DiskError {
    #[error("cannot make disk {path:?}")]
    Io {
        path: std::path::PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot run mkfs.ext4: {0}; install the package e2fsprogs")]
    NoMkfs(io::Error),
    #[error("mkfs.ext4 failed: {0}")]
    Mkfs(String),
}

/// Makes the disk unless it is there already. Whole or not at all.
pub(crate) async fn ensure(path: &Path, size_mib: u32, uid: u32, gid: u32) -> Result<(), DiskError> {
    let io = |source| DiskError::Io {
        path: path.to_owned(),
        source,
    };
    if !path.exists() {
        let making = path.with_extension("making");
        match fs::remove_file(&making) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&making)
            .and_then(|file| file.set_len(u64::from(size_mib) << 20))
            .map_err(io)?;
        format(&making).await?;
        fs::rename(&making, path).map_err(io)?;
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(io)?;
    }
    Ok(())
}

async fn format(path: &Path) -> Result<(), DiskError> {
    // Lazy tables keep the file sparse; the guest's kernel fills them in idle time.
    let child = Command::new("mkfs.ext4")
        .args([
            "-q",
            "-F",
            "-m",
            "0",
            "-O",
            "^resize_inode",
            "-E",
            "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
        ])
        .arg(path)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(MKFS_TIMEOUT, child)
        .await
        .map_err(|_| DiskError::Mkfs(format!("it did not end within {} s", MKFS_TIMEOUT.as_secs())))?
        .map_err(DiskError::NoMkfs)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(DiskError::Mkfs(
            String::from_utf8_lossy(&output.stderr).chars().take(400).collect(),
        ))
    }
}
