//! Memories of snapshots that several machines go on from: read, compared and sealed once, and then shared.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hearth_driver::memory::SealedMemory;
use hearth_ids::SnapshotId;
use tokio::sync::OnceCell;

use super::{
    folder::{Folder, MEMORY},
    hash::SparseHasher,
    manifest::SnapshotError,
};
use crate::services::blocking;

/// The memories that are held, up to so many bytes; those that were not used for the longest time go first. What a VMM
/// maps lives on until the VMM ends.
#[derive(Debug)]
pub(crate) struct Memories {
    bytes_max: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by_snapshot: HashMap<SnapshotId, Entry>,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    memory: Arc<OnceCell<Arc<SealedMemory>>>,
    bytes: u64,
    used: u64,
}

impl Memories {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            held: Mutex::default(),
        }
    }

    /// The memory of a snapshot. Many who want the same one wait for one reading.
    pub(crate) async fn of(&self, folder: &Folder) -> Result<Arc<SealedMemory>, SnapshotError> {
        let id = folder.info().id;
        let cell = self.cell(id, folder.manifest.part(MEMORY)?.data_bytes);
        let read = async {
            let folder = folder.clone();
            blocking(move || seal(&folder)).await.map(Arc::new)
        };
        let memory = cell.get_or_try_init(|| read).await;
        if memory.is_err() {
            self.forget(id);
        }
        memory.map(Arc::clone)
    }

    /// A memory that nobody will go on from any more.
    pub(crate) fn forget(&self, id: SnapshotId) {
        self.held().by_snapshot.remove(&id);
    }

    fn cell(&self, id: SnapshotId, bytes: u64) -> Arc<OnceCell<Arc<SealedMemory>>> {
        let mut held = self.held();
        held.uses += 1;
        let used = held.uses;
        let entry = held.by_snapshot.entry(id).or_insert_with(|| Entry {
            memory: Arc::default(),
            bytes,
            used,
        });
        entry.used = used;
        let cell = Arc::clone(&entry.memory);
        held.shrink_to(self.bytes_max, id);
        cell
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn shrink_to(&mut self, bytes_max: u64, keep: SnapshotId) {
        let mut bytes: u64 = self.by_snapshot.values().map(|entry| entry.bytes).sum();
        while bytes > bytes_max {
            let others = self.by_snapshot.iter().filter(|(id, _)| **id != keep);
            let Some(oldest) = others.min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id) else {
                return;
            };
            bytes -= self.by_snapshot.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
    }
}

fn seal(folder: &Folder) -> Result<SealedMemory, SnapshotError> {
    let file = folder.open_memory()?;
    let mut hasher = SparseHasher::new();
    let sealed = SealedMemory::copy_of(&file, |at, data| hasher.update(at, data));
    let sealed = sealed.map_err(SnapshotError::io(path_of(folder).display().to_string()))?;
    folder.compare(MEMORY, &hasher.finish().0)?;
    Ok(sealed)
}

fn path_of(folder: &Folder) -> PathBuf {
    folder.files().memory
}
