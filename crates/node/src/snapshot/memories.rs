//! Memories of snapshots that several machines go on from: read, compared and sealed once, and then shared.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use hearth_driver::memory::SealedMemory;
use hearth_ids::SnapshotId;
use tokio::{runtime::Handle, sync::OnceCell, time::sleep};

use super::{
    folder::{Folder, MEMORY},
    hash::SparseHasher,
    manifest::SnapshotError,
};
use crate::services::blocking;

/// A memory of a snapshot that is no more, of which machines are still to go on, stays for so long after the last of them.
const LINGER: Duration = Duration::from_secs(5);

type Cell = OnceCell<Arc<SealedMemory>>;

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
    /// Those of snapshots that are no more, while somebody goes on from them.
    passing: HashMap<SnapshotId, Weak<Cell>>,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    memory: Arc<Cell>,
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

    /// The memory of a snapshot, which `is_there`, or from which some of those that were made of it are still to go on. Many who
    /// want the same one wait for one reading.
    pub(crate) async fn of(&self, folder: &Folder, is_there: bool) -> Result<Arc<SealedMemory>, SnapshotError> {
        let id = folder.info().id;
        let cell = if is_there {
            self.cell(id, folder.manifest.part(MEMORY)?.data_bytes)
        } else {
            self.passing_cell(id)
        };
        let read = async {
            let folder = folder.clone();
            blocking(move || seal(&folder)).await.map(Arc::new)
        };
        let memory = cell.get_or_try_init(|| read).await;
        if memory.is_err() {
            self.forget(id);
        }
        let memory = memory.map(Arc::clone);
        if !is_there {
            linger(cell);
        }
        memory
    }

    /// A memory of a snapshot that is no more. Those who are about to go on from it share it still.
    pub(crate) fn forget(&self, id: SnapshotId) {
        let mut held = self.held();
        if let Some(entry) = held.by_snapshot.remove(&id) {
            held.passing.insert(id, Arc::downgrade(&entry.memory));
            linger(entry.memory);
        }
    }

    fn passing_cell(&self, id: SnapshotId) -> Arc<Cell> {
        let mut held = self.held();
        held.passing.retain(|_, cell| cell.strong_count() > 0);
        if let Some(cell) = held.passing.get(&id).and_then(Weak::upgrade) {
            return cell;
        }
        let cell = Arc::default();
        held.passing.insert(id, Arc::downgrade(&cell));
        cell
    }

    fn cell(&self, id: SnapshotId, bytes: u64) -> Arc<Cell> {
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

/// Holds a memory for a while.
fn linger(cell: Arc<Cell>) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            sleep(LINGER).await;
            drop(cell);
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_shared_by_those_who_need_it_and_held_by_nobody_else() {
        let memories = Memories::new(100);
        let (id, other) = (SnapshotId::new(), SnapshotId::new());
        let needed = memories.cell(id, 60);
        memories.forget(id);
        assert!(Arc::ptr_eq(&memories.passing_cell(id), &needed));
        // It counts for nothing any more.
        drop(memories.cell(other, 60));
        assert_eq!(memories.held().by_snapshot.len(), 1);
        let gone = Arc::downgrade(&needed);
        drop(needed);
        assert!(gone.upgrade().is_none());
        let anew = memories.passing_cell(id);
        assert!(anew.get().is_none());
        drop(anew);
        drop(memories.passing_cell(other));
        assert_eq!(memories.held().passing.len(), 1, "those of before are forgotten");
    }
}
