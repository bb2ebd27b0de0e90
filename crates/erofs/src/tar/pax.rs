//! PAX extended headers: `LENGTH KEY=VALUE\n` records that override what the plain header can say.

use std::collections::BTreeMap;

use super::{Mtime, TarError};
use crate::error::Excess;

/// Records that global headers may leave behind, and their bytes: each entry begins with a copy. Honest ones leave next to
/// nothing.
const GLOBAL_RECORDS: u64 = 128;
const GLOBAL_BYTES: u64 = 64 << 10;

/// One record of an extended header.
pub(super) type Record = (Vec<u8>, Vec<u8>);

/// What records say together, by their keys: those of the global headers, or with them those of an entry's own.
#[derive(Debug, Clone, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<Mtime>,
    pub(super) device_major: Option<u64>,
    pub(super) device_minor: Option<u64>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sparse: SparseKeys,
}

/// The `GNU.sparse.*` records, which come in three versions.
#[derive(Debug, Clone, Default)]
pub(super) struct SparseKeys {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// Size with holes: `GNU.sparse.size` (0.x) or `GNU.sparse.realsize` (1.0).
    pub(super) real_size: Option<u64>,
    /// 0.1: `offset,length,…`.
    pub(super) map: Option<Vec<u8>>,
    /// 0.0: offsets and lengths in turn, from repeated keys.
    pub(super) pairs: Vec<u64>,
}

pub(super) fn parse(mut data: &[u8]) -> Result<Vec<Record>, TarError> {
    let mut records = Vec::new();
    while !data.is_empty() {
        // Some writers pad with NULs.
        if data.iter().all(|&byte| byte == 0) {
            break;
        }
        let (record, rest) = split_record(data).ok_or(TarError::PaxRecord)?;
        records.push(record);
        data = rest;
    }
    Ok(records)
}

fn split_record(data: &[u8]) -> Option<(Record, &[u8])> {
    let space = data.iter().take(20).position(|&byte| byte == b' ')?;
    let len = usize::try_from(decimal(&data[..space])?).ok()?;
    let record = data.get(space + 1..len)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    (!key.is_empty()).then(|| ((key.to_vec(), value.to_vec()), &data[len..]))
}

pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, &byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

impl Pax {
    /// Takes up records behind those that are there; an empty value takes an earlier one back.
    pub(super) fn add(&mut self, records: &[Record]) -> Result<(), TarError> {
        records.iter().try_for_each(|(key, value)| self.set(key, value))
    }

    /// Checks that this is little enough to be the beginning of every entry.
    pub(super) fn check_global(&self) -> Result<(), Excess> {
        let texts = [&self.path, &self.link_path, &self.sparse.name, &self.sparse.map];
        let texts = texts.into_iter().flatten().map(Vec::len);
        let xattrs = self.xattrs.iter().map(|(name, value)| name.len() + value.len());
        let pairs = self.sparse.pairs.iter().map(size_of_val);
        let (records, bytes) = texts
            .chain(xattrs)
            .chain(pairs)
            .fold((0, 0), |(records, bytes), len| (records + 1, bytes + len as u64));
        Excess::check("records kept from global PAX headers", records, GLOBAL_RECORDS)?;
        Excess::check("bytes kept from global PAX headers", bytes, GLOBAL_BYTES)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        match key {
            b"path" => self.path = text(value),
            b"linkpath" => self.link_path = text(value),
            b"size" => self.size = number("size", value)?,
            b"uid" => self.uid = number("uid", value)?.map(signed),
            b"gid" => self.gid = number("gid", value)?.map(signed),
            b"mtime" => self.mtime = time(value)?,
            b"SCHILY.devmajor" => self.device_major = number("SCHILY.devmajor", value)?,
            b"SCHILY.devminor" => self.device_minor = number("SCHILY.devminor", value)?,
            b"GNU.sparse.major" => self.sparse.major = number("GNU.sparse.major", value)?,
            b"GNU.sparse.minor" => self.sparse.minor = number("GNU.sparse.minor", value)?,
            b"GNU.sparse.name" => self.sparse.name = text(value),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse.real_size = number("GNU.sparse.realsize", value)?;
            }
            b"GNU.sparse.map" => self.sparse.map = text(value),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                self.sparse.pairs.extend(number("GNU.sparse.offset", value)?);
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        Ok(())
    }
}

fn text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_vec())
}

fn number(field: &'static str, value: &[u8]) -> Result<Option<u64>, TarError> {
    if value.is_empty() {
        return Ok(None);
    }
    let bad = || TarError::Number {
        field,
        value: value.escape_ascii().to_string(),
    };
    decimal(value).map(Some).ok_or_else(bad)
}

/// Owners beyond 63 bits are refused later, where the 32-bit range is checked.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// `[-]SECONDS[.FRACTION]`, rounded down to a nanosecond.
fn time(value: &[u8]) -> Result<Option<Mtime>, TarError> {
    if value.is_empty() {
        return Ok(None);
    }
    let bad = || TarError::Number {
        field: "mtime",
        value: value.escape_ascii().to_string(),
    };
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let mut halves = digits.splitn(2, |&byte| byte == b'.');
    let whole = decimal(halves.next().unwrap_or_default())
        .and_then(|s| i64::try_from(s).ok())
        .ok_or_else(bad)?;
    let mut nanos = 0;
    if let Some(fraction) = halves.next().filter(|fraction| !fraction.is_empty()) {
        if !fraction.iter().all(u8::is_ascii_digit) {
            return Err(bad());
        }
        let mut padded = [b'0'; 9];
        let len = fraction.len().min(9);
        padded[..len].copy_from_slice(&fraction[..len]);
        nanos = decimal(&padded).and_then(|n| u32::try_from(n).ok()).ok_or_else(bad)?;
    }
    Ok(Some(match (negative, nanos) {
        (false, _) => Mtime { seconds: whole, nanos },
        (true, 0) => Mtime { seconds: -whole, nanos },
        (true, _) => Mtime {
            seconds: -whole - 1,
            nanos: 1_000_000_000 - nanos,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_split_by_their_length() {
        let records = parse(b"12 path=a\nb\n20 SCHILY.xattr.u==\n").unwrap();
        assert_eq!(records[0], (b"path".to_vec(), b"a\nb".to_vec()));
        assert_eq!(records[1], (b"SCHILY.xattr.u".to_vec(), b"=".to_vec()));
    }

    #[test]
    fn damaged_records_are_errors() {
        for bad in [
            &b"5 a=b"[..],
            b"99 a=b\n",
            b"x a=b\n",
            b"6 =ab\n",
            b"7 abcd\n",
            b"0 \n",
            b"1 a=b\n",
            b"6 a=b\nrest",
        ] {
            assert!(parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn times_keep_nanoseconds_and_signs() {
        let at = |text: &str| time(text.as_bytes()).unwrap().map(|t| (t.seconds, t.nanos));
        assert_eq!(at("12.5"), Some((12, 500_000_000)));
        assert_eq!(at("12.0000000019"), Some((12, 1)));
        assert_eq!(at("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(at("-3"), Some((-3, 0)));
        assert_eq!(at("7."), Some((7, 0)));
        assert_eq!(at(""), None);
        assert!(time(b"1.x").is_err() && time(b"1e5").is_err() && time(b"1.0000000000x").is_err());
    }

    #[test]
    fn an_empty_value_takes_a_global_one_back() {
        let record = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
        let mut pax = Pax::default();
        pax.add(&[record(b"path", b"global"), record(b"SCHILY.xattr.user.a", b"global")])
            .unwrap();
        pax.add(&[record(b"path", b""), record(b"SCHILY.xattr.user.a", b"own")])
            .unwrap();
        assert_eq!(pax.path, None);
        assert_eq!(pax.xattrs, BTreeMap::from([record(b"user.a", b"own")]));
    }
}
