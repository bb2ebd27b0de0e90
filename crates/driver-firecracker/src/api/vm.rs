//! `/vm`: whether the vCPUs run, and all that is configured.

use serde::Serialize;
use serde_json::Value;

use super::{ApiClient, ApiError};

/// What the vCPUs shall do. Asking for what already is, is no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "state")]
pub enum VmState {
    /// Stand.
    Paused,
    /// Run.
    Resumed,
}

impl ApiClient {
    /// Sets it.
    pub async fn set_vm_state(&self, state: VmState) -> Result<(), ApiError> {
        self.patch("/vm", &state).await
    }

    /// All that is configured, as the VMM shows it.
    pub async fn vm_config(&self) -> Result<Value, ApiError> {
        self.get("/vm/config").await
    }
}
