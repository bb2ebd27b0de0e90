//! What a machine is doing, and what happened to it.

use hearth_domain::{MachineState, StateWord};
use hearth_ids::MachineId;
use serde::{Deserialize, Serialize};

/// How many transitions a machine's history keeps; the oldest go first.
pub const HISTORY_MAX: usize = 32;

/// What a machine is doing. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineStatus {
    /// Number of transitions so far. Of two statuses the one with the higher number is the newer.
    pub sequence: u64,
    /// Where it is.
    pub state: MachineState,
    /// Since when.
    pub since_unix_ms: u64,
    /// When its program started, the last time that it did.
    pub started_unix_ms: Option<u64>,
    /// When it came to rest, if it is at rest and ever started.
    pub finished_unix_ms: Option<u64>,
    /// Restarts by its policy, in a row.
    pub restarts: u32,
    /// Process ID of its VMM.
    pub pid: Option<u32>,
    /// Where the node reaches it.
    pub address: Option<String>,
    /// When its guest came up, if it has one that tells.
    #[serde(default)]
    pub guest_boot: Option<GuestBoot>,
    /// Whether it is paused on disk: nothing of it runs, and it holds no memory.
    #[serde(default)]
    pub on_disk: bool,
    /// When the snapshot was made that it goes back to should its VMM end under it, in ms since 1970, if there is one.
    #[serde(default)]
    pub recovery_point_unix_ms: Option<u64>,
    /// Whether it is at rest only for a moment: by its policy it is started again, or goes back to a snapshot.
    #[serde(default)]
    pub comes_back: bool,
    /// The last transitions, at most [`HISTORY_MAX`], oldest first.
    pub history: Vec<Transition>,
}

/// When a guest's parts were there, in nanoseconds since its kernel started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestBoot {
    /// The agent listened.
    pub listening_ns: u64,
    /// The root file system was mounted.
    pub root_ready_ns: u64,
}

/// A step of a machine from one state to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// From where.
    pub from: StateWord,
    /// To where.
    pub to: StateWord,
    /// Why, for people.
    pub reason: Option<String>,
}

/// A transition, told to whoever listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEvent {
    /// Whose.
    pub machine: MachineId,
    /// Its number, as in [`MachineStatus::sequence`] right after it.
    pub sequence: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// From where.
    pub from: StateWord,
    /// To where.
    pub state: MachineState,
    /// Why, for people.
    pub reason: Option<String>,
}

/// What a machine uses. What a node cannot see is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineStats {
    /// When it was measured, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// CPU time of the VMM since it started, in microseconds.
    pub cpu_usec: u64,
    /// Memory that the VMM holds on the host.
    pub memory_bytes: u64,
    /// Memory that the guest was given.
    pub memory_limit_bytes: u64,
    /// Memory in use, as the guest sees it.
    pub guest_memory_used_bytes: Option<u64>,
    /// Bytes that the machine received.
    pub net_rx_bytes: u64,
    /// Bytes that the machine sent.
    pub net_tx_bytes: u64,
    /// Bytes read from its disks.
    pub disk_read_bytes: u64,
    /// Bytes written to its disks.
    pub disk_write_bytes: u64,
    /// Processes in the guest.
    pub processes: Option<u64>,
    /// What the guest says of itself, while its agent answers.
    pub guest: Option<GuestUse>,
}

/// What a guest says that it has and uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestUse {
    /// CPUs that it has.
    pub cpus: u32,
    /// CPU time since its boot, of all CPUs, in nanoseconds.
    pub cpu_usage_ns: u64,
    /// Since its boot, in nanoseconds; it stands still while the machine does.
    pub uptime_ns: u64,
    /// Memory that it has, in bytes.
    pub memory_total_bytes: u64,
    /// That of it which could not be had without swapping.
    pub memory_used_bytes: u64,
    /// That of it which holds files, and could be dropped.
    pub memory_cache_bytes: u64,
    /// Room in its root's file system.
    pub disk_total_bytes: u64,
    /// That of it which is used.
    pub disk_used_bytes: u64,
}
