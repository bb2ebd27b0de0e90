//! Removing trees that hostile programs have made: as deep as there was room for.
//!
//! What is to go lies in the folder for refuse, where nobody sees it any more. A folder that is met too deep is moved up there, so that
//! never more than some files are open, and nothing is called by itself.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, openat, renameat, statat, unlinkat},
    io::Errno,
};

use crate::usage::{freed_by_removal, names};

/// Folders that are open at once.
const DEPTH: usize = 32;
/// How often a folder is found filled again by whoever had it open, before that is a failure.
const REFILLED_MAX: u32 = 100;
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A name that nothing in the folder for refuse has.
pub(crate) fn fresh_name() -> CString {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{:016x}-{number}", rand::random::<u64>());
    CString::new(name).unwrap_or_default()
}

/// Removes what has the name in the folder for refuse. `freed` is told what each entry gave back, in bytes.
pub(crate) fn purge(refuse: &OwnedFd, name: &CStr, freed: &mut dyn FnMut(u64)) -> io::Result<()> {
    let mut waiting = vec![name.to_owned()];
    while let Some(name) = waiting.pop() {
        purge_one(refuse, name, &mut waiting, freed)?;
    }
    Ok(())
}

/// A folder on the way down: its name in the one above.
struct Level {
    name: CString,
    folder: OwnedFd,
}

fn purge_one(
    refuse: &OwnedFd,
    name: CString,
    waiting: &mut Vec<CString>,
    freed: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let Some(top) = unlink_or_open(refuse, &name, freed)? else {
        return Ok(());
    };
    let mut levels = vec![Level { name, folder: top }];
    let mut refilled = 0;
    while let Some(level) = levels.last() {
        let mut deeper = None;
        for entry in names(&level.folder)? {
            let entry = entry?;
            let Some(folder) = unlink_or_open(&level.folder, &entry, freed)? else {
                continue;
            };
            if levels.len() < DEPTH {
                deeper = Some(Level { name: entry, folder });
                break;
            }
            let moved = fresh_name();
            renameat(&level.folder, &entry, refuse, &moved)?;
            waiting.push(moved);
        }
        if let Some(deeper) = deeper {
            levels.push(deeper);
            continue;
        }
        let Some(done) = levels.pop() else { break };
        let above = levels.last().map_or(refuse.as_fd(), |level| level.folder.as_fd());
        let stat = rustix::fs::fstat(&done.folder)?;
        match unlinkat(above, &done.name, AtFlags::REMOVEDIR) {
            Ok(()) => freed(freed_by_removal(&stat)),
            Err(Errno::NOENT) => {}
            // Somebody who had it open has put something in.
            Err(Errno::NOTEMPTY) if refilled < REFILLED_MAX => {
                refilled += 1;
                levels.push(done);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Removes what is no folder; opens what is one.
fn unlink_or_open(above: impl AsFd, name: &CStr, freed: &mut dyn FnMut(u64)) -> io::Result<Option<OwnedFd>> {
    let stat = match statat(&above, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        return Ok(Some(openat(above, name, flags, Mode::empty())?));
    }
    match unlinkat(above, name, AtFlags::empty()) {
        Ok(()) => freed(freed_by_removal(&stat)),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{mkdirat, open};

    use super::*;

    #[test]
    fn the_deepest_tree_goes() {
        let folder = tempfile::tempdir().unwrap();
        let root = open(folder.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let mut at = rustix::io::dup(&root).unwrap();
        for _ in 0..3000 {
            mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = openat(&at, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        fs::write(folder.path().join("d/file"), "x").unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("d/link")).unwrap();
        let mut entries = 0;
        purge(&root, c"d", &mut |_| entries += 1).unwrap();
        assert_eq!(entries, 3002);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(fs::metadata("/etc").is_ok());
    }
}
