//! Snapshots of machines, and forks.

use hearth_ids::{MachineId, SnapshotId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Driver, Machine, Resources};

/// A new snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSnapshot {
    /// Name or ID of the machine, which must run or be paused. One that runs goes on afterwards. Without memory it may be at
    /// rest as well.
    #[schema(max_length = 63)]
    pub machine: String,
    /// Whether its memory is saved; it is if absent. Without it the snapshot is of the machine's own disk alone, which it must
    /// have, and a machine that is made of it boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<bool>,
    /// Name, unique in the project; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
    pub name: Option<String>,
}

/// A snapshot: a machine at one moment, with its memory, its devices and its disk; or its disk alone. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// Identity.
    #[schema(value_type = String, example = "snp01k9zs7m3q6ev2y8d4xw0abcde")]
    pub id: SnapshotId,
    /// Name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// ID of the machine that it is of, which may be gone.
    #[schema(value_type = String)]
    pub machine: MachineId,
    /// That machine's name.
    pub machine_name: String,
    /// How far it is.
    pub state: SnapshotState,
    /// When it was made, or asked for if it is still being made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The machine's image as it was asked for.
    pub image: String,
    /// Digest of the image.
    pub image_id: String,
    /// ID of the kernel.
    pub kernel_id: String,
    /// What starts machines from it.
    pub driver: Driver,
    /// What a machine from it holds.
    pub resources: Resources,
    /// Bytes that it holds on disk: what was ever written of its files. Absent while it is being made, as is all below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_bytes: Option<u64>,
    /// Whether a machine from it goes on where it was made. Else it boots, with the disk as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<bool>,
    /// How long its machine stood still, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_us: Option<u64>,
    /// The VMM's version. Absent without memory, as is the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmm_version: Option<String>,
    /// What executed the guest's instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<String>,
    /// Version of the agent in the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// Features of the host's processor that the guest saw; not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpu_features: Vec<String>,
    /// IDs of the snapshots that its machine went on from, the newest first. They may be gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub parents: Vec<SnapshotId>,
    /// Its files; not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<SnapshotPart>,
}

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotState {
    /// It is being made.
    Making,
    /// It is there.
    Ready,
    /// It is being removed.
    Removing,
    /// The node does not have it any more.
    Lost,
}

impl SnapshotState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Making => "making",
            Self::Ready => "ready",
            Self::Removing => "removing",
            Self::Lost => "lost",
        }
    }
}

impl std::fmt::Display for SnapshotState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotPart {
    /// `memory`, `devices` or `disk`.
    pub name: String,
    /// Its length in bytes, holes included.
    pub bytes: u64,
    /// What of it was ever written, in bytes.
    pub data_bytes: u64,
    /// BLAKE3 of what is in it, in hexadecimal digits.
    pub hash: String,
}

/// A page of snapshots, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotList {
    /// The snapshots.
    pub snapshots: Vec<Snapshot>,
    /// Asks for the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// How to fork a machine. The new machines are of its shape and go on where it is; they publish no ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkMachine {
    /// How many; as many as there are names if absent, else 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub count: Option<u32>,
    /// Their names, one each; made up of the machine's name if absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub names: Vec<String>,
    /// Removes each of them once it is at rest.
    #[serde(default)]
    pub auto_remove: bool,
}

/// A fork that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fork {
    /// The new machines, in the order of their names in the request.
    pub machines: Vec<Machine>,
    /// How long the machine that was forked stood still, in microseconds.
    pub paused_us: u64,
}

/// Where to take a machine back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackMachine {
    /// Name or ID of a snapshot of this machine, or of the one that it began with.
    #[schema(max_length = 63)]
    pub snapshot: String,
}
