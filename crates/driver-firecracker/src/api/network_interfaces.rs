//! `/network-interfaces/{id}`: network cards.

use serde::{Deserialize, Serialize};

use super::{ApiClient, ApiError, RateLimiter};

/// A card, before boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInterface {
    /// Its name in the API.
    pub iface_id: String,
    /// The tap, in the VMM's network namespace.
    pub host_dev_name: String,
    /// The guest's address, as `aa:bb:cc:dd:ee:ff`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_mac: Option<String>,
    /// Limits of what the guest receives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_rate_limiter: Option<RateLimiter>,
    /// Limits of what the guest sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_rate_limiter: Option<RateLimiter>,
}

/// A change after boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkInterfacePatch {
    /// Which card.
    pub iface_id: String,
    /// Limits of what the guest receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_rate_limiter: Option<RateLimiter>,
    /// Limits of what the guest sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_rate_limiter: Option<RateLimiter>,
}

impl ApiClient {
    /// Adds a card.
    pub async fn put_network_interface(&self, card: &NetworkInterface) -> Result<(), ApiError> {
        self.put(&format!("/network-interfaces/{}", card.iface_id), card).await
    }

    /// Changes one.
    pub async fn patch_network_interface(&self, patch: &NetworkInterfacePatch) -> Result<(), ApiError> {
        self.patch(&format!("/network-interfaces/{}", patch.iface_id), patch)
            .await
    }
}
