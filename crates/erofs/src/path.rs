//! Names in a tar, read as places below the image's root.
//!
//! A leading `/` means the image's root, as it does to containerd, Docker, umoci and GNU tar (ko, for one, writes its
//! layers so); `.` and empty components mean nothing; `..` is refused wherever it stands.

use crate::{Limits, error::Refusal};

/// Longest name of one directory entry in Linux.
const COMPONENT_BYTES: usize = 255;

/// Splits a name into its components; none at all for the root itself.
pub(crate) fn components<'a>(raw: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>, Refusal> {
    if raw.len() > limits.path_bytes {
        return Err(Refusal::PathTooLong {
            len: raw.len(),
            limit: limits.path_bytes,
        });
    }
    if raw.contains(&0) {
        return Err(Refusal::NulInName);
    }
    let mut parts = Vec::new();
    for part in split(raw) {
        if part == b".." {
            return Err(Refusal::DotDot);
        }
        if part.len() > COMPONENT_BYTES {
            return Err(Refusal::ComponentTooLong { len: part.len() });
        }
        parts.push(part);
    }
    if parts.len() > limits.path_depth {
        return Err(Refusal::TooDeep {
            limit: limits.path_depth,
        });
    }
    Ok(parts)
}

/// The components of a path or link target that mean something, `..` among them.
pub(crate) fn split(raw: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    raw.split(|&byte| byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(raw: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
        components(raw, &Limits::default())
    }

    #[test]
    fn leading_slashes_and_dots_are_the_root() {
        for raw in [&b"/a/b"[..], b"./a/b", b"a//b/", b"//./a/./b/."] {
            assert_eq!(parts(raw), Ok(vec![&b"a"[..], b"b"]));
        }
        assert_eq!(parts(b"./"), Ok(vec![]));
    }

    #[test]
    fn what_no_folder_can_hold_is_refused() {
        assert_eq!(parts(b"a/../b"), Err(Refusal::DotDot));
        assert_eq!(parts(b".."), Err(Refusal::DotDot));
        assert_eq!(parts(b"a\0b"), Err(Refusal::NulInName));
        assert_eq!(parts(&[b'x'; 256]), Err(Refusal::ComponentTooLong { len: 256 }));
        assert!(parts(&[b'x'; 255]).is_ok());
        assert!(parts(b"..a/b..").is_ok());
        assert_eq!(parts(&b"a/".repeat(257)), Err(Refusal::TooDeep { limit: 256 }));
        assert_eq!(
            parts(&b"a".repeat(4097)),
            Err(Refusal::PathTooLong { len: 4097, limit: 4096 })
        );
    }
}
