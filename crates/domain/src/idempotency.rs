//! Keys by which a request may be sent again.

use thiserror::Error;

/// The longest idempotency key, in characters.
pub const IDEMPOTENCY_KEY_MAX: usize = 255;

/// A header that is no idempotency key. An empty one is none: whoever sends it blank does not mean what others mean who do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}", Self::REASON)]
pub struct InvalidIdempotencyKey;

impl InvalidIdempotencyKey {
    /// What is wrong, and what is right.
    pub const REASON: &'static str = "the idempotency key is not valid: use 1 to 255 visible ASCII characters";
}

/// The key that a header's value is, by the one rule for all who take one.
pub fn parse_idempotency_key(value: &[u8]) -> Result<&str, InvalidIdempotencyKey> {
    let key = str::from_utf8(value).map_err(|_| InvalidIdempotencyKey)?;
    let visible = key.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if visible && !key.trim().is_empty() && key.len() <= IDEMPOTENCY_KEY_MAX {
        Ok(key)
    } else {
        Err(InvalidIdempotencyKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_long_and_unreadable_keys_are_none() {
        let longest = "k".repeat(IDEMPOTENCY_KEY_MAX);
        for key in ["k", "order 7", &longest] {
            assert_eq!(parse_idempotency_key(key.as_bytes()), Ok(key));
        }
        let longer = format!("{longest}k");
        for key in [&b""[..], b"  ", b"a\tb", b"\xff", "ö".as_bytes(), longer.as_bytes()] {
            assert_eq!(parse_idempotency_key(key), Err(InvalidIdempotencyKey), "{key:?}");
        }
        assert!(InvalidIdempotencyKey::REASON.contains(&format!("1 to {IDEMPOTENCY_KEY_MAX} ")));
    }
}
