//! Sandboxes: how long one lasts, and what becomes of it then. Pure; all times are milliseconds since the Unix epoch.

use std::collections::BTreeMap;

use hearth_ids::SandboxId;
use serde::{Deserialize, Serialize};

use crate::{DiskMib, MemoryMib, Vcpus, VolumeMount};

/// What a sandbox was asked for besides its template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxSettings {
    /// What becomes of it when its time is over.
    pub on_timeout: OnTimeout,
    /// Whether a request to one of its ports resumes it.
    pub auto_resume: bool,
    /// Whether requests to its ports put its end off.
    pub keep_alive: bool,
    /// Whether requests to its ports, the agent's aside, must show its traffic token.
    pub private_traffic: bool,
    /// The host that programs are told in requests to its ports; `${PORT}` in it stands for the port.
    pub mask_host: Option<String>,
    /// What it may reach, as it was asked for.
    pub network: SandboxNetwork,
    /// Shared folders that it mounts, by the names that they were asked for by.
    pub volumes: Vec<SandboxVolume>,
}

/// A volume in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxVolume {
    /// What it was called when the sandbox was made.
    pub name: String,
    /// Which, and where.
    #[serde(flatten)]
    pub mount: VolumeMount,
}

/// What a sandbox may reach, as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxNetwork {
    /// Whether the internet was said to be open, or closed.
    pub internet: Option<bool>,
    /// What it may reach all the same.
    pub allow_out: Vec<String>,
    /// What it may not.
    pub deny_out: Vec<String>,
}

/// What becomes of a sandbox when its time is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// What a sandbox should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SandboxState {
    /// It runs.
    Running,
    /// It is paused with its memory.
    Paused,
    /// It is paused without.
    Stopped,
    /// It is to be gone.
    Killed,
}

impl SandboxState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Stopped, Self::Killed];

    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
        }
    }

    /// Whether it can be resumed.
    pub fn is_paused(self) -> bool {
        matches!(self, Self::Paused | Self::Stopped)
    }
}

/// When a sandbox ends whose requests put that off: `timeout_ms` after the last one.
pub fn put_off(ends_unix_ms: u64, last_request_unix_ms: Option<u64>, timeout_ms: u64) -> u64 {
    let later = last_request_unix_ms.map_or(0, |last| last.saturating_add(timeout_ms));
    ends_unix_ms.max(later)
}

/// What a template's build begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildFrom {
    /// An image, by the reference that was given.
    Image(String),
    /// Another template, by name or ID.
    Template(String),
    /// A sandbox that a snapshot is made of: there is nothing to carry out.
    Sandbox(SandboxId),
}

/// One step of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildStep {
    /// `COPY`, `ENV`, `RUN`, `WORKDIR` or `USER`.
    #[serde(rename = "type")]
    pub kind: String,
    /// As the step has them.
    #[serde(default)]
    pub args: Vec<String>,
    /// Whether what was made of it before is not used.
    #[serde(default)]
    pub force: bool,
    /// SHA-256 of what a COPY copies.
    #[serde(default)]
    pub files_hash: Option<String>,
    /// The stage that a COPY copies from, by its name; what it copies is known once that stage is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
}

/// A stage of a build: a disk of its own, of which nothing comes into the template but what later steps copy from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildStage {
    /// What steps call it by.
    pub name: String,
    /// The image that it begins with.
    pub image: String,
    /// In this order.
    #[serde(default)]
    pub steps: Vec<BuildStep>,
}

/// How a template is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPlan {
    /// Its sandboxes' CPUs.
    pub vcpus: Vcpus,
    /// Their memory.
    pub memory_mib: MemoryMib,
    /// Their disk.
    pub disk_mib: DiskMib,
    /// What it begins with; absent until the build is started, and in snapshots of sandboxes that are older than [`BuildFrom::Sandbox`].
    #[serde(default)]
    pub from: Option<BuildFrom>,
    /// Who carries out the steps that name nobody, and whom the sandboxes' commands run as: made where the image has no such user.
    /// None: as the image says.
    #[serde(default)]
    pub user: Option<String>,
    /// Stages that steps copy from. Each copies from those before it alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<BuildStage>,
    /// In this order.
    #[serde(default)]
    pub steps: Vec<BuildStep>,
    /// Whether nothing that was made before is used.
    #[serde(default)]
    pub force: bool,
    /// Started before the snapshot is made, and left running.
    #[serde(default)]
    pub start_cmd: Option<String>,
    /// Tried until it succeeds, before the snapshot is made.
    #[serde(default)]
    pub ready_cmd: Option<String>,
    /// What will mean this build once it is done.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Why a build failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildReason {
    /// For people.
    pub message: String,
    /// Which step failed: its number from 1, or `base`, `finalize`; a stage's with the stage's name and `/` before it.
    #[serde(default)]
    pub step: Option<String>,
}

/// Texts that somebody pins to a sandbox.
pub type Metadata = BTreeMap<String, String>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_put_the_end_off_and_never_bring_it_nearer() {
        assert_eq!(put_off(100, None, 50), 100);
        assert_eq!(put_off(100, Some(20), 50), 100);
        assert_eq!(put_off(100, Some(80), 50), 130);
        assert_eq!(put_off(100, Some(u64::MAX), 50), u64::MAX);
    }
}
