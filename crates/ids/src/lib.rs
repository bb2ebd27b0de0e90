//! Typed identifiers.
//!
//! An identifier is three letters that name its kind and a ULID in 26 lower-case base-32 characters, without a
//! separator (`mch01k9…`). So each is a DNS label, fits `^[a-z0-9]+$`, sorts by time of making, and cannot be
//! mistaken for one of another kind.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};
use thiserror::Error;
use ulid::Ulid;

/// A text that is no identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{value:?} is not a {kind} ID: expected {prefix:?} followed by 26 characters of 0-9 and a-z")]
pub struct InvalidId {
    kind: &'static str,
    prefix: &'static str,
    value: String,
}

/// Number of characters of an identifier: prefix and ULID.
pub const ID_LEN: usize = 29;

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// The three letters that open each identifier of this kind.
            pub const PREFIX: &'static str = $prefix;

            /// A new identifier, made of the clock and of randomness.
            #[must_use]
            #[allow(clippy::new_without_default, reason = "two calls differ; only projects have a default")]
            pub fn new() -> Self {
                Self(Ulid::new())
            }

            /// When it was made, in milliseconds since the Unix epoch; whoever made it says so.
            #[must_use]
            pub fn unix_ms(self) -> u64 {
                self.0.timestamp_ms()
            }

            /// The one that is this number, of those who have it in a form of their own.
            #[must_use]
            pub fn from_u128(number: u128) -> Self {
                Self(Ulid(number))
            }

            /// All of it as a number, for those who want 128 bits in a form of their own.
            pub fn to_u128(self) -> u128 {
                self.0.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(write_id($prefix, self.0, &mut [0; ID_LEN]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(value: &str) -> Result<Self, InvalidId> {
                parse_ulid(value, $prefix).map(Self).ok_or_else(|| InvalidId {
                    kind: $kind,
                    prefix: $prefix,
                    value: value.chars().take(64).collect(),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

/// The identifier's text. Nothing is allocated: each call of a function has an identifier in its headers.
fn write_id<'b>(prefix: &str, ulid: Ulid, buffer: &'b mut [u8; ID_LEN]) -> &'b str {
    let (head, tail) = buffer.split_at_mut(prefix.len());
    head.copy_from_slice(prefix.as_bytes());
    if let Some(tail) = tail.first_chunk_mut() {
        ulid.array_to_str(tail).make_ascii_lowercase();
    }
    std::str::from_utf8(buffer).unwrap_or_default()
}

/// Only the canonical spelling is taken: the ULID crate also reads upper case and look-alike letters, which would
/// give one machine several names.
fn parse_ulid(value: &str, prefix: &str) -> Option<Ulid> {
    let rest = value.strip_prefix(prefix)?;
    let ulid = Ulid::from_string(rest).ok()?;
    (ulid.to_string().to_ascii_lowercase() == rest).then_some(ulid)
}

typed_id!(
    /// One machine.
    MachineId, "mch", "machine"
);
typed_id!(
    /// One snapshot of a machine.
    SnapshotId, "snp", "snapshot"
);
typed_id!(
    /// One node: a host with its state folder.
    NodeId, "nod", "node"
);
typed_id!(
    /// One run of a command in a machine, beside its main program.
    ExecId, "exe", "exec"
);
typed_id!(
    /// One project: the tenant that owns machines, functions, keys and secrets.
    ProjectId, "prj", "project"
);
typed_id!(
    /// One key of a project.
    KeyId, "key", "key"
);
typed_id!(
    /// One function.
    FunctionId, "fnc", "function"
);
typed_id!(
    /// One call of a function.
    InvocationId, "inv", "invocation"
);
typed_id!(
    /// One trigger of a function.
    TriggerId, "trg", "trigger"
);
typed_id!(
    /// One sandbox: a machine that somebody runs commands in, for a time.
    SandboxId, "sbx", "sandbox"
);
typed_id!(
    /// One template of sandboxes.
    TemplateId, "tpl", "template"
);
typed_id!(
    /// One build of a template.
    BuildId, "bld", "build"
);
typed_id!(
    /// One volume: a shared folder that outlives machines.
    VolumeId, "vol", "volume"
);
typed_id!(
    /// One request to the API, for logs and problems.
    RequestId, "req", "request"
);

impl ProjectId {
    /// The project that every host has from the start. It owns what was made before there were projects.
    pub const DEFAULT: Self = Self(Ulid::nil());
}

impl Default for ProjectId {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let id = MachineId::new();
        let text = id.to_string();
        assert_eq!(text.len(), ID_LEN);
        assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        assert_eq!(text.parse::<MachineId>(), Ok(id));
    }

    #[test]
    fn refuses_other_kinds_and_other_spellings() {
        let id = MachineId::new().to_string();
        assert!(id.parse::<NodeId>().is_err());
        assert!(id.to_uppercase().parse::<MachineId>().is_err());
        assert!(id[..20].parse::<MachineId>().is_err());
        assert!("mch../../../../../../etc/passw".parse::<MachineId>().is_err());
    }
}
