//! Extended attributes as EROFS stores them behind an inode.

use std::collections::BTreeMap;

use crate::{
    Limits,
    error::{Refusal, shown},
};

pub(crate) const HEADER_BYTES: usize = 12;
const ALIGN: usize = 4;
/// What the 16-bit count in an inode can express.
const MAX_BODY_BYTES: usize = HEADER_BYTES + ALIGN * (u16::MAX as usize - 1);

/// Attribute namespaces that EROFS can hold, by its index for them.
const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
const POSIX_ACL_ACCESS: (&[u8], u8) = (b"system.posix_acl_access", 2);
const POSIX_ACL_DEFAULT: (&[u8], u8) = (b"system.posix_acl_default", 3);

/// An inode's attributes, ready to be written behind it; empty when there are none.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) body: Box<[u8]>,
    /// Attributes in namespaces that EROFS (and so the guest) does not know.
    pub(crate) dropped: u64,
}

/// Encodes attributes in a fixed order; of two with one name the later counts.
pub(crate) fn encode(list: &[(Vec<u8>, Vec<u8>)], limits: &Limits) -> Result<Encoded, Refusal> {
    let mut sorted = BTreeMap::new();
    let mut dropped = 0;
    for (name, value) in list {
        let Some((index, suffix)) = split(name) else {
            dropped += 1;
            continue;
        };
        let (Ok(name_len), Ok(value_len)) = (u8::try_from(suffix.len()), u16::try_from(value.len())) else {
            return Err(Refusal::BadXattr { name: shown(name) });
        };
        sorted.insert((index, suffix), (name_len, value_len, value));
    }
    if sorted.is_empty() {
        return Ok(Encoded {
            body: Box::default(),
            dropped,
        });
    }
    let mut body = vec![0; HEADER_BYTES];
    for ((index, suffix), (name_len, value_len, value)) in sorted {
        body.extend_from_slice(&[name_len, index]);
        body.extend_from_slice(&value_len.to_le_bytes());
        body.extend_from_slice(suffix);
        body.extend_from_slice(value);
        body.resize(body.len().next_multiple_of(ALIGN), 0);
    }
    let limit = limits.xattr_bytes.min(MAX_BODY_BYTES);
    if body.len() > limit {
        return Err(Refusal::XattrsTooLarge { len: body.len(), limit });
    }
    Ok(Encoded {
        body: body.into(),
        dropped,
    })
}

fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    for (whole, index) in [POSIX_ACL_ACCESS, POSIX_ACL_DEFAULT] {
        if name == whole {
            return Some((index, b""));
        }
    }
    PREFIXES.iter().find_map(|(prefix, index)| {
        let suffix = name.strip_prefix(*prefix)?;
        (!suffix.is_empty() && !suffix.contains(&0)).then_some((*index, suffix))
    })
}

/// What an inode's `i_xattr_icount` says for a body: one for the header, one for each four bytes after it.
pub(crate) fn icount(body: &[u8]) -> u16 {
    match body.len().checked_sub(HEADER_BYTES) {
        None => 0,
        Some(entries) => u16::try_from(1 + entries / ALIGN).unwrap_or(u16::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (name.as_bytes().to_vec(), value.to_vec())
    }

    #[test]
    fn order_and_duplicates_do_not_change_the_bytes() {
        let limits = Limits::default();
        let one = encode(
            &[
                pair("user.b", b"2"),
                pair("security.capability", b"x"),
                pair("user.a", b"1"),
            ],
            &limits,
        )
        .unwrap();
        let two = encode(
            &[
                pair("user.a", b"old"),
                pair("user.a", b"1"),
                pair("security.capability", b"x"),
                pair("user.b", b"2"),
            ],
            &limits,
        )
        .unwrap();
        assert_eq!(one.body, two.body);
        assert_eq!(one.body.len(), 12 + 8 + 8 + 16);
        assert_eq!(icount(&one.body), 1 + 8);
    }

    #[test]
    fn unknown_namespaces_are_dropped_and_counted() {
        let encoded = encode(
            &[pair("btrfs.compression", b"zstd"), pair("user.", b"x")],
            &Limits::default(),
        )
        .unwrap();
        assert_eq!((encoded.body.len(), encoded.dropped), (0, 2));
        assert_eq!(icount(&encoded.body), 0);
    }

    #[test]
    fn attributes_that_do_not_fit_are_refused() {
        let limits = Limits::default();
        let long = format!("user.{}", "n".repeat(256));
        assert!(matches!(
            encode(&[pair(&long, b"")], &limits),
            Err(Refusal::BadXattr { .. })
        ));
        assert!(matches!(
            encode(&[pair("user.a", &vec![0; 65536])], &limits),
            Err(Refusal::BadXattr { .. })
        ));
        let many: Vec<_> = (0..3).map(|i| pair(&format!("user.{i}"), &vec![0; 30_000])).collect();
        assert!(matches!(encode(&many, &limits), Err(Refusal::XattrsTooLarge { .. })));
    }
}
