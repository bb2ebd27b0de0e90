//! Names that people give to machines.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A machine's name: 1 to 63 characters of `a-z`, `A-Z`, `0-9`, `_`, `.`, `-`, the first a letter or digit
/// (docker's rule, cut to the length of a host name label).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineName(String);

/// A text that cannot be a machine's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("name {0:?} is not valid: use 1 to 63 letters, digits, '_', '.' or '-', beginning with a letter or digit")]
pub struct InvalidName(String);

impl MachineName {
    /// The name as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a host name: lower case, with `_` and `.` turned into `-`, and no `-` at its end.
    pub fn host_name(&self) -> String {
        let label: String = self
            .0
            .chars()
            .map(|c| {
                if matches!(c, '_' | '.') {
                    '-'
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect();
        label.trim_end_matches('-').to_owned()
    }
}

impl FromStr for MachineName {
    type Err = InvalidName;

    fn from_str(value: &str) -> Result<Self, InvalidName> {
        let valid = (1..=63).contains(&value.len())
            && value.starts_with(|c: char| c.is_ascii_alphanumeric())
            && value
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if valid {
            Ok(Self(value.to_owned()))
        } else {
            Err(InvalidName(value.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for MachineName {
    type Error = InvalidName;

    fn try_from(value: String) -> Result<Self, InvalidName> {
        value.parse()
    }
}

impl From<MachineName> for String {
    fn from(name: MachineName) -> Self {
        name.0
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_docker_like_names_only() {
        for good in ["a", "web-1", "My_App.2", &"x".repeat(63)] {
            assert!(good.parse::<MachineName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a/b", "a b", "ä", "../x", &"x".repeat(64)] {
            assert!(bad.parse::<MachineName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn host_name_is_a_dns_label() {
        assert_eq!("My_App.2-".parse::<MachineName>().unwrap().host_name(), "my-app-2");
    }
}
