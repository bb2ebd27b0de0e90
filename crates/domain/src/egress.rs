//! Which destinations beyond its slot's own limits a guest may reach: what is allowed, then what is denied.
//!
//! ```text
//!   near (host, guests, private) ──► refused, whatever stands here     (`network` knows what is near)
//!   in `allow`                   ──► let through
//!   in `deny`                    ──► refused
//!   else                         ──► let through
//! ```
//! Addresses are judged as packets. A domain is judged by the name that a connection to port 80 or 443 itself gives
//! (`Host`, SNI): an answer of DNS says only what an address is today, and the guest could have made it up. A packet has
//! no name, so allowed domains mean something only where all addresses are denied.
//!
//! An IPv4 network stands for the addresses as well that lead there by NAT64 (RFC 6052), and `0.0.0.0/0` denied stands
//! for all traffic, in both families: who denies all means IPv6 too.

mod pattern;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::pattern::{DomainPattern, InvalidDomain};

/// Entries of one list at most.
pub const EGRESS_ENTRIES_MAX: usize = 1000;

/// What a guest may reach. The default forbids nothing beyond what every slot does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Lists", into = "Lists")]
pub struct EgressRules {
    allow: Vec<EgressTarget>,
    deny: Vec<IpNet>,
}

/// The rules as they are written down.
#[derive(Debug, Serialize, Deserialize)]
struct Lists {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
}

/// A destination that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EgressTarget {
    /// Addresses, on every port.
    Net(IpNet),
    /// A name, on ports 80 and 443.
    Domain(DomainPattern),
}

/// Which list an entry stands in, by the name that users know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressList {
    /// What is let through.
    Allow,
    /// What is refused.
    Deny,
}

/// Rules that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidEgress {
    /// More than can be kept.
    #[error("{list} has {count} entries: give at most {EGRESS_ENTRIES_MAX}, for instance as larger networks")]
    TooMany {
        /// Where.
        list: EgressList,
        /// How many.
        count: usize,
    },
    /// An entry of what is refused that is no network.
    #[error(
        "denyOut[{index}] {entry:?} is no IP address or CIDR block: deny addresses, or deny 0.0.0.0/0 and name the allowed \
         domains in allowOut"
    )]
    NoNet {
        /// Its place.
        index: usize,
        /// As it was given.
        entry: String,
    },
    /// An entry of what is let through that looks like a network and is none.
    #[error("allowOut[{index}] {entry:?} is no CIDR block: write an address and a length, such as 192.0.2.0/24")]
    NoCidr {
        /// Its place.
        index: usize,
        /// As it was given.
        entry: String,
    },
    /// An entry of what is let through that is no name.
    #[error("allowOut[{index}] {entry:?}: {reason}")]
    NoDomain {
        /// Its place.
        index: usize,
        /// As it was given.
        entry: String,
        /// Why not, and the way out.
        reason: InvalidDomain,
    },
    /// Domains beside open addresses would forbid nothing.
    #[error(
        "allowOut names the domain {domain:?}, which only means something where all else is denied: add 0.0.0.0/0 to denyOut"
    )]
    DomainsWithoutDeny {
        /// The first of them.
        domain: String,
    },
}

impl EgressRules {
    /// Reads the lists as users write them: addresses, CIDR blocks and, to allow, domains.
    pub fn parse<A: AsRef<str>, D: AsRef<str>>(allow: &[A], deny: &[D]) -> Result<Self, InvalidEgress> {
        bound(EgressList::Allow, allow.len())?;
        bound(EgressList::Deny, deny.len())?;
        let allow = allow.iter().enumerate();
        let deny = deny.iter().enumerate();
        Self {
            allow: allow
                .map(|(index, entry)| EgressTarget::parse(index, entry.as_ref()))
                .collect::<Result<_, _>>()?,
            deny: deny
                .map(|(index, entry)| denied(index, entry.as_ref()))
                .collect::<Result<_, _>>()?,
        }
        .checked()
    }

    /// Reads the lists of a guest that is to have no internet but what is allowed: as if all were denied.
    pub fn parse_without_internet<A: AsRef<str>, D: AsRef<str>>(
        allow: &[A],
        deny: &[D],
    ) -> Result<Self, InvalidEgress> {
        let all = IpNet::V4(Ipv4Net::default());
        let mut rules = Self::parse::<A, D>(&[], deny)?;
        if !rules.denies_all() {
            rules.deny.insert(0, all);
        }
        bound(EgressList::Deny, rules.deny.len())?;
        rules.allow = Self::parse(allow, &[all.to_string()])?.allow;
        Ok(rules)
    }

    fn checked(self) -> Result<Self, InvalidEgress> {
        if self.denies_all() {
            return Ok(self);
        }
        let first = self.domains().next().map(ToString::to_string);
        match first {
            Some(domain) => Err(InvalidEgress::DomainsWithoutDeny { domain }),
            None => Ok(self),
        }
    }

    /// What is let through, as it was given.
    pub fn allow(&self) -> &[EgressTarget] {
        &self.allow
    }

    /// What is refused, as it was given.
    pub fn deny(&self) -> &[IpNet] {
        &self.deny
    }

    /// Whether they forbid nothing.
    pub fn is_open(&self) -> bool {
        self.deny.is_empty()
    }

    /// Whether all addresses are refused that are not allowed.
    pub fn denies_all(&self) -> bool {
        self.deny.iter().any(|net| is_all_v4(*net))
    }

    /// Whether names decide, so that somebody has to read them.
    pub fn has_domains(&self) -> bool {
        self.domains().next().is_some()
    }

    fn domains(&self) -> impl Iterator<Item = &DomainPattern> {
        self.allow.iter().filter_map(|target| match target {
            EgressTarget::Domain(domain) => Some(domain),
            EgressTarget::Net(_) => None,
        })
    }

    /// All networks that are let through, as packets have them.
    pub fn allowed_nets(&self) -> Vec<IpNet> {
        let nets = self.allow.iter().filter_map(|target| match target {
            EgressTarget::Net(net) => Some(*net),
            EgressTarget::Domain(_) => None,
        });
        nets.flat_map(|net| [Some(net), translated(net)]).flatten().collect()
    }

    /// All networks that are refused where they are not let through, as packets have them.
    pub fn denied_nets(&self) -> Vec<IpNet> {
        let nets = self.deny.iter().flat_map(|net| [Some(*net), translated(*net)]);
        let all_v6 = self.denies_all().then(|| IpNet::V6(Ipv6Net::default()));
        nets.flatten().chain(all_v6).collect()
    }

    /// Whether the rules let packets through to the address.
    pub fn permits(&self, address: IpAddr) -> bool {
        let within = |nets: Vec<IpNet>| nets.iter().any(|net| net.contains(&address));
        !within(self.denied_nets()) || within(self.allowed_nets())
    }

    /// Whether a connection to ports 80 or 443 may go to the name, or DNS be asked for it.
    pub fn permits_name(&self, name: &str) -> bool {
        !self.denies_all() || self.domains().any(|domain| domain.matches(name))
    }
}

impl EgressTarget {
    fn parse(index: usize, entry: &str) -> Result<Self, InvalidEgress> {
        if let Some(net) = parse_net(entry) {
            return Ok(Self::Net(net));
        }
        if entry.contains('/') && !entry.contains("://") {
            return Err(InvalidEgress::NoCidr {
                index,
                entry: short(entry),
            });
        }
        let refused = |reason| InvalidEgress::NoDomain {
            index,
            entry: short(entry),
            reason,
        };
        entry.parse().map(Self::Domain).map_err(refused)
    }
}

fn bound(list: EgressList, count: usize) -> Result<(), InvalidEgress> {
    if count > EGRESS_ENTRIES_MAX {
        return Err(InvalidEgress::TooMany { list, count });
    }
    Ok(())
}

fn denied(index: usize, entry: &str) -> Result<IpNet, InvalidEgress> {
    parse_net(entry).ok_or_else(|| InvalidEgress::NoNet {
        index,
        entry: short(entry),
    })
}

/// An address or a CIDR block; bits behind its length are of no account.
fn parse_net(entry: &str) -> Option<IpNet> {
    let net = match entry.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => entry.parse::<IpNet>().ok()?,
    };
    Some(unmapped(net.trunc()))
}

/// `::ffff:192.0.2.1` is what a program calls 192.0.2.1; no packet has it.
fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let v4 = v6.network().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    let unmapped = v4.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    unmapped.map_or(net, IpNet::V4)
}

/// The addresses that lead to an IPv4 network by NAT64, `64:ff9b::/96`.
fn translated(net: IpNet) -> Option<IpNet> {
    let IpNet::V4(v4) = net else { return None };
    let nat64 = u128::from(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0));
    let address = Ipv6Addr::from(nat64 | u128::from(u32::from(v4.network())));
    Ipv6Net::new(address, 96 + v4.prefix_len()).ok().map(IpNet::V6)
}

fn is_all_v4(net: IpNet) -> bool {
    matches!(net, IpNet::V4(net) if net.prefix_len() == 0)
}

/// What of a wrong entry an error repeats.
fn short(entry: &str) -> String {
    entry.chars().take(80).collect()
}

impl TryFrom<Lists> for EgressRules {
    type Error = InvalidEgress;

    fn try_from(lists: Lists) -> Result<Self, InvalidEgress> {
        Self::parse(&lists.allow, &lists.deny)
    }
}

impl From<EgressRules> for Lists {
    fn from(rules: EgressRules) -> Self {
        Self {
            allow: rules.allow.iter().map(ToString::to_string).collect(),
            deny: rules.deny.iter().map(ToString::to_string).collect(),
        }
    }
}

impl fmt::Display for EgressTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(net) => net.fmt(f),
            Self::Domain(domain) => domain.fmt(f),
        }
    }
}

impl fmt::Display for EgressList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allowOut",
            Self::Deny => "denyOut",
        })
    }
}
