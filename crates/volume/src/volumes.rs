//! All volumes of a node: made, found, removed.
//!
//! `<folder>/<volume's ID>/` is a volume. `<folder>/tmp/` holds what is half made and what is to go, and is emptied at each start.

use std::{
    collections::{HashMap, HashSet},
    ffi::CString,
    fs, io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use hearth_ids::VolumeId;
use rustix::{
    fs::{AtFlags, Mode, OFlags, chmodat, fsync, mkdirat, open, openat, renameat},
    io::Errno,
};
use thiserror::Error;
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::{
    folder::Folder,
    handle::KernelHandle,
    purge::{fresh_name, purge},
    turns::{Shared, Turns},
};

const REFUSE: &str = "tmp";
const MARK_CONTEXT: &str = "hearth 2026-11 marks on handles of volumes";
/// Any user of a guest may begin in a volume.
const ROOT_MODE: u32 = 0o777;

/// Why volumes are not to be had.
#[derive(Debug, Error)]
pub enum VolumeError {
    /// The host refused.
    #[error("cannot {step} of volumes {}", folder.display())]
    Host {
        /// What was being done.
        step: &'static str,
        /// Where they lie.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The volumes of a node.
#[derive(Debug)]
pub struct Volumes {
    path: PathBuf,
    top: OwnedFd,
    refuse: Arc<OwnedFd>,
    mark_key: [u8; 32],
    limit_bytes: u64,
    /// Turns that all of them share.
    turns: Shared,
    open: Mutex<HashMap<VolumeId, Arc<Folder>>>,
}

impl Volumes {
    /// Opens the folder of volumes, makes it if there is none, and sweeps out what was cut off. `secret` is this node's alone and stays
    /// the same. Each volume may hold `limit_bytes`. Blocks.
    pub fn open(path: &Path, secret: &[u8], limit_bytes: u64) -> Result<Self, VolumeError> {
        let failed = |step| {
            move |source: io::Error| VolumeError::Host {
                step,
                folder: path.to_owned(),
                source,
            }
        };
        fs::create_dir_all(path.join(REFUSE)).map_err(failed("make the folder"))?;
        // Nobody else on the host has a way in: what guests call set-user-ID is to mean nothing here.
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(path, private).map_err(failed("close the folder"))?;
        let top = open_folder(path).map_err(failed("open the folder"))?;
        let refuse = open_folder(&path.join(REFUSE)).map_err(failed("open the folder"))?;
        let volumes = Self {
            path: path.to_owned(),
            top,
            refuse: Arc::new(refuse),
            mark_key: blake3::derive_key(MARK_CONTEXT, secret),
            limit_bytes,
            turns: Shared::new(),
            open: Mutex::default(),
        };
        volumes.empty_refuse().map_err(failed("sweep the folder"))?;
        Ok(volumes)
    }

    /// Bytes that each may hold.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Makes a volume. Idempotent. Blocks.
    pub fn create(&self, id: VolumeId) -> Result<(), VolumeError> {
        let make = || -> io::Result<()> {
            // A file system that cannot say what a file is called for good is found out now.
            KernelHandle::of(&self.top)?;
            let name = fresh_name();
            mkdirat(&*self.refuse, &name, Mode::RWXU)?;
            chmodat(&*self.refuse, &name, Mode::from_raw_mode(ROOT_MODE), AtFlags::empty())?;
            match renameat(&*self.refuse, &name, &self.top, id.to_string()) {
                // It is there.
                Err(Errno::NOTEMPTY | Errno::EXIST) => purge(&self.refuse, &name, &mut |_| {})?,
                renamed => renamed?,
            }
            Ok(fsync(&self.top)?)
        };
        make().map_err(self.failed("make one in the folder"))
    }

    /// A volume that is there. Blocks.
    pub fn get(&self, id: VolumeId) -> Result<Option<Arc<Folder>>, VolumeError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = open.get(&id) {
            return Ok(Some(Arc::clone(folder)));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = match openat(&self.top, id.to_string(), flags, Mode::empty()) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.failed("open one in the folder")(error.into())),
        };
        let refuse = Arc::clone(&self.refuse);
        let turns = Turns::new(self.turns.clone());
        let folder = Arc::new(Folder::new(id, root, refuse, self.mark_key, self.limit_bytes, turns));
        open.insert(id, Arc::clone(&folder));
        Ok(Some(folder))
    }

    /// Removes a volume for everybody at once, with all that is in it, which takes its time. Idempotent. Blocks.
    pub fn remove(&self, id: VolumeId) -> Result<(), VolumeError> {
        let removed = match self.take_away(id) {
            Ok(Some(name)) => purge(&self.refuse, &name, &mut |_| {}),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        removed.map_err(self.failed("remove one from the folder"))
    }

    /// Removes a volume for everybody at once; what is in it when its turn has come. Idempotent.
    pub async fn remove_slowly(self: &Arc<Self>, id: VolumeId) -> Result<(), VolumeError> {
        let failed = self.failed("remove one from the folder");
        let volumes = Arc::clone(self);
        let moved = spawn_blocking(move || volumes.take_away(id))
            .await
            .map_err(io::Error::other);
        let Some(moved) = moved.flatten().map_err(&failed)? else {
            return Ok(());
        };
        let refuse = Arc::clone(&self.refuse);
        let purged = self.turns.removal(move || purge(&refuse, &moved, &mut |_| {})).await;
        purged.flatten().map_err(failed)
    }

    /// Moves a volume to what is to go, where it is called so.
    fn take_away(&self, id: VolumeId) -> io::Result<Option<CString>> {
        let name = fresh_name();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = open.remove(&id) {
            folder.set_gone();
        }
        match renameat(&self.top, id.to_string(), &*self.refuse, &name) {
            Err(Errno::NOENT) => return Ok(None),
            moved => moved?,
        }
        fsync(&self.top)?;
        Ok(Some(name))
    }

    /// Removes the volumes that nobody knows of. Blocks.
    pub fn keep_only(&self, known: &HashSet<VolumeId>) -> Result<(), VolumeError> {
        let entries = fs::read_dir(&self.path).map_err(self.failed("list the folder"))?;
        for entry in entries {
            let entry = entry.map_err(self.failed("list the folder"))?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.parse::<VolumeId>().ok());
            if let Some(id) = id.filter(|id| !known.contains(id)) {
                self.remove(id)?;
            }
        }
        Ok(())
    }

    fn empty_refuse(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.path.join(REFUSE))? {
            let name = CString::new(entry?.file_name().into_encoded_bytes())?;
            if let Err(error) = purge(&self.refuse, &name, &mut |_| {}) {
                warn!(%error, "what is left of a volume stays until the next start");
            }
        }
        Ok(())
    }

    fn failed(&self, step: &'static str) -> impl Fn(io::Error) -> VolumeError {
        move |source| VolumeError::Host {
            step,
            folder: self.path.clone(),
            source,
        }
    }
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}
