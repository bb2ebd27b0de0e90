//! One volume: its root, and its books.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use hearth_ids::VolumeId;
use rustix::{
    fs::{Mode, OFlags, ResolveFlags, Stat, fstatvfs, openat2},
    io::Errno,
};

use crate::{
    path::VolumePath,
    turns::Turns,
    usage::{content, count},
};

/// What of the host's file system is not for volumes: machines' disks and the daemon's own files are on it as well.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// How often the kernel is asked again that met a rename on its way.
const TRIES: u32 = 32;

/// A volume that is there. What changes it takes its turn by the books, so that they stay true.
#[derive(Debug)]
pub struct Folder {
    id: VolumeId,
    root: OwnedFd,
    refuse: Arc<OwnedFd>,
    mark_key: [u8; 32],
    limit_bytes: u64,
    /// Counted by whoever first wants to change something.
    used: Mutex<Option<u64>>,
    gone: AtomicBool,
    turns: Turns,
}

/// The books of a volume, while somebody has them.
pub(crate) struct Books<'a> {
    used: &'a mut u64,
    limit: u64,
    root: &'a OwnedFd,
}

impl Books<'_> {
    /// Refuses what there is no room for.
    pub(crate) fn check(&self, bytes: u64) -> io::Result<()> {
        if self.used.saturating_add(bytes) > self.limit {
            return Err(Errno::DQUOT.into());
        }
        // A file system that says nothing of itself is no reason to refuse.
        let free = fstatvfs(self.root).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        if bytes > 0 && free.saturating_sub(bytes) < FREE_BYTES_MIN {
            return Err(Errno::NOSPC.into());
        }
        Ok(())
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        *self.used = self.used.saturating_add(bytes);
    }

    pub(crate) fn take_off(&mut self, bytes: u64) {
        *self.used = self.used.saturating_sub(bytes);
    }

    /// Notes what a change made of a file's content.
    pub(crate) fn changed(&mut self, before: &Stat, after: &Stat) {
        self.add(content(after));
        self.take_off(content(before));
    }
}

impl Folder {
    pub(crate) fn new(
        id: VolumeId,
        root: OwnedFd,
        refuse: Arc<OwnedFd>,
        mark_key: [u8; 32],
        limit_bytes: u64,
        turns: Turns,
    ) -> Self {
        Self {
            id,
            root,
            refuse,
            mark_key,
            limit_bytes,
            used: Mutex::default(),
            gone: AtomicBool::new(false),
            turns,
        }
    }

    /// Which it is.
    pub fn id(&self) -> VolumeId {
        self.id
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }

    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Where what is half made and what is to go lies.
    pub(crate) fn refuse(&self) -> &OwnedFd {
        &self.refuse
    }

    /// Makes the marks on handles.
    pub(crate) fn mark_key(&self) -> &[u8; 32] {
        &self.mark_key
    }

    /// Nothing is found in it any more.
    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }

    pub(crate) fn check_there(&self) -> io::Result<()> {
        if self.gone.load(Ordering::Acquire) {
            return Err(Errno::STALE.into());
        }
        Ok(())
    }

    /// Bytes in use and bytes that may be. Blocks.
    pub fn usage(&self) -> io::Result<(u64, u64)> {
        self.with_books(|books| Ok((*books.used, books.limit)))
    }

    /// Does something that changes what the volume holds. One at a time.
    pub(crate) fn with_books<T>(&self, work: impl FnOnce(&mut Books<'_>) -> io::Result<T>) -> io::Result<T> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_there()?;
        let used = match &mut *used {
            Some(used) => used,
            none => none.insert(count(&self.root)?),
        };
        work(&mut Books {
            used,
            limit: self.limit_bytes,
            root: &self.root,
        })
    }

    /// Opens what a path names. Links on the way lead to where they do below the root.
    pub(crate) fn open(&self, path: &VolumePath, flags: OFlags) -> io::Result<OwnedFd> {
        self.check_there()?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let path = path.relative();
        for _ in 0..TRIES {
            match openat2(
                &self.root,
                path.as_str(),
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                resolve,
            ) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => return Ok(opened?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Opens a folder that a path names.
    pub(crate) fn open_folder(&self, path: &VolumePath) -> io::Result<OwnedFd> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }
}
