//! Sizes of a machine.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A size out of its bounds, or not a size at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidSize {
    /// Fewer or more vCPUs than a VMM can have.
    #[error("cpus {0} is not valid: a machine has 1 to {max} vCPUs", max = Vcpus::MAX)]
    Vcpus(u64),
    /// Less memory than any guest boots with, or more than we address.
    #[error("memory {0} MiB is not valid: a machine has {min} to {max} MiB", min = MemoryMib::MIN, max = MemoryMib::MAX)]
    Memory(u64),
    /// A disk too small for a file system, or absurdly large.
    #[error("disk {0} MiB is not valid: a disk has {min} to {max} MiB", min = DiskMib::MIN, max = DiskMib::MAX)]
    Disk(u64),
    /// Not a number with an optional unit.
    #[error("size {0:?} is not valid: give a number of MiB, or one with a unit such as 512m, 2g or 1.5GiB")]
    Unreadable(String),
}

macro_rules! bounded_size {
    ($(#[$doc:meta])* $name:ident($inner:ty), $min:literal..=$max:literal, $variant:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name($inner);

        impl $name {
            /// The smallest value.
            pub const MIN: $inner = $min;
            /// The largest value.
            pub const MAX: $inner = $max;

            /// The plain number.
            pub fn get(self) -> $inner {
                self.0
            }
        }

        impl TryFrom<u64> for $name {
            type Error = InvalidSize;

            fn try_from(value: u64) -> Result<Self, InvalidSize> {
                <$inner>::try_from(value)
                    .ok()
                    .filter(|v| ($min..=$max).contains(v))
                    .map(Self)
                    .ok_or(InvalidSize::$variant(value))
            }
        }

        impl From<$name> for u64 {
            fn from(value: $name) -> Self {
                value.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

bounded_size!(
    /// Number of virtual CPUs. The upper bound is Firecracker's.
    Vcpus(u8), 1..=32, Vcpus
);
bounded_size!(
    /// Guest memory in MiB. The lower bound is only what makes a VMM start; whether a kernel boots in it is seen
    /// when it tries.
    MemoryMib(u32), 16..=1_048_576, Memory
);
bounded_size!(
    /// Size of a machine's own disk in MiB. The lower bound is what a journalled ext4 needs.
    DiskMib(u32), 16..=16_777_216, Disk
);

/// Reads a size as people write it: `512` and `512m` are MiB, `2g` is 2048 MiB, `1.5GiB` is 1536 MiB.
///
/// Units are powers of two, as docker reads them. Parts of a MiB are rounded up.
pub fn parse_size_mib(text: &str) -> Result<u64, InvalidSize> {
    let unreadable = || InvalidSize::Unreadable(text.chars().take(40).collect());
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let kib_per_unit = match unit
        .trim()
        .to_ascii_lowercase()
        .trim_end_matches("ib")
        .trim_end_matches('b')
    {
        "" | "m" => 1024.0,
        "k" => 1.0,
        "g" => 1024.0 * 1024.0,
        "t" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(unreadable()),
    };
    let number: f64 = number.parse().map_err(|_| unreadable())?;
    let mib = (number * kib_per_unit / 1024.0).ceil();
    if !(0.0..=1e12).contains(&mib) {
        return Err(unreadable());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded just above"
    )]
    Ok(mib as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_as_people_write_them() {
        for (text, mib) in [
            ("512", 512),
            ("512m", 512),
            ("2g", 2048),
            ("1.5GiB", 1536),
            ("64MB", 64),
            ("1k", 1),
        ] {
            assert_eq!(parse_size_mib(text), Ok(mib), "{text}");
        }
        for bad in ["", "m", "1x", "-5", "1.2.3", "9e99", "NaN"] {
            assert!(parse_size_mib(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bounds_hold_through_serde() {
        assert!(serde_json::from_str::<Vcpus>("0").is_err());
        assert!(serde_json::from_str::<Vcpus>("33").is_err());
        assert_eq!(serde_json::to_string(&Vcpus::try_from(4).unwrap()).unwrap(), "4");
    }
}
