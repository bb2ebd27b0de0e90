//! Snapshots of machines, as a node keeps them.

use hearth_domain::MachineSpec;
use hearth_ids::{MachineId, SnapshotId};
use serde::{Deserialize, Serialize};

/// A snapshot: a machine at one moment, with its memory, its devices and its disk; or its disk alone. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Its identity.
    pub id: SnapshotId,
    /// When it was made, in milliseconds since the Unix epoch.
    pub made_unix_ms: u64,
    /// The machine that it was made of, as it should be then.
    pub spec: MachineSpec,
    /// The snapshots that its machine went on from, the newest first.
    pub parents: Vec<SnapshotId>,
    /// The VMM's version; empty where there is no memory, for any VMM boots such a machine.
    pub vmm_version: String,
    /// What executed the guest's instructions; empty likewise.
    pub accelerator: String,
    /// Features of the host's processor that the guest saw; none where the VMM makes the processor up.
    pub cpu_features: Vec<String>,
    /// Version of the agent in the guest.
    pub agent_version: String,
    /// Its files.
    pub parts: Vec<SnapshotPart>,
    /// How long its machine stood still, in microseconds.
    pub paused_us: u64,
    /// Whether the guest's programs stood still by themselves, as they do in each copy until it is another machine.
    #[serde(default)]
    pub programs_held: bool,
}

/// What the file of a guest's memory is called.
const MEMORY: &str = "memory";

impl SnapshotInfo {
    /// Whether a machine goes on from it where it was made. Else the machine boots, with the disk as it was.
    pub fn has_memory(&self) -> bool {
        self.parts.iter().any(|part| part.name == MEMORY)
    }

    /// Bytes that all its files have written.
    pub fn data_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.data_bytes).sum()
    }
}

/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPart {
    /// `memory`, `devices` or `disk`.
    pub name: String,
    /// Its length, holes included.
    pub bytes: u64,
    /// What of it was ever written, in bytes.
    pub data_bytes: u64,
    /// BLAKE3 over place and content of its blocks that are not zero, in hexadecimal digits.
    pub hash: String,
}

/// How a machine is paused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PauseMode {
    /// It goes to disk, and all memory is given back.
    #[default]
    Disk,
    /// Its vCPUs stand still, and it keeps what it has.
    Memory,
}

/// What a snapshot is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// The snapshot's identity. Asked for twice, it is made once.
    pub id: SnapshotId,
    /// The machine. It must run, or be paused; without memory it may be at rest as well, and must have a disk of its own.
    pub machine: MachineId,
    /// Whether memory and devices are saved. Else the disk alone is, and a machine that is made of it boots.
    #[serde(default = "with_memory")]
    pub memory: bool,
}

fn with_memory() -> bool {
    true
}
