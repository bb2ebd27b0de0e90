//! Netlink attributes: length, type, value, padded to four bytes.

const NESTED: u16 = 1 << 15;
/// Without the marks for nested values and network order.
const TYPE_MASK: u16 = 0x3fff;

/// Appends one attribute.
pub(crate) fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Appends a number in network order, as `nf_tables` has nearly all of its numbers.
pub(super) fn put_u32(bytes: &mut Vec<u8>, kind: u16, value: u32) {
    put(bytes, kind, &value.to_be_bytes());
}

/// Appends a text with its closing zero.
pub(super) fn put_text(bytes: &mut Vec<u8>, kind: u16, value: &str) {
    let mut text = value.as_bytes().to_vec();
    text.push(0);
    put(bytes, kind, &text);
}

/// Appends an attribute that holds attributes.
pub(crate) fn put_nested(bytes: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    put(bytes, kind | NESTED, &[]);
    fill(bytes);
    let length = u16::try_from(bytes.len() - start).unwrap_or(u16::MAX);
    bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
}

/// The value of the first attribute of the kind; none if there is none, or it is cut.
pub(crate) fn find(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = u16::from_ne_bytes(*bytes.first_chunk()?).into();
        let found = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?) & TYPE_MASK;
        let value = bytes.get(4..length)?;
        if found == kind {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

/// Appends one nfnetlink message: `nlmsghdr`, `nfgenmsg`, attributes.
pub(crate) fn message(bytes: &mut Vec<u8>, kind: u16, flags: u16, seq: u32, header: [u8; 4], attributes: &[u8]) {
    let length = u32::try_from(20 + attributes.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&seq.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(attributes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_and_nests() {
        let mut bytes = Vec::new();
        put_nested(&mut bytes, 4, |inner| put_text(inner, 1, "masq"));
        assert_eq!(&bytes[..2], &16_u16.to_ne_bytes());
        assert_eq!(&bytes[2..4], &(4_u16 | NESTED).to_ne_bytes());
        assert_eq!(&bytes[4..6], &9_u16.to_ne_bytes());
        assert_eq!(&bytes[8..], b"masq\0\0\0\0");
    }
}
