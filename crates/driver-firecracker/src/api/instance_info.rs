//! `GET /` and `GET /version`: who is there.

use serde::Deserialize;

use super::{ApiClient, ApiError};

/// What a VMM says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct InstanceInfo {
    /// The name it was started with.
    pub id: String,
    /// How far its guest is.
    pub state: InstanceState,
    /// Its version.
    pub vmm_version: String,
}

/// How far a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum InstanceState {
    /// It has not been booted.
    #[serde(rename = "Not started")]
    NotStarted,
    /// Its vCPUs run.
    Running,
    /// Its vCPUs stand.
    Paused,
}

/// The program's version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FirecrackerVersion {
    /// As `1.12.1`.
    pub firecracker_version: String,
}

impl ApiClient {
    /// The VMM's state.
    pub async fn instance_info(&self) -> Result<InstanceInfo, ApiError> {
        self.get("/").await
    }

    /// The program's version.
    pub async fn version(&self) -> Result<FirecrackerVersion, ApiError> {
        self.get("/version").await
    }
}
