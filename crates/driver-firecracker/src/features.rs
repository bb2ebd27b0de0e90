//! What each Firecracker version can do. Pure: a version in, features out.
//!
//! A version newer than the newest known one is taken to do what that one does. What a version is too old for is left
//! out where it is a nicety, and refused where it was asked for.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A Firecracker version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Major.
    pub major: u16,
    /// Minor.
    pub minor: u16,
    /// Patch.
    pub patch: u16,
}

/// A text in which there is no version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no version such as 1.12.1 in {text:?}")]
pub struct NoVersion {
    text: String,
}

/// What a version can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes or no of its own")]
pub struct Features {
    /// The field of `/machine-config` that turns hyperthreading off is called `smt`; before, `ht_enabled`.
    pub smt: bool,
    /// The jailer takes `--cgroup-version` and `--parent-cgroup`.
    pub jailer_cgroup_v2: bool,
    /// Drives have an `io_engine`.
    pub io_engine: bool,
    /// MMDS has versions, and names the cards on which it answers.
    pub mmds_v2: bool,
    /// Version 2 of MMDS still answers after a snapshot was loaded.
    pub mmds_v2_restored: bool,
    /// There is a virtio-rng device.
    pub entropy: bool,
    /// There is `/cpu-config`, with templates of one's own.
    pub custom_cpu_templates: bool,
    /// Guest memory may lie in hugetlbfs.
    pub huge_pages: bool,
    /// Devices are described by ACPI too. Before, a guest finds them only if its kernel has
    /// `CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES`, which Debian's has not.
    pub acpi: bool,
    /// A snapshot can be loaded with another tap than it was made with (`network_overrides`). Saving needs it too, as
    /// what is saved is of no use else.
    pub snapshots: bool,
    /// `--enable-pci` puts the devices on a PCI bus.
    pub pci: bool,
    /// `/serial` says where the console goes.
    pub serial_output: bool,
    /// The jailer follows no link while it fills the jail (CVE-2026-1386). This driver gives it folders that nobody
    /// else could write yet, and so does not depend on it.
    pub jailer_nofollow: bool,
}

/// The oldest version that this driver drives.
pub const OLDEST: Version = Version::new(1, 0, 0);

impl Features {
    /// From which version on each feature is there.
    pub fn of(version: Version) -> Self {
        let from = |major, minor| version >= Version::new(major, minor, 0);
        Self {
            smt: from(1, 0),
            jailer_cgroup_v2: from(1, 0),
            io_engine: from(1, 0),
            mmds_v2: from(1, 0),
            mmds_v2_restored: from(1, 1),
            entropy: from(1, 4),
            custom_cpu_templates: from(1, 4),
            huge_pages: from(1, 7),
            acpi: from(1, 8),
            snapshots: from(1, 12),
            pci: from(1, 13),
            serial_output: from(1, 14),
            jailer_nofollow: version >= Version::new(1, 14, 1)
                || (version >= Version::new(1, 13, 2) && version < Version::new(1, 14, 0)),
        }
    }
}

impl Version {
    /// A version.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// Whether this driver drives it.
    pub fn is_supported(self) -> bool {
        self >= OLDEST
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = NoVersion;

    /// Finds the version in `1.12.1`, `v1.12.1`, `Firecracker v1.14.0-dev` or the many lines of `--version`.
    fn from_str(text: &str) -> Result<Self, NoVersion> {
        text.split(|c: char| c.is_whitespace() || c == '"')
            .find_map(parse_word)
            .ok_or_else(|| NoVersion {
                text: text.chars().take(100).collect(),
            })
    }
}

fn parse_word(word: &str) -> Option<Version> {
    let word = word.strip_prefix('v').unwrap_or(word);
    // A development build is `1.14.0-dev` or `1.13.0-12-gabcdef`.
    let mut numbers = word.split(['-', '+']).next()?.split('.').map(|part| part.parse().ok());
    let version = Version::new(numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(version: &str) -> Features {
        Features::of(version.parse().unwrap())
    }

    #[test]
    fn reads_versions_as_programs_print_them() {
        for text in [
            "1.12.1",
            "v1.12.1",
            "Firecracker v1.12.1\n\nSupported snapshot",
            "Jailer v1.12.1",
            "1.12.1-dev",
        ] {
            assert_eq!(text.parse(), Ok(Version::new(1, 12, 1)), "{text}");
        }
        for text in ["", "firecracker", "1.2", "1.2.3.4", "v1.x.3", "99999999.0.0"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(Version::new(1, 9, 0) < Version::new(1, 12, 1));
        assert!(!Version::new(0, 25, 2).is_supported());
        assert!(Version::new(1, 0, 0).is_supported());
    }

    #[test]
    fn each_feature_appears_with_its_version_and_stays() {
        type Feature = fn(Features) -> bool;
        let table: [(&str, &str, Feature); 12] = [
            ("0.25.0", "1.0.0", |f| f.smt),
            ("0.25.0", "1.0.0", |f| f.jailer_cgroup_v2),
            ("0.25.0", "1.0.0", |f| f.io_engine),
            ("0.25.0", "1.0.0", |f| f.mmds_v2),
            ("1.0.0", "1.1.0", |f| f.mmds_v2_restored),
            ("1.3.3", "1.4.0", |f| f.entropy),
            ("1.3.3", "1.4.0", |f| f.custom_cpu_templates),
            ("1.6.0", "1.7.0", |f| f.huge_pages),
            ("1.7.0", "1.8.0", |f| f.acpi),
            ("1.11.0", "1.12.0", |f| f.snapshots),
            ("1.12.1", "1.13.0", |f| f.pci),
            ("1.13.1", "1.14.0", |f| f.serial_output),
        ];
        for (before, since, has) in table {
            assert!(!has(features(before)), "{before}");
            assert!(has(features(since)), "{since}");
            assert!(has(features("1.16.2")));
        }
    }

    #[test]
    fn a_fix_counts_on_the_branches_that_got_it() {
        for (version, fixed) in [
            ("1.12.1", false),
            ("1.13.1", false),
            ("1.13.2", true),
            ("1.14.0", false),
            ("1.14.1", true),
        ] {
            assert_eq!(features(version).jailer_nofollow, fixed, "{version}");
        }
    }

    #[test]
    fn a_newer_version_does_what_the_newest_known_does() {
        assert_eq!(features("9.9.9"), features("1.16.2"));
    }
}
