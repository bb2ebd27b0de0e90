//! `/snapshot`: a VMM's state as files, and back.

use serde::Serialize;

use super::{ApiClient, ApiError};

/// What is written of a VMM that is paused, as it sees the paths. It makes the files, or writes over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotCreate {
    /// How much of the memory.
    pub snapshot_type: SnapshotType,
    /// vCPUs and devices.
    pub snapshot_path: String,
    /// The guest's memory.
    pub mem_file_path: String,
}

/// How much of the memory is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum SnapshotType {
    /// All of it, without holes.
    Full,
    /// What changed since the VMM began or was last saved, where that is tracked. The rest of the file stays as it is.
    Diff,
}

/// What a VMM goes on from that is configured in nothing but its log and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotLoad {
    /// vCPUs and devices.
    pub snapshot_path: String,
    /// The guest's memory.
    pub mem_backend: MemoryBackend,
    /// Whether [`SnapshotType::Diff`] shall be possible from here on (newer versions call it `track_dirty_pages`).
    pub enable_diff_snapshots: bool,
    /// Whether the vCPUs go at once.
    pub resume_vm: bool,
    /// The taps of network cards that had others (from 1.12 on).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network_overrides: Vec<NetworkOverride>,
}

/// Where the guest's memory comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "backend_type", content = "backend_path")]
pub enum MemoryBackend {
    /// A file, which is mapped privately.
    File(String),
}

/// Another tap for a network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkOverride {
    /// The card's name in the API.
    pub iface_id: String,
    /// The tap, in the VMM's network namespace.
    pub host_dev_name: String,
}

impl ApiClient {
    /// Writes the files.
    pub async fn create_snapshot(&self, snapshot: &SnapshotCreate) -> Result<(), ApiError> {
        self.put("/snapshot/create", snapshot).await
    }

    /// Reads them. A VMM that could not ends.
    pub async fn load_snapshot(&self, snapshot: &SnapshotLoad) -> Result<(), ApiError> {
        self.put("/snapshot/load", snapshot).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_load_reads_as_the_api_wants_it() {
        let load = SnapshotLoad {
            snapshot_path: "/devices".to_owned(),
            mem_backend: MemoryBackend::File("/memory".to_owned()),
            enable_diff_snapshots: false,
            resume_vm: false,
            network_overrides: Vec::new(),
        };
        let expected = json!({
            "snapshot_path": "/devices",
            "mem_backend": {"backend_type": "File", "backend_path": "/memory"},
            "enable_diff_snapshots": false,
            "resume_vm": false,
        });
        assert_eq!(serde_json::to_value(load).unwrap(), expected);
    }
}
