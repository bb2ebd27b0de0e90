//! `PUT /entropy`: the virtio-rng device, from 1.4 on.

use serde::Serialize;

use super::{ApiClient, ApiError, RateLimiter};

/// The device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Entropy {
    /// Its limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

impl ApiClient {
    /// Adds it.
    pub async fn put_entropy(&self, entropy: &Entropy) -> Result<(), ApiError> {
        self.put("/entropy", entropy).await
    }
}
