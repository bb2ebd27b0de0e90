//! The host that programs of a sandbox are told, in requests to its ports, instead of the one that was asked for.

use http::uri::Authority;

use crate::error::{ApiError, ApiResult};

/// What stands for the port.
const PORT: &str = "${PORT}";
/// Bytes of a mask: a name of DNS, and a port.
const MASK_MAX: usize = 260;

/// A mask as `maskRequestHost` has it, such as `localhost:${PORT}`.
pub(super) fn host(mask: &str) -> ApiResult<String> {
    let told = mask.replace(PORT, "65535");
    let fits = mask.len() <= MASK_MAX && !told.contains('@') && told.parse::<Authority>().is_ok();
    if fits {
        return Ok(mask.to_owned());
    }
    let mask: String = mask.chars().take(100).collect();
    Err(ApiError::field(
        "network.maskRequestHost",
        format!(
            "network.maskRequestHost {mask:?} is not valid: write a host, or a host and a port, as in localhost:{PORT}"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_a_host_and_perhaps_a_port() {
        for good in [
            "localhost",
            "localhost:${PORT}",
            "x.example:8080",
            "p${PORT}.example",
            "[::1]:80",
        ] {
            assert!(host(good).is_ok(), "{good}");
        }
        let long = "x".repeat(300);
        for bad in ["", "a b", "a/b", "u@h", "a\r\nX: y", "${HOST}", long.as_str()] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
