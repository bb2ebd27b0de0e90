//! `/mmds`: a small JSON store that the VMM serves to its guest over the network card, without the network.

use serde::Serialize;
use serde_json::Value;

use super::{ApiClient, ApiError};

/// Over which cards, at which address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MmdsConfig {
    /// Which protocol.
    pub version: MmdsVersion,
    /// The cards on which it answers.
    pub network_interfaces: Vec<String>,
    /// Its link-local address; Firecracker's default is 169.254.169.254.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<String>,
}

/// Which protocol the guest must speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum MmdsVersion {
    /// Any GET is answered; whatever a guest program can be talked into fetching leaks the store.
    V1,
    /// A session token must be fetched by PUT first.
    V2,
}

impl ApiClient {
    /// Turns it on.
    pub async fn put_mmds_config(&self, config: &MmdsConfig) -> Result<(), ApiError> {
        self.put("/mmds/config", config).await
    }

    /// Fills the store.
    pub async fn put_mmds(&self, store: &Value) -> Result<(), ApiError> {
        self.put("/mmds", store).await
    }

    /// Merges into the store (RFC 7396).
    pub async fn patch_mmds(&self, store: &Value) -> Result<(), ApiError> {
        self.patch("/mmds", store).await
    }

    /// Reads the store.
    pub async fn mmds(&self) -> Result<Value, ApiError> {
        self.get("/mmds").await
    }
}
