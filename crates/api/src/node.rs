//! The node.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Driver;

/// What the node is and has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeInfo {
    /// Identity.
    pub id: String,
    /// Version of Hearth.
    pub version: String,
    /// Host name.
    pub host_name: String,
    /// The host's kernel.
    pub host_kernel: String,
    /// Processor architecture.
    pub architecture: String,
    /// CPUs.
    pub cpus: Amount,
    /// Memory in MiB.
    pub memory_mib: Amount,
    /// How many machines there are.
    pub machines: u64,
    /// How many of them are not at rest.
    pub machines_active: u64,
    /// How many images there are.
    pub images: u64,
    /// Driver of machines that name none.
    pub default_driver: Driver,
    /// What can start machines here.
    pub drivers: Vec<DriverInfo>,
    /// Kernel of machines that name none, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_kernel: Option<String>,
}

/// Something that machines hold a share of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Amount {
    /// What the node has.
    pub capacity: f64,
    /// How many times that it gives out.
    pub overcommit: f64,
    /// What it gives out in all.
    pub total: u64,
    /// What machines hold.
    pub allocated: u64,
}

/// A driver, and what it can do here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes or no of its own")]
pub struct DriverInfo {
    /// Which.
    pub name: Driver,
    /// A real guest with an agent comes up.
    pub guest: bool,
    /// Its machines outlive the daemon.
    pub outlives: bool,
    /// Pause and resume.
    pub pause: bool,
    /// Snapshots, forks, and pause on disk.
    #[serde(default)]
    pub snapshot: bool,
    /// Hardware virtualisation is in use.
    pub accelerated: bool,
    /// Why no machine of it can start here; absent if one can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
}

/// What `hearth doctor` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckList {
    /// Each of the checks.
    pub checks: Vec<Check>,
}

/// Something that the node needs of its host, tried by use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What was looked at, such as `kvm`.
    pub name: String,
    /// What came out.
    pub outcome: CheckOutcome,
    /// What was found, in a sentence.
    pub detail: String,
    /// How to mend it, where there is something to mend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckOutcome {
    /// It works.
    Ok,
    /// Hearth works without it, less well.
    Warning,
    /// Machines cannot run so.
    Failed,
}

/// Whether the server can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether all of it can.
    pub ready: bool,
    /// What cannot.
    pub not_ready: Vec<ReadyPart>,
}

/// A part of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadyPart {
    /// The server goes down.
    Server,
    /// The store cannot be written.
    Store,
    /// The node does not answer.
    Node,
    /// The gateway serves nobody.
    Gateway,
    /// Instances are not made, or would not be found: the worker's lease has run out.
    Worker,
}

/// What the server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Version of Hearth.
    pub version: String,
    /// Version of the API.
    pub api_version: String,
    /// Version of the store's schema.
    pub schema_version: i64,
}
