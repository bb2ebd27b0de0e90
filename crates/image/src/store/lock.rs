//! Locks between processes (and between stores in one process): `flock` on files that are never removed.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::StoreError;

/// Changes of the catalogue take milliseconds; who waits longer waits for something broken.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
const LONG_POLL: Duration = Duration::from_millis(100);

/// Released when dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub(crate) struct FileLock(#[expect(dead_code, reason = "holding it open holds the lock")] File);

impl FileLock {
    /// The lock, unless somebody has it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>, StoreError> {
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(StoreError::file("open lock", path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(StoreError::file("lock", path)(error)),
        }
    }

    /// Waits for a lock that is only held for moments.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(lock);
            }
            if Instant::now() > deadline {
                return Err(StoreError::Locked {
                    path: path.to_owned(),
                    seconds: CHANGE_TIMEOUT.as_secs(),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits for a lock that may be held for minutes; the caller's own time-out bounds it.
    pub(crate) async fn wait(path: &Path) -> Result<Self, StoreError> {
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(lock);
            }
            tokio::time::sleep(LONG_POLL).await;
        }
    }
}
