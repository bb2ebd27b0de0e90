//! Signed `/files` addresses of the envd wire contract.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256};

/// What a signed address allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileOperation {
    /// `GET /files`.
    Read,
    /// `POST /files`.
    Write,
}

/// `v1_` and the unpadded base64 SHA-256 of `path:operation:user:token[:expiration]`; the expiration in Unix seconds.
pub fn signature(
    path: &str,
    operation: FileOperation,
    user: &str,
    access_token: &str,
    expiration: Option<i64>,
) -> String {
    let operation = match operation {
        FileOperation::Read => "read",
        FileOperation::Write => "write",
    };
    let mut raw = format!("{path}:{operation}:{user}:{access_token}");
    if let Some(expiration) = expiration {
        raw.push(':');
        raw.push_str(&expiration.to_string());
    }
    format!("v1_{}", STANDARD_NO_PAD.encode(Sha256::digest(raw)))
}

/// Whether two secrets are equal, in a time that depends on neither's content.
pub fn same_secret(left: &[u8], right: &[u8]) -> bool {
    // Digests have one length, so that not even the lengths of the secrets show.
    let (left, right) = (Sha256::digest(left), Sha256::digest(right));
    left.iter()
        .zip(right.iter())
        .fold(0, |difference, (a, b)| difference | (a ^ b))
        == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with the Python SDK's `get_signature`.
    #[test]
    fn matches_the_sdk() {
        let got = signature(
            "/home/user/a.txt",
            FileOperation::Read,
            "user",
            "secret",
            Some(1_700_000_000),
        );
        assert_eq!(got, "v1_mzn+1R74JH2wtsTk6gTeInu24ZlQ7BBVUOs7jGA8Xwc");
    }

    #[test]
    fn secrets() {
        assert!(same_secret(b"abc", b"abc"));
        assert!(!same_secret(b"abc", b"abd") && !same_secret(b"", b"a"));
    }
}
