//! `/machine-config`: vCPUs and memory.

use serde::{Deserialize, Serialize};

use super::{ApiClient, ApiError};

/// vCPUs and memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineConfig {
    /// 1 to 32.
    pub vcpu_count: u8,
    /// Guest memory in MiB.
    pub mem_size_mib: u32,
    /// Whether vCPUs are shown as threads of a core. Never: siblings share what side channels read.
    pub smt: bool,
    /// Whether snapshots may hold only what changed.
    pub track_dirty_pages: bool,
    /// Hides CPU features, so that a snapshot moves between CPU models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_template: Option<CpuTemplate>,
    /// What pages back the guest's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub huge_pages: Option<HugePages>,
}

/// A static CPU template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CpuTemplate {
    /// Intel.
    C3,
    /// Intel.
    T2,
    /// Intel, Skylake to Ice Lake.
    T2S,
    /// Intel, from Cascade Lake on, like T2A.
    T2CL,
    /// AMD Milan, like T2CL.
    T2A,
    /// None.
    None,
}

/// What pages back the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HugePages {
    /// Those of 4 KiB.
    None,
    /// hugetlbfs, of 2 MiB, which the host must have set aside.
    #[serde(rename = "2M")]
    TwoMebibytes,
}

impl ApiClient {
    /// Sets it.
    pub async fn put_machine_config(&self, config: &MachineConfig) -> Result<(), ApiError> {
        self.put("/machine-config", config).await
    }

    /// What is set.
    pub async fn machine_config(&self) -> Result<MachineConfig, ApiError> {
        self.get("/machine-config").await
    }
}
