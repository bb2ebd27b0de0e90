//! Projects: their names and what they may hold.

use std::{fmt, num::NonZeroU32, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A project's name: 1 to 40 characters of `a-z`, `0-9` and `-`, the first a letter, the last no `-`. It is a label of
/// host names (`NAME.PROJECT.fn.…`) and a part of paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectName(String);

/// A secret's name: 1 to 128 characters of `A-Z`, `a-z`, `0-9`, `_`, `-`, `.`, the first a letter or `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

/// A text that cannot be such a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind} name {value:?} is not valid: use {rule}")]
pub struct InvalidLabel {
    kind: &'static str,
    value: String,
    rule: &'static str,
}

/// What a project may hold. `None` is without bound but the node's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quotas {
    /// Machines, at rest or not.
    pub machines: Option<u32>,
    /// Virtual CPUs of all of them.
    pub vcpus: Option<u32>,
    /// Memory of all of them, in MiB.
    pub memory_mib: Option<u64>,
    /// Functions.
    pub functions: Option<u32>,
    /// Requests to the API in a second, on average; short bursts of twice as many pass.
    pub requests_per_second: Option<u32>,
}

/// What a project holds, or would hold more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    /// Machines.
    pub machines: u64,
    /// Virtual CPUs.
    pub vcpus: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
}

/// A quota that does not allow more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the project may have {limit} {what}, holds {held}, and {wanted} more would be too many")]
pub struct QuotaExceeded {
    /// Of what, in words.
    pub what: &'static str,
    /// The quota's field.
    pub field: &'static str,
    /// The quota.
    pub limit: u64,
    /// What is held.
    pub held: u64,
    /// What was asked for.
    pub wanted: u64,
}

impl Quotas {
    /// Requests per second, where they are bounded.
    pub fn rate(&self) -> Option<NonZeroU32> {
        self.requests_per_second.and_then(NonZeroU32::new)
    }

    /// Whether one more function may be held.
    pub fn admit_function(&self, held: u64) -> Result<(), QuotaExceeded> {
        match self.functions.map(u64::from) {
            Some(limit) if held >= limit => Err(QuotaExceeded {
                what: "functions",
                field: "functions",
                limit,
                held,
                wanted: 1,
            }),
            _ => Ok(()),
        }
    }

    /// Whether so much more may be held.
    pub fn admit(&self, held: Holding, wanted: Holding) -> Result<(), QuotaExceeded> {
        let check = |what, field, limit: Option<u64>, held: u64, wanted: u64| match limit {
            Some(limit) if held.saturating_add(wanted) > limit => Err(QuotaExceeded {
                what,
                field,
                limit,
                held,
                wanted,
            }),
            _ => Ok(()),
        };
        let (machines, vcpus) = (self.machines.map(u64::from), self.vcpus.map(u64::from));
        check("machines", "machines", machines, held.machines, wanted.machines)?;
        check("virtual CPUs", "cpus", vcpus, held.vcpus, wanted.vcpus)?;
        check(
            "MiB of memory",
            "memory_mib",
            self.memory_mib,
            held.memory_mib,
            wanted.memory_mib,
        )
    }
}

fn refused(kind: &'static str, value: &str, rule: &'static str) -> InvalidLabel {
    InvalidLabel {
        kind,
        value: value.chars().take(80).collect(),
        rule,
    }
}

impl FromStr for ProjectName {
    type Err = InvalidLabel;

    fn from_str(value: &str) -> Result<Self, InvalidLabel> {
        let valid = (1..=40).contains(&value.len())
            && value.starts_with(|c: char| c.is_ascii_lowercase())
            && !value.ends_with('-')
            && value
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if valid {
            Ok(Self(value.to_owned()))
        } else {
            let rule = "1 to 40 lower-case letters, digits or '-', beginning with a letter and not ending with '-'";
            Err(refused("project", value, rule))
        }
    }
}

impl FromStr for SecretName {
    type Err = InvalidLabel;

    fn from_str(value: &str) -> Result<Self, InvalidLabel> {
        let valid = (1..=128).contains(&value.len())
            && value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if valid {
            Ok(Self(value.to_owned()))
        } else {
            let rule = "1 to 128 letters, digits, '_', '-' or '.', beginning with a letter or '_'";
            Err(refused("secret", value, rule))
        }
    }
}

macro_rules! label {
    ($name:ident) => {
        impl $name {
            /// The name as given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidLabel;

            fn try_from(value: String) -> Result<Self, InvalidLabel> {
                value.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

label!(ProjectName);
label!(SecretName);

impl Default for ProjectName {
    /// That of the project that every host has from the start.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for good in ["default", "a", "team-1", &"a".repeat(40)] {
            assert!(good.parse::<ProjectName>().is_ok(), "{good}");
        }
        for bad in ["", "1a", "-a", "a-", "A", "a.b", "a_b", "ä", &"a".repeat(41)] {
            assert!(bad.parse::<ProjectName>().is_err(), "{bad}");
        }
        for good in ["A", "_x", "db.password-2"] {
            assert!(good.parse::<SecretName>().is_ok(), "{good}");
        }
        for bad in ["", "1", "a/b", "a b", ".a", "a=b", &"a".repeat(129)] {
            assert!(bad.parse::<SecretName>().is_err(), "{bad}");
        }
        assert_eq!(ProjectName::default(), "default".parse().unwrap());
    }

    #[test]
    fn a_quota_is_met_exactly_and_not_passed() {
        let quotas = Quotas {
            vcpus: Some(4),
            memory_mib: Some(1024),
            ..Quotas::default()
        };
        let held = Holding {
            machines: 1,
            vcpus: 2,
            memory_mib: 512,
        };
        let more = |vcpus, memory_mib| {
            quotas.admit(
                held,
                Holding {
                    machines: 1,
                    vcpus,
                    memory_mib,
                },
            )
        };
        assert_eq!(more(2, 512), Ok(()));
        assert_eq!(more(3, 512).unwrap_err().field, "cpus");
        assert_eq!(more(2, 513).unwrap_err().field, "memory_mib");
        assert_eq!(more(u64::MAX, 1).unwrap_err().held, 2);
        assert_eq!(Quotas::default().admit(held, held), Ok(()));
        let two = Quotas {
            functions: Some(2),
            ..quotas
        };
        assert_eq!(two.admit_function(1), Ok(()));
        assert_eq!(two.admit_function(2).unwrap_err().held, 2);
        assert_eq!(quotas.admit_function(u64::MAX), Ok(()));
    }
}
