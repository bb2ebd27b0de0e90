//! What a machine is made of, put together for it alone.

use hearth_ids::SnapshotId;
use hearth_node_api::SnapshotInfo;

use super::Draft;

/// Snapshots that a machine remembers to have begun with.
pub(crate) const PARENTS_MAX: usize = 32;

/// What a machine takes of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    /// All of it.
    Whole,
    /// The disk, so many bytes long if it is not longer already.
    Disk(u64),
}

/// All that a new machine takes of a snapshot.
#[derive(Debug)]
pub(crate) enum Staged {
    /// Memory, devices, and the disk if there is one: it goes on.
    Whole(Draft),
    /// The disk alone: it boots.
    Disk {
        disk: Draft,
        /// The snapshots that it comes from, the newest first.
        parents: Vec<SnapshotId>,
    },
}

impl Staged {
    pub(crate) fn disk_of(info: &SnapshotInfo, disk: Draft) -> Self {
        let parents = [&info.id].into_iter().chain(&info.parents);
        Self::Disk {
            disk,
            parents: parents.take(PARENTS_MAX).copied().collect(),
        }
    }
}
