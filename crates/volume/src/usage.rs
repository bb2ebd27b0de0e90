//! What a volume holds, in bytes: of each entry what the file system keeps for it, and a share for the entry itself.

use std::{
    collections::HashSet,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, RawDir, Stat, openat, statat},
    io::Errno,
};

use crate::handle::KernelHandle;

/// What an entry costs beside its content, so that a volume of empty files has an end as well.
pub(crate) const ENTRY_BYTES: u64 = 4096;
/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// What a file or folder costs.
pub(crate) fn cost(stat: &Stat) -> u64 {
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        // Always the same: a folder grows by its entries, which are charged themselves, and never shrinks.
        return 2 * ENTRY_BYTES;
    }
    ENTRY_BYTES + content(stat)
}

/// What is free again once this name of it is gone.
pub(crate) fn freed_by_removal(stat: &Stat) -> u64 {
    let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if is_folder || stat.st_nlink <= 1 {
        cost(stat)
    } else {
        ENTRY_BYTES
    }
}

/// What its content costs.
pub(crate) fn content(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES)
}

/// Counts a tree. Folders are remembered by their handles, so that no tree is too deep for it. The content of a
/// file with several names counts once.
pub(crate) fn count(root: &OwnedFd) -> io::Result<u64> {
    let mut total = 0_u64;
    let mut folders = vec![KernelHandle::of(root)?];
    let mut linked = HashSet::new();
    let mut buffer = [MaybeUninit::uninit(); 8192];
    while let Some(folder) = folders.pop() {
        let folder = match folder.open(root, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(folder) => folder,
            // Gone meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ESTALE) => continue,
            Err(error) => return Err(error),
        };
        let mut listed = RawDir::new(&folder, &mut buffer);
        while let Some(entry) = listed.next() {
            let entry = entry?;
            let name = entry.file_name();
            if is_dot(name.to_bytes()) {
                continue;
            }
            let stat = match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let is_known = !is_folder && stat.st_nlink > 1 && !linked.insert(stat.st_ino);
            total = total.saturating_add(if is_known { ENTRY_BYTES } else { cost(&stat) });
            if is_folder {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match openat(&folder, name, flags, Mode::empty()) {
                    Ok(inner) => folders.push(KernelHandle::of(inner)?),
                    Err(Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(total)
}

/// The names of a folder, without `.` and `..`, as far as somebody wants them.
pub(crate) fn names(folder: impl AsFd) -> io::Result<impl Iterator<Item = io::Result<std::ffi::CString>>> {
    let entries = Dir::read_from(folder)?;
    Ok(entries.filter_map(|entry| match entry {
        Ok(entry) if is_dot(entry.file_name().to_bytes()) => None,
        Ok(entry) => Some(Ok(entry.file_name().to_owned())),
        Err(error) => Some(Err(error.into())),
    }))
}

/// Whether a name is `.` or `..`.
pub(crate) fn is_dot(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}
