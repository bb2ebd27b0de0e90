//! Sandboxes: machines that somebody runs commands in, for a time.

use std::collections::BTreeMap;

use hearth_ids::{MachineId, SandboxId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Problem, RecoverPolicy, Resources};

/// A new sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSandbox {
    /// What it is made of: `NAME`, `NAME:TAG`, `PROJECT/NAME:TAG` or the ID of a template, or the name or ID of a snapshot of a
    /// sandbox.
    #[schema(example = "base", max_length = 256)]
    pub template: String,
    /// Environment of its commands, each as `NAME=value`, added to the template's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Texts that are pinned to it, by which it is found again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// How long it lasts, in seconds; 300 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2_678_400)]
    pub timeout_s: Option<i64>,
    /// What becomes of it then.
    #[serde(default)]
    pub on_timeout: OnTimeout,
    /// A request to one of its ports resumes it.
    #[serde(default)]
    pub auto_resume: bool,
    /// Requests to its ports put its end off.
    #[serde(default)]
    pub keep_alive: bool,
    /// Requests to its ports, the agent's aside, must show its traffic token.
    #[serde(default)]
    pub private_traffic: bool,
    /// Whether it goes on from a snapshot when its VMM dies.
    #[serde(default)]
    pub recover: RecoverPolicy,
    /// Virtual CPUs; the template's if absent. A sandbox of another size than its template boots, with the template's disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u64>,
    /// Memory in MiB; the template's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// Disk in MiB; the template's if absent, and not less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mib: Option<u64>,
    /// What it may reach; all if absent.
    #[serde(default, skip_serializing_if = "SandboxNetwork::is_open")]
    pub network: SandboxNetwork,
}

/// What a sandbox may reach. What is allowed goes before what is denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxNetwork {
    /// Whether it reaches the internet; without, it reaches what is allowed and nothing else.
    pub internet: bool,
    /// Addresses, networks and domains that it reaches all the same: `192.0.2.7`, `192.0.2.0/24`, `example.com`, `*.example.com`.
    /// Domains need all else to be denied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_out: Vec<String>,
    /// Addresses and networks that it does not reach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_out: Vec<String>,
}

impl Default for SandboxNetwork {
    fn default() -> Self {
        Self {
            internet: true,
            allow_out: Vec::new(),
            deny_out: Vec::new(),
        }
    }
}

impl SandboxNetwork {
    /// Whether there are no rules.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

impl From<SandboxNetwork> for hearth_domain::SandboxNetwork {
    fn from(value: SandboxNetwork) -> Self {
        Self {
            internet: (!value.internet).then_some(false),
            allow_out: value.allow_out,
            deny_out: value.deny_out,
        }
    }
}

impl From<hearth_domain::SandboxNetwork> for SandboxNetwork {
    fn from(value: hearth_domain::SandboxNetwork) -> Self {
        Self {
            internet: value.internet != Some(false),
            allow_out: value.allow_out,
            deny_out: value.deny_out,
        }
    }
}

/// How to fork a sandbox. Its copies go on where it is, each as another machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkSandbox {
    /// How many; 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub count: Option<u32>,
    /// How long each lasts, in seconds; as long as the sandbox did when it was made if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2_678_400)]
    pub timeout_s: Option<i64>,
}

/// Copies of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxFork {
    /// Those that were made.
    pub sandboxes: Vec<Sandbox>,
    /// Why the others were not, one for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Problem>,
}

/// How to make a template of a sandbox as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotSandbox {
    /// The template's name: of one that there is, this is a further build. None if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub name: Option<String>,
    /// Whether its memory is kept; it is if absent. Without, sandboxes of it boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<bool>,
}

/// What becomes of a sandbox when its time is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// It is gone.
    #[default]
    Kill,
    /// It is paused with its memory.
    Pause,
    /// Its disk is kept, its memory is not: it boots when it is resumed.
    PauseDisk,
}

/// A sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sandbox {
    /// Identity; its machine's name, too.
    #[schema(value_type = String, example = "sbx01k9zs7m3q6ev2y8d4xw0abcde")]
    pub id: SandboxId,
    /// ID of its machine.
    #[schema(value_type = String)]
    pub machine: MachineId,
    /// ID of the template or the snapshot that it was made of, which may be gone.
    pub template: String,
    /// The template's name then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_name: Option<String>,
    /// Whether it runs.
    pub state: SandboxState,
    /// What is pinned to it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// When it was made, or last resumed.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When its time is over; of one that is paused, when it was.
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: Timestamp,
    /// How long it lasts from a resume on by traffic, in seconds.
    pub timeout_s: u64,
    /// What becomes of it when its time is over.
    pub on_timeout: OnTimeout,
    /// A request to one of its ports resumes it.
    pub auto_resume: bool,
    /// Requests to its ports put its end off.
    pub keep_alive: bool,
    /// Requests to its ports must show its traffic token.
    pub private_traffic: bool,
    /// Whether it goes on from a snapshot when its VMM dies.
    pub recover: RecoverPolicy,
    /// What it may reach; all if absent.
    #[serde(default, skip_serializing_if = "SandboxNetwork::is_open")]
    pub network: SandboxNetwork,
    /// What it holds.
    pub resources: Resources,
    /// The domain of its ports, as `E2B_DOMAIN` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Where its ports are: `PORT` in it stands for the number of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What the agent's port asks for; for those who may go into machines, and not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
    /// What the other ports ask for, with `private_traffic`; likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_token: Option<String>,
}

/// Whether a sandbox runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SandboxState {
    /// It runs.
    Running,
    /// It is paused with its memory.
    Paused,
    /// It is paused without: it boots when it is resumed.
    Stopped,
}

impl SandboxState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl std::fmt::Display for SandboxState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A page of sandboxes, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxList {
    /// The sandboxes.
    pub sandboxes: Vec<Sandbox>,
    /// How many there are on all pages.
    pub total: u64,
    /// Asks for the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Which sandboxes to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListSandboxesQuery {
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<SandboxState>,
    /// Only those of this template or snapshot, by its ID or its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(max_length = 256)]
    pub template: Option<String>,
    /// Only those to which all of this is pinned: `NAME=VALUE`, joined by `&`, each name and value percent-encoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(example = "team=search&user=ada")]
    pub metadata: Option<String>,
    /// At most so many; 100 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// From where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(max_length = 64)]
    pub cursor: Option<String>,
}

/// How to pause a sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseSandbox {
    /// Whether its memory is kept; it is if absent. Without, it boots when it is resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<bool>,
}

/// How to resume a sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeSandbox {
    /// How long it lasts from now on, in seconds; as long as when it was made if absent. Of one that runs, the end is put off if
    /// it is nearer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2_678_400)]
    pub timeout_s: Option<i64>,
    /// Whether it goes on with the memory that it was paused with; if not, it boots from its disk, and what was not written to that is
    /// lost. True if absent. Of no meaning to one that was paused without, or that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<bool>,
}

/// When a sandbox's time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSandboxTimeout {
    /// So many seconds from now; 0 ends it at once.
    #[schema(minimum = 0, maximum = 2_678_400)]
    pub timeout_s: i64,
}

impl From<hearth_domain::OnTimeout> for OnTimeout {
    fn from(value: hearth_domain::OnTimeout) -> Self {
        match value {
            hearth_domain::OnTimeout::Kill => Self::Kill,
            hearth_domain::OnTimeout::Pause => Self::Pause,
            hearth_domain::OnTimeout::PauseDisk => Self::PauseDisk,
        }
    }
}

impl From<OnTimeout> for hearth_domain::OnTimeout {
    fn from(value: OnTimeout) -> Self {
        match value {
            OnTimeout::Kill => Self::Kill,
            OnTimeout::Pause => Self::Pause,
            OnTimeout::PauseDisk => Self::PauseDisk,
        }
    }
}
