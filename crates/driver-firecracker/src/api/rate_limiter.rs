//! Limits on a drive's or a network card's bytes and operations.

use serde::{Deserialize, Serialize};

/// Two token buckets; what has none is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimiter {
    /// A token a byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<TokenBucket>,
    /// A token an operation (a request of a drive, a packet of a card).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ops: Option<TokenBucket>,
}

impl RateLimiter {
    /// At most so many bytes a second.
    pub fn bytes_per_second(bytes: u64) -> Self {
        Self {
            bandwidth: Some(TokenBucket::per_second(bytes)),
            ops: None,
        }
    }
}

/// A bucket that holds `size` tokens and is filled again within `refill_time` ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBucket {
    /// Tokens that the full bucket holds.
    pub size: u64,
    /// Tokens on top of that, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_time_burst: Option<u64>,
    /// Milliseconds from empty to full (Firecracker's name carries no unit).
    pub refill_time: u64,
}

impl TokenBucket {
    /// So many tokens a second.
    pub fn per_second(tokens: u64) -> Self {
        Self {
            size: tokens,
            one_time_burst: None,
            refill_time: 1_000,
        }
    }
}
