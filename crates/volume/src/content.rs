//! Files of a volume by their paths, for clients of the API. Everything here blocks.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fchmod, fchown, fstat, fsync, mkdirat, openat,
        readlinkat, renameat, statat, unlinkat,
    },
    io::Errno,
};

use crate::{
    folder::Folder,
    path::VolumePath,
    purge::{fresh_name, purge},
    usage::{ENTRY_BYTES, cost, freed_by_removal},
};

/// Whose a file is that nobody gave to somebody: the first ordinary user of a guest.
const OWNER: u32 = 1000;
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;
const MODE_BITS: u32 = 0o7777;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Directory,
    /// A link by name.
    Symlink,
    /// Something else, which was not made here.
    Unknown,
}

/// An entry of a volume. Times are seconds and nanoseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name; `/` of the root.
    pub name: String,
    /// Its path from the volume's root.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// In bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When it was last read.
    pub accessed: (i64, u32),
    /// When its content was last changed.
    pub modified: (i64, u32),
    /// When anything of it was last changed.
    pub changed: (i64, u32),
    /// Where a link leads, by its text.
    pub target: Option<String>,
}

/// What is to be set of an entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// Its user.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
    /// Permission bits.
    pub mode: Option<u32>,
}

impl Folder {
    /// What is at the path; a link is not followed.
    pub fn stat(&self, path: &VolumePath) -> io::Result<Entry> {
        let Some(name) = path.name() else {
            return Ok(entry("/", "/".to_owned(), &fstat(self.root())?, None));
        };
        let folder = self.open_folder(&path.parent())?;
        read_entry(&folder, &c_name(name)?, path.to_string())
    }

    /// Makes a folder; with `parents` those above it as well, and then one that is there is fine.
    pub fn make_dir(&self, path: &VolumePath, changes: Changes, parents: bool) -> io::Result<Entry> {
        let Some(name) = path.name() else {
            return if parents {
                self.stat(path)
            } else {
                Err(Errno::EXIST.into())
            };
        };
        if parents {
            self.make_parents(path)?;
        }
        let folder = self.open_folder(&path.parent())?;
        let made = self.make_one(&folder, &c_name(name)?, changes);
        match made {
            Err(error) if parents && error.kind() == io::ErrorKind::AlreadyExists => {
                let there = self.stat(path)?;
                if there.kind == EntryKind::Directory {
                    Ok(there)
                } else {
                    Err(error)
                }
            }
            made => made.and_then(|()| self.stat(path)),
        }
    }

    fn make_parents(&self, path: &VolumePath) -> io::Result<()> {
        let mut at = VolumePath::default();
        for name in path.parent().names() {
            let folder = self.open_folder(&at)?;
            match self.make_one(&folder, &c_name(name)?, Changes::default()) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => at = at.join(name),
            }
        }
        Ok(())
    }

    fn make_one(&self, folder: &OwnedFd, name: &CStr, changes: Changes) -> io::Result<()> {
        self.with_books(|books| {
            books.check(2 * ENTRY_BYTES)?;
            mkdirat(folder, name, Mode::from_raw_mode(FOLDER_MODE))?;
            let made = openat(
                folder,
                name,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            set(&made, changes.or(OWNER, OWNER, FOLDER_MODE))?;
            books.add(cost(&fstat(&made)?));
            Ok(())
        })
    }

    /// Changes user, group, mode. Of a link only user and group.
    pub fn change(&self, path: &VolumePath, changes: Changes) -> io::Result<Entry> {
        let entry = self.stat(path)?;
        if let (EntryKind::Symlink, Some(name)) = (entry.kind, path.name()) {
            let folder = self.open_folder(&path.parent())?;
            chownat(
                &folder,
                name,
                changes.uid.map(Uid::from_raw),
                changes.gid.map(Gid::from_raw),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        } else {
            set(
                &self.open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?,
                changes,
            )?;
        }
        self.stat(path)
    }

    /// Removes what is at the path, with all that is in it. It is gone at once.
    pub fn remove(&self, path: &VolumePath) -> io::Result<()> {
        let moved = self.move_away(path)?;
        let (freed, purged) = self.purge(&moved);
        self.take_off(freed)?;
        purged
    }

    /// Moves what is at the path to what is to go, where it is called so.
    pub(crate) fn move_away(&self, path: &VolumePath) -> io::Result<CString> {
        let name = path.name().ok_or(Errno::BUSY)?;
        let folder = self.open_folder(&path.parent())?;
        let moved = fresh_name();
        renameat(&folder, name, self.refuse(), &moved)?;
        Ok(moved)
    }

    /// Removes what is to go. How many bytes went, and whether all did. Without the books, which others want meanwhile.
    pub(crate) fn purge(&self, moved: &CStr) -> (u64, io::Result<()>) {
        let mut freed = 0_u64;
        let purged = purge(self.refuse(), moved, &mut |bytes| freed = freed.saturating_add(bytes));
        (freed, purged)
    }

    pub(crate) fn take_off(&self, freed: u64) -> io::Result<()> {
        self.with_books(|books| {
            books.take_off(freed);
            Ok(())
        })
    }

    /// Opens a file to be read; its length comes with it.
    pub fn read(&self, path: &VolumePath) -> io::Result<(File, u64)> {
        // Not for ever, should it be a pipe that somebody put there.
        let file = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stat = fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((File::from(file), size(&stat))),
            FileType::Directory => Err(Errno::ISDIR.into()),
            _ => Err(Errno::INVAL.into()),
        }
    }

    /// Begins a file. It is seen at its path once all of it is there.
    pub fn upload(self: &Arc<Self>, path: VolumePath, changes: Changes, parents: bool) -> io::Result<Upload> {
        path.name().ok_or(Errno::ISDIR)?;
        if parents {
            self.make_parents(&path)?;
        }
        self.open_folder(&path.parent())?;
        let name = fresh_name();
        self.with_books(|books| books.check(ENTRY_BYTES))?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(self.refuse(), &name, flags, Mode::RUSR | Mode::WUSR)?;
        self.with_books(|books| {
            books.add(ENTRY_BYTES);
            Ok(())
        })?;
        Ok(Upload {
            folder: Arc::clone(self),
            file: File::from(file),
            name,
            path,
            changes,
            placed: false,
        })
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct Upload {
    folder: Arc<Folder>,
    file: File,
    name: CString,
    path: VolumePath,
    changes: Changes,
    placed: bool,
}

impl Upload {
    /// Adds to it.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = &mut self.file;
        self.folder.with_books(|books| {
            books.check(bytes.len() as u64)?;
            let before = fstat(&*file)?;
            let written = file.write_all(bytes);
            books.changed(&before, &fstat(&*file)?);
            written
        })
    }

    /// Puts it at its path, in place of the file that is there, whose user, group and mode it takes over where nobody said otherwise.
    pub fn finish(mut self) -> io::Result<Entry> {
        let name = c_name(self.path.name().unwrap_or_default())?;
        let parent = self.folder.open_folder(&self.path.parent())?;
        fsync(&self.file)?;
        let replaced = self.folder.with_books(|books| {
            let there = match statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(stat),
                Err(Errno::NOENT) => None,
                Err(error) => return Err(error.into()),
            };
            let kind = there.as_ref().map(|stat| FileType::from_raw_mode(stat.st_mode));
            if kind == Some(FileType::Directory) {
                return Err(Errno::ISDIR.into());
            }
            let like = there.as_ref().filter(|_| kind == Some(FileType::RegularFile));
            let changes = match like {
                Some(stat) => self.changes.or(stat.st_uid, stat.st_gid, stat.st_mode & MODE_BITS),
                None => self.changes.or(OWNER, OWNER, FILE_MODE),
            };
            set(&self.file, changes)?;
            renameat(self.folder.refuse(), &self.name, &parent, &name)?;
            if let Some(stat) = there {
                books.take_off(freed_by_removal(&stat));
            }
            Ok(())
        });
        replaced?;
        self.placed = true;
        read_entry(&parent, &name, self.path.to_string())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        let held = fstat(&self.file).map_or(ENTRY_BYTES, |stat| cost(&stat));
        // What stays is swept at the next start.
        let _ = unlinkat(self.folder.refuse(), &self.name, AtFlags::empty());
        let _ = self.folder.with_books(|books| {
            books.take_off(held);
            Ok(())
        });
    }
}

impl Changes {
    /// With what nobody asked for filled in.
    fn or(self, uid: u32, gid: u32, mode: u32) -> Self {
        Self {
            uid: self.uid.or(Some(uid)),
            gid: self.gid.or(Some(gid)),
            mode: self.mode.or(Some(mode)),
        }
    }
}

/// Mode after user: the kernel takes bits off when the user changes.
fn set(file: impl AsFd, changes: Changes) -> io::Result<()> {
    if changes.uid.is_some() || changes.gid.is_some() {
        fchown(&file, changes.uid.map(Uid::from_raw), changes.gid.map(Gid::from_raw))?;
    }
    if let Some(mode) = changes.mode {
        fchmod(&file, Mode::from_raw_mode(mode & MODE_BITS))?;
    }
    Ok(())
}

pub(crate) fn read_entry(folder: &OwnedFd, name: &CStr, path: String) -> io::Result<Entry> {
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Some(readlinkat(folder, name, Vec::new())?.to_string_lossy().into_owned()),
        _ => None,
    };
    Ok(entry(&name.to_string_lossy(), path, &stat, target))
}

fn entry(name: &str, path: String, stat: &Stat, target: Option<String>) -> Entry {
    let nanoseconds = |value| u32::try_from(value).unwrap_or(0);
    Entry {
        name: name.to_owned(),
        path,
        kind: match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Symlink,
            _ => EntryKind::Unknown,
        },
        size: size(stat),
        mode: stat.st_mode & MODE_BITS,
        uid: stat.st_uid,
        gid: stat.st_gid,
        accessed: (stat.st_atime, nanoseconds(stat.st_atime_nsec)),
        modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
        changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
        target,
    }
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn c_name(name: &str) -> io::Result<CString> {
    CString::new(name).map_err(io::Error::from)
}
