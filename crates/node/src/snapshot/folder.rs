//! A folder that a machine can go on from: a VMM's memory and devices, perhaps the machine's disk, and the manifest; or that
//! one can boot with: the disk and the manifest.
//!
//! It is made under another name and renamed, so what has its name is whole.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use hearth_driver::{SavedState, sparse};
use hearth_node_api::{SnapshotInfo, SnapshotPart};

use super::{
    hash,
    key::NodeKey,
    manifest::{MANIFEST, MARK, Manifest, SnapshotError},
    staged::Take,
};
use crate::files::{remove_tree, sync_folder};

pub(crate) const MEMORY: &str = "memory";
pub(crate) const DEVICES: &str = "devices";
pub(crate) const DISK: &str = "disk";

/// A folder that is being filled. Dropped before it is finished, it is removed.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    finished: bool,
}

impl Draft {
    /// An empty one that nobody else can look into. What an earlier try left there is removed.
    pub(crate) fn new(path: PathBuf) -> io::Result<Self> {
        remove_tree(&path)?;
        fs::create_dir(&path)?;
        let draft = Self { path, finished: false };
        fs::set_permissions(&draft.path, fs::Permissions::from_mode(0o700))?;
        Ok(draft)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Copies a machine's disk into it: its blocks are shared where the file system does that.
    pub(crate) fn add_disk(&self, disk: &Path) -> io::Result<()> {
        sparse::copy_file(disk, &self.path.join(DISK))
    }

    /// Hashes what is in it, writes the manifest, and gives it its name once all of that is on disk. Blocks.
    pub(crate) fn finish(mut self, manifest: &mut Manifest, key: &NodeKey, name: &Path) -> io::Result<()> {
        let parts = [MEMORY, DEVICES, DISK].into_iter();
        let there = parts.filter(|part| self.path.join(part).exists());
        manifest.info.parts = there.map(|part| self.measure(part)).collect::<io::Result<_>>()?;
        manifest.write(&self.path, key)?;
        sync_folder(&self.path)?;
        crate::fault::point("snapshot.written");
        fs::rename(&self.path, name)?;
        self.finished = true;
        name.parent().map_or(Ok(()), sync_folder)
    }

    fn measure(&self, part: &str) -> io::Result<SnapshotPart> {
        let file = File::open(self.path.join(part))?;
        file.sync_all()?;
        let (hash, data_bytes) = hash::of_file(&file)?;
        Ok(SnapshotPart {
            name: part.to_owned(),
            bytes: file.metadata()?.len(),
            data_bytes,
            hash,
        })
    }

    /// Moves it, as it is, to where its content is used.
    pub(crate) fn place(mut self, at: &Path) -> io::Result<()> {
        fs::rename(&self.path, at)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = remove_tree(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove what was half made");
        }
    }
}

/// A folder that is whole, with what its manifest says.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
    pub(crate) manifest: Manifest,
    /// The disk's file as it was when its content was last compared.
    disk_seen: Arc<Mutex<Option<Stamp>>>,
}

/// A file that was not written since has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    /// Unlike the time before, nobody sets it.
    changed: (i64, i64),
}

impl Folder {
    /// Opens a folder that this node has made, and reads nothing of it but the manifest.
    pub(crate) fn open(path: &Path, key: &NodeKey) -> Result<Self, SnapshotError> {
        Ok(Self {
            path: path.to_owned(),
            manifest: Manifest::read(path, key)?,
            disk_seen: Arc::default(),
        })
    }

    /// Refuses a folder in which a part is missing, or has another length than it had.
    pub(crate) fn check_lengths(&self) -> Result<(), SnapshotError> {
        let parts = self.info().parts.iter();
        parts.into_iter().try_for_each(|part| self.open_part(part).map(drop))
    }

    pub(crate) fn info(&self) -> &SnapshotInfo {
        &self.manifest.info
    }

    pub(crate) fn files(&self) -> SavedState {
        SavedState::in_folder(&self.path)
    }

    /// A part's file, of the length that it had.
    fn open_part(&self, part: &SnapshotPart) -> Result<File, SnapshotError> {
        let path = self.path.join(&part.name);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
        let (meta, file) = opened.map_err(SnapshotError::io(path.display().to_string()))?;
        let (is, was) = (meta.len(), part.bytes);
        if meta.is_file() && is == was {
            return Ok(file);
        }
        Err(SnapshotError::Part {
            part: part.name.clone(),
            trouble: format!("has {is} bytes, and had {was} when it was made"),
        })
    }

    pub(crate) fn open_memory(&self) -> Result<File, SnapshotError> {
        self.open_part(self.manifest.part(MEMORY)?)
    }

    /// Reads a part whole, and compares it with what it was. Blocks.
    pub(crate) fn check(&self, name: &str) -> Result<(), SnapshotError> {
        let part = self.manifest.part(name)?;
        let file = self.open_part(part)?;
        let (hash, _) = hash::of_file(&file).map_err(SnapshotError::io(name))?;
        self.compare(name, &hash)
    }

    /// Lets a user map the memory; nobody else may go on from this folder.
    pub(crate) fn give_memory_to(&self, uid: u32) -> Result<(), SnapshotError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let memory = self.path.join(MEMORY);
        std::os::unix::fs::chown(memory, Some(uid), Some(uid)).map_err(SnapshotError::io(MEMORY))
    }

    /// Compares what was found of a part with what it was.
    pub(crate) fn compare(&self, name: &str, hash: &str) -> Result<(), SnapshotError> {
        if self.manifest.part(name)?.hash == hash {
            return Ok(());
        }
        Err(SnapshotError::Part {
            part: name.to_owned(),
            trouble: "is not what it was when it was made: it was changed, or its disk is failing".to_owned(),
        })
    }

    pub(crate) fn has_disk(&self) -> bool {
        self.manifest.part(DISK).is_ok()
    }

    /// Compares the disk's content, unless nobody has written to it since the last time. Blocks.
    fn check_disk(&self) -> Result<(), SnapshotError> {
        let meta = fs::metadata(self.path.join(DISK)).map_err(SnapshotError::io(DISK))?;
        let stamp = Stamp {
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        };
        let mut seen = self.disk_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen != Some(stamp) {
            self.check(DISK)?;
            *seen = Some(stamp);
        }
        Ok(())
    }

    /// All that a machine needs to begin here, in a folder of its own: the disk as a copy, and where it is to go on, the rest as further names of the same files, which nobody changes. So what becomes of this folder is no matter to it. Blocks.
    pub(crate) fn stage(&self, at: PathBuf, take: Take) -> Result<Draft, SnapshotError> {
        let io = |what: &'static str| SnapshotError::io(what);
        let staged = Draft::new(at).map_err(io("a folder for the machine"))?;
        let linked: &[&str] = if take == Take::Whole {
            &[MEMORY, DEVICES, MANIFEST, MARK]
        } else {
            &[]
        };
        for &name in linked {
            let (from, to) = (self.path.join(name), staged.path.join(name));
            // On a disk of their own, machines have copies.
            let linked = fs::hard_link(&from, &to).or_else(|error| match error.kind() {
                io::ErrorKind::CrossesDevices => sparse::copy_file(&from, &to),
                _ => Err(error),
            });
            linked.map_err(io(name))?;
        }
        if self.has_disk() {
            self.check_disk()?;
            staged.add_disk(&self.path.join(DISK)).map_err(io(DISK))?;
            let synced = OpenOptions::new()
                .write(true)
                .open(staged.path.join(DISK))
                .and_then(|disk| {
                    if let Take::Disk(bytes) = take
                        && disk.metadata()?.len() < bytes
                    {
                        // The guest's file system takes that up as it boots.
                        disk.set_len(bytes)?;
                    }
                    // As long as the record that relies on it.
                    disk.sync_all()
                });
            synced.and_then(|()| sync_folder(&staged.path)).map_err(io(DISK))?;
        }
        Ok(staged)
    }
}
