//! Names that a guest may reach: one domain, or all below one.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// Bytes of a name (RFC 1035).
const NAME_MAX: usize = 253;
/// Bytes between two dots.
const LABEL_MAX: usize = 63;

/// `example.com`, or `*.example.com`: every name below it, however deep, and not itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainPattern {
    /// In small letters, without a closing dot.
    name: String,
    below: bool,
}

/// What is no name, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidDomain {
    /// With scheme, port or path.
    #[error("is neither an IP address, a CIDR block nor a domain: name the domain alone, without scheme, port or path")]
    NotAName,
    /// Beyond ASCII.
    #[error("has letters beyond ASCII: write the name as it stands in DNS, with xn--")]
    NotAscii,
    /// An asterisk in a place where it means nothing.
    #[error("has * elsewhere than as the first label: write *.example.com, or 0.0.0.0/0 for everything")]
    Wildcard,
    /// Ends in a number, as addresses do.
    #[error("ends in a number, as an address does: write a whole address or CIDR block")]
    Number,
    /// Too long, or an empty part.
    #[error(
        "is no domain: its labels have 1 to {LABEL_MAX} letters, digits, hyphens and underscores, {NAME_MAX} in all"
    )]
    Label,
}

impl DomainPattern {
    /// Whether the name is one of those meant. Case and a closing dot do not matter.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        if !self.below {
            return name.eq_ignore_ascii_case(&self.name);
        }
        let Some(split) = name.len().checked_sub(self.name.len()) else {
            return false;
        };
        let (Some(front), Some(end)) = (name.get(..split), name.get(split..)) else {
            return false;
        };
        // Something has to stand before the dot.
        end.eq_ignore_ascii_case(&self.name) && front.len() > 1 && front.ends_with('.')
    }
}

impl FromStr for DomainPattern {
    type Err = InvalidDomain;

    fn from_str(entry: &str) -> Result<Self, InvalidDomain> {
        if entry.contains([':', '/', '@', ' ']) {
            return Err(InvalidDomain::NotAName);
        }
        if !entry.is_ascii() {
            return Err(InvalidDomain::NotAscii);
        }
        let (below, name) = match entry.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, entry),
        };
        if name.contains('*') {
            return Err(InvalidDomain::Wildcard);
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if name.len() > NAME_MAX || !name.split('.').all(is_label) {
            return Err(InvalidDomain::Label);
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidDomain::Number);
        }
        Ok(Self { name, below })
    }
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LABEL_MAX).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = if self.below { "*." } else { "" };
        write!(f, "{below}{}", self.name)
    }
}
