//! What a node is, has, and lacks.

use hearth_domain::{Allocation, Capacity, DriverKind, Overcommit};
use hearth_ids::NodeId;
use serde::{Deserialize, Serialize};

/// What a node is and has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its identity.
    pub id: NodeId,
    /// Version of Hearth that it runs.
    pub version: String,
    /// Its host's name.
    pub host_name: String,
    /// Its host's kernel.
    pub host_kernel: String,
    /// Processor architecture, as the kernel calls it.
    pub architecture: String,
    /// What it has.
    pub capacity: Capacity,
    /// How many times that it gives out.
    pub overcommit: Overcommit,
    /// What its machines hold.
    pub allocation: Allocation,
    /// How many machines it has.
    pub machines: u64,
    /// How many of them are not at rest.
    pub machines_active: u64,
    /// The driver for whoever names none.
    pub default_driver: DriverKind,
    /// What can start machines here.
    pub drivers: Vec<DriverInfo>,
    /// Which agent guests get that boot now.
    #[serde(default)]
    pub agent_version: String,
}

/// What a node has and what of it is given out: what it admits machines by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NodeBooks {
    /// What it has.
    pub capacity: Capacity,
    /// How many times that it gives out.
    pub overcommit: Overcommit,
    /// What its machines hold.
    pub allocation: Allocation,
    /// Machines that the node starts again by itself, and that found no room.
    #[serde(default)]
    pub turned_away: TurnedAway,
}

/// Machines that found no CPUs or no memory when the node started them again by itself. They try again later; whoever keeps what
/// can be made again may make room meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnedAway {
    /// How often.
    pub times: u64,
    /// What the last of them wanted.
    pub wanted: Allocation,
}

/// A driver, and what it can do here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes or no of its own")]
pub struct DriverInfo {
    /// Which.
    pub kind: DriverKind,
    /// A real guest with an agent comes up.
    pub guest: bool,
    /// VMMs outlive the daemon.
    pub outlives: bool,
    /// Pause and resume.
    pub pause: bool,
    /// Snapshots, and pause on disk.
    #[serde(default)]
    pub snapshot: bool,
    /// Hardware virtualisation is in use.
    pub accelerated: bool,
    /// Why no machine of it can start here; none if one can.
    #[serde(default)]
    pub unusable: Option<String>,
}

/// One row of `hearth doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at, such as `kvm`.
    pub name: String,
    /// What came out.
    pub outcome: CheckOutcome,
    /// What was found, in a sentence.
    pub detail: String,
    /// How to mend it, where there is something to mend.
    pub advice: Option<String>,
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckOutcome {
    /// It works.
    Ok,
    /// Hearth works without it, less well.
    Warning,
    /// Machines cannot run so.
    Failed,
}
