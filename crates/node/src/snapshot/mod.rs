//! The snapshots of a node.
//!
//! ```text
//! snapshots/<id>/manifest.json   what it is; see [`manifest`]
//!                manifest.mac    that this node has written that
//!                memory          of the guest, with holes
//!                devices         in the VMM's own format
//!                disk            the machine's own disk, if it had one
//! ```
//!
//! One of the disk alone has neither memory nor devices: what is made of it boots.
//!
//! A folder appears whole and vanishes whole, as a machine's does, and nothing in it is ever changed. A machine that is
//! paused on disk has such a folder of its own, `saved`, without a disk: its disk is where it was. A machine that is to go
//! on from a snapshot has one as well, whose files are the snapshot's under further names.

mod folder;
mod hash;
mod key;
mod manifest;
mod memories;
mod staged;

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

pub(crate) use folder::{DEVICES, DISK, Draft, Folder, MEMORY};
use hearth_domain::MachineSpec;
use hearth_driver::VmmIdentity;
use hearth_ids::SnapshotId;
use hearth_node_api::{ErrorKind, SnapshotInfo};
pub(crate) use key::NodeKey;
pub(crate) use manifest::{Manifest, SnapshotError};
pub(crate) use memories::Memories;
pub(crate) use staged::{PARENTS_MAX, Staged, Take};

use crate::files::remove_tree;

/// What a snapshot is known as: whole, or why it is of no use.
type Known = Result<Arc<Folder>, Arc<str>>;

/// The snapshots that a node has.
pub(crate) struct Snapshots {
    dir: PathBuf,
    pub(crate) key: NodeKey,
    pub(crate) memories: Memories,
    known: RwLock<HashMap<SnapshotId, Known>>,
}

impl Snapshots {
    /// Opens the folder and looks at what is in it. What was half made or half removed is cleared away.
    pub(crate) fn open(state_dir: &Path, memory_bytes_max: u64) -> io::Result<Self> {
        let dir = state_dir.join("snapshots");
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        let key = NodeKey::open(state_dir)?;
        let mut known = HashMap::new();
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let id = path
                .file_name()
                .and_then(|name| name.to_str()?.parse::<SnapshotId>().ok());
            let Some(id) = id else {
                if let Err(error) = remove_tree(&path) {
                    tracing::warn!(path = %path.display(), %error, "cannot clear away what was half made");
                }
                continue;
            };
            known.insert(id, look_at(id, &path, &key));
        }
        Ok(Self {
            dir,
            key,
            memories: Memories::new(memory_bytes_max),
            known: RwLock::new(known),
        })
    }

    pub(crate) fn path_of(&self, id: SnapshotId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// Where something is put together under a name that no snapshot has.
    pub(crate) fn workplace(&self, what: &str, whose: impl std::fmt::Display) -> PathBuf {
        self.dir.join(format!(".{what}-{whose}"))
    }

    /// A snapshot, if there is one. The error says why it is of no use.
    pub(crate) fn get(&self, id: SnapshotId) -> Option<Known> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).cloned()
    }

    /// Takes up one that was just finished.
    pub(crate) fn add(&self, id: SnapshotId) -> Known {
        let found = look_at(id, &self.path_of(id), &self.key);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(id, found.clone());
        found
    }

    /// All that are of use.
    pub(crate) fn all(&self) -> Vec<SnapshotInfo> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().flatten().map(|folder| folder.info().clone()).collect()
    }

    /// All there are, whatever their state.
    pub(crate) fn ids(&self) -> Vec<SnapshotId> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.keys().copied().collect()
    }

    /// Removes one. From the first moment on nobody finds it. Blocks.
    pub(crate) fn remove(&self, id: SnapshotId) -> io::Result<()> {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.memories.forget(id);
        let going = self.workplace("going", id);
        match fs::rename(self.path_of(id), &going) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        crate::fault::point("snapshot.going");
        remove_tree(&going)
    }
}

fn look_at(id: SnapshotId, path: &Path, key: &NodeKey) -> Known {
    let opened = Folder::open(path, key).and_then(|folder| {
        folder.check_lengths()?;
        // A folder that was given another's name.
        let named = folder.info().id;
        if named == id {
            return Ok(Arc::new(folder));
        }
        Err(SnapshotError::Stranger(format!("its manifest is that of {named}")))
    });
    opened.map_err(|error| {
        let why = hearth_driver::chain(&error);
        tracing::error!(snapshot = %id, error = why, "the snapshot is of no use");
        why.into()
    })
}

/// A disk that is full is no fault of the snapshot.
pub(crate) fn kind_of(error: &SnapshotError) -> ErrorKind {
    match error {
        SnapshotError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::NoCapacity,
        SnapshotError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Conflict,
    }
}

/// Why a machine of a snapshot's shape cannot go on here; none if it can.
pub(crate) fn check_identity(saved: &SnapshotInfo, here: &VmmIdentity) -> Result<(), SnapshotError> {
    let there = VmmIdentity {
        version: saved.vmm_version.clone(),
        accelerator: saved.accelerator.clone(),
        cpu_features: saved.cpu_features.clone(),
    };
    here.cannot_restore(&there)
        .map_or(Ok(()), |reason| Err(SnapshotError::Stranger(reason)))
}

/// Whether a machine has the shape that a snapshot's memory and devices were saved in; the error names the first field that
/// differs, with both values.
pub(crate) fn check_shape(saved: &MachineSpec, wanted: &MachineSpec) -> Result<(), SnapshotError> {
    let shape = |spec: &MachineSpec| {
        let mut shape = disk_shape(spec);
        shape.extend([
            ("kernel", spec.kernel_id.clone()),
            ("driver", spec.driver.to_string()),
            ("cpus", spec.resources.vcpus.to_string()),
            ("memory", format!("{} MiB", spec.resources.memory_mib)),
        ]);
        shape
    };
    refuse_difference(shape(saved), shape(wanted), "a machine goes on as it was")
}

/// Whether a machine can boot with a copy of a disk. What runs it is its own; what the disk lies over is not.
pub(crate) fn check_disk_shape(saved: &MachineSpec, wanted: &MachineSpec) -> Result<(), SnapshotError> {
    let why = "a disk holds what was written over its own image, and never gets smaller";
    let (is, mut wants) = (disk_shape(saved), disk_shape(wanted));
    if saved.resources.disk_mib.is_some() && wanted.resources.disk_mib > saved.resources.disk_mib {
        wants.extend(is.get_key_value("disk").map(|(name, size)| (*name, size.clone())));
    }
    refuse_difference(is, wants, why)
}

/// A machine's fields by their names, as they can be shown.
type Shape = BTreeMap<&'static str, String>;

fn disk_shape(spec: &MachineSpec) -> Shape {
    let disk = spec
        .resources
        .disk_mib
        .map_or_else(|| "none".to_owned(), |disk| format!("{disk} MiB"));
    BTreeMap::from([
        ("image", spec.image_id.clone()),
        ("layers", spec.layers.join(",")),
        ("disk", disk),
    ])
}

fn refuse_difference(saved: Shape, wanted: Shape, why: &str) -> Result<(), SnapshotError> {
    let differs = saved.into_iter().zip(wanted).find(|(is, wanted)| is != wanted);
    differs.map_or(Ok(()), |((field, is), (_, wanted))| {
        let message = format!("{field} is {wanted:?}, and {is:?} in the snapshot: {why}");
        Err(SnapshotError::Stranger(message))
    })
}

#[cfg(test)]
mod tests;
