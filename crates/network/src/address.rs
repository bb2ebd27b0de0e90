//! Who gets which name and address. Pure: nothing here touches the host.
//!
//! A slot is a number; all that is its own (namespace, cable, addresses) follows from the number, the instance and the
//! pool. So two slots cannot clash as long as their numbers differ, and what belongs to nobody can be found by name.

use std::{
    collections::BTreeSet,
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
    str::FromStr,
};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize, de};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::link::Mac;

/// The hardware address of every guest's card: all guests of slots look alike, so a snapshot restores anywhere.
pub const GUEST_MAC: MacAddr = MacAddr([0x02, 0x48, 0x45, 0x52, 0x54, 0x48]);
/// The hardware address of every guest's gateway: a guest that was restored in another slot sends to the one it knows.
pub(crate) const GATEWAY_MAC: MacAddr = MacAddr([0x02, 0x48, 0x45, 0x47, 0x57, 0x59]);
/// The guest's own address, in a network of [`GUEST_PREFIX_LEN`] bits.
pub const GUEST_IPV4: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 2);
/// The guest's gateway, and the peer that it sees for whatever the node opens.
pub const GATEWAY_IPV4: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 1);
/// Length of the guest's IPv4 network.
pub const GUEST_PREFIX_LEN: u8 = 30;
/// The guest's own IPv6 address, in a network of [`GUEST_PREFIX_LEN_V6`] bits.
pub const GUEST_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd68, 0x6561, 0x7274, 0, 0, 0, 0, 2);
/// The guest's IPv6 gateway.
pub const GATEWAY_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd68, 0x6561, 0x7274, 0, 0, 0, 0, 1);
/// Length of the guest's IPv6 network.
pub const GUEST_PREFIX_LEN_V6: u8 = 64;

/// Slots that one instance may have at most: their cables' names and hardware addresses have room for no more.
pub const MAX_CAPACITY: u32 = 16_384;

/// A hardware address, written `aa:bb:cc:dd:ee:ff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacAddr(pub [u8; 6]);

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if place == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl FromStr for MacAddr {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        let refused = || format!("{value:?} is no hardware address: expected aa:bb:cc:dd:ee:ff");
        let mut bytes = [0; 6];
        let mut parts = value.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(refused)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        if parts.next().is_some() {
            Err(refused())
        } else {
            Ok(Self(bytes))
        }
    }
}

impl Serialize for MacAddr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Which daemon of the host something belongs to: six characters made of the path of its state folder.
///
/// The length is fixed, so that `hv<instance><number>` of one instance is never that of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceId(String);

impl InstanceId {
    const LEN: usize = 6;

    /// That of the state folder, whose path is canonical.
    pub fn of_folder(folder: &Path) -> Self {
        let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
        let mut text = data_encoding::BASE32_NOPAD.encode(&digest).to_ascii_lowercase();
        text.truncate(Self::LEN);
        Self(text)
    }

    /// Its six characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A number of 40 bits, the same for each call, that differs between instances.
    fn hash40(&self) -> [u8; 5] {
        let digest = Sha256::digest(self.0.as_bytes());
        let mut bytes = [0; 5];
        bytes.copy_from_slice(&digest[..5]);
        bytes
    }

    /// Name of the slot's namespace.
    pub(crate) fn netns_name(&self, index: u32) -> String {
        format!("hv-{}-{index}", self.0)
    }

    /// The slot whose namespace has this name; none if it is another's.
    pub(crate) fn slot_of_netns(&self, name: &str) -> Option<u32> {
        number(name.strip_prefix("hv-")?.strip_prefix(&self.0)?.strip_prefix('-')?)
    }

    /// Name of the host's end of the slot's cable.
    pub(crate) fn veth_name(&self, index: u32) -> String {
        format!("hv{}{index}", self.0)
    }

    /// Name of the slot's tap on the bridge.
    pub(crate) fn bridge_tap_name(&self, index: u32) -> String {
        format!("hv{}b{index}", self.0)
    }

    /// Whether a link of the host is one of this instance's slots.
    pub(crate) fn owns_link(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix("hv").and_then(|rest| rest.strip_prefix(&self.0)) else {
            return false;
        };
        number(rest.strip_prefix('b').unwrap_or(rest)).is_some()
    }

    /// What the names of all its links on the host begin with, as a rule's pattern.
    pub(crate) fn link_pattern(&self) -> String {
        format!("hv{}*", self.0)
    }

    /// Name of its tables on the host.
    pub(crate) fn table_name(&self) -> String {
        format!("hearth-{}", self.0)
    }

    /// The networks that may serve as its pool, in the order in which they are tried: all those of the length in
    /// 100.64.0.0/10 (RFC 6598), from a place that differs between instances.
    pub(crate) fn pool_candidates(&self, prefix_len: u8) -> impl Iterator<Item = Ipv4Net> + use<> {
        let count = 1_u32 << (prefix_len - 10);
        let start = u32::from_be_bytes([0, 0, self.hash40()[0], self.hash40()[1]]) % count;
        (0..count).filter_map(move |step| {
            let place = (start + step) % count;
            let base = u32::from(Ipv4Addr::new(100, 64, 0, 0)) + (place << (32 - prefix_len));
            Ipv4Net::new(Ipv4Addr::from(base), prefix_len).ok()
        })
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn number(text: &str) -> Option<u32> {
    // Only the spelling that we write: "+1" or "01" would be somebody else's.
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

/// The length of a network that has room for two addresses a slot.
pub(crate) fn pool_prefix_len(capacity: u32) -> u8 {
    let bits = (2 * capacity.max(1)).next_power_of_two().trailing_zeros();
    // At most 16,384 slots, so at most 15 bits.
    32 - u8::try_from(bits).unwrap_or(15)
}

/// The addresses of one slot outside of the guest's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotAddresses {
    /// The host's end of the cable.
    pub host_ipv4: Ipv4Addr,
    /// The slot's end: where the node reaches the guest.
    pub slot_ipv4: Ipv4Addr,
    /// The host's end of the cable.
    pub host_ipv6: Ipv6Addr,
    /// The slot's end.
    pub slot_ipv6: Ipv6Addr,
    pub(crate) host_mac: Mac,
    pub(crate) slot_mac: Mac,
}

/// Length of the network between host and slot (RFC 3021).
pub(crate) const LINK_PREFIX_LEN: u8 = 31;
/// Length of the IPv6 network between host and slot.
pub(crate) const LINK_PREFIX_LEN_V6: u8 = 64;

/// Hands out slot numbers, each to one at a time.
#[derive(Debug, Clone)]
pub struct SlotAllocator {
    capacity: u32,
    used: BTreeSet<u32>,
    /// Where the search for a free number goes on: a number that was just given back comes last.
    next: u32,
}

impl SlotAllocator {
    /// All numbers below `capacity` are free.
    pub fn new(capacity: u32) -> Self {
        Self {
            capacity,
            used: BTreeSet::new(),
            next: 0,
        }
    }

    /// How many of them are taken.
    pub fn used(&self) -> usize {
        self.used.len()
    }

    /// Takes a free number; none if all are taken.
    pub fn allocate(&mut self) -> Option<u32> {
        let index = (self.next..self.capacity)
            .chain(0..self.next)
            .find(|index| !self.used.contains(index))?;
        self.used.insert(index);
        self.next = (index + 1) % self.capacity;
        Some(index)
    }

    /// Takes this very number; false if it is taken or none of ours.
    pub fn reserve(&mut self, index: u32) -> bool {
        index < self.capacity && self.used.insert(index)
    }

    /// Gives a number back; false if it was not taken.
    pub fn release(&mut self, index: u32) -> bool {
        self.used.remove(&index)
    }
}

/// A pool without room for the slots.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "network pool {pool} has too few addresses for {capacity} slots of two each: choose a network of at least \
     /{wanted} or fewer slots (at most {MAX_CAPACITY})"
)]
pub struct PoolTooSmall {
    pool: Ipv4Net,
    capacity: u32,
    wanted: u8,
}

/// The networks that the addresses of slots are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPlan {
    /// Two IPv4 addresses a slot.
    pub pool: Ipv4Net,
    /// A /64 a slot.
    pub prefix_v6: Ipv6Net,
}

impl AddressPlan {
    /// The plan of an instance with so many slots in this pool.
    pub fn new(instance: &InstanceId, pool: Ipv4Net, capacity: u32) -> Result<Self, PoolTooSmall> {
        let wanted = pool_prefix_len(capacity);
        if pool.prefix_len() > wanted || capacity > MAX_CAPACITY {
            return Err(PoolTooSmall { pool, capacity, wanted });
        }
        // RFC 4193: fd and 40 bits, ours made of the instance.
        let mut base = [0; 16];
        base[0] = 0xfd;
        base[1..6].copy_from_slice(&instance.hash40());
        let base = Ipv6Addr::from(base);
        Ok(Self {
            pool: pool.trunc(),
            prefix_v6: Ipv6Net::new_assert(base, 48),
        })
    }

    /// The addresses that belong to a number.
    pub fn addresses(&self, index: u32) -> SlotAddresses {
        let host = u32::from(self.pool.network()) + 2 * index;
        let net_v6 = u128::from(self.prefix_v6.network()) | u128::from(index) << 64;
        let [_, _, high, low] = index.to_be_bytes();
        SlotAddresses {
            host_ipv4: Ipv4Addr::from(host),
            slot_ipv4: Ipv4Addr::from(host + 1),
            host_ipv6: Ipv6Addr::from(net_v6 | 1),
            slot_ipv6: Ipv6Addr::from(net_v6 | 2),
            host_mac: [0x02, 0x48, 0x45, 0x01, high, low],
            slot_mac: [0x02, 0x48, 0x45, 0x02, high, low],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn instance(path: &str) -> InstanceId {
        InstanceId::of_folder(Path::new(path))
    }

    #[test]
    fn names_are_read_back_and_others_are_not_taken_for_ours() {
        let (ours, other) = (instance("/var/lib/hearth"), instance("/srv/hearth"));
        assert_ne!(ours, other);
        for index in [0, 7, MAX_CAPACITY - 1] {
            assert_eq!(ours.slot_of_netns(&ours.netns_name(index)), Some(index));
            assert_eq!(ours.slot_of_netns(&other.netns_name(index)), None);
            assert!(ours.owns_link(&ours.veth_name(index)) && ours.owns_link(&ours.bridge_tap_name(index)));
            assert!(!ours.owns_link(&other.veth_name(index)));
            assert!(ours.veth_name(index).len() <= 15 && ours.bridge_tap_name(index).len() <= 15);
        }
        for foreign in [
            "eth0",
            "hv",
            &format!("hv{ours}"),
            &format!("hv{ours}01"),
            &format!("hv{ours}1x"),
        ] {
            assert!(!ours.owns_link(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_hardware_address_reads_back() {
        assert_eq!(GUEST_MAC.to_string(), "02:48:45:52:54:48");
        assert_eq!("02:48:45:52:54:48".parse(), Ok(GUEST_MAC));
        for bad in [
            "",
            "02:48:45:52:54",
            "02:48:45:52:54:48:00",
            "2:48:45:52:54:48",
            "zz:48:45:52:54:48",
        ] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn pools_fit_and_lie_in_the_shared_range() {
        assert_eq!(pool_prefix_len(1), 31);
        assert_eq!(pool_prefix_len(1024), 21);
        assert_eq!(pool_prefix_len(MAX_CAPACITY), 17);
        let candidates: HashSet<_> = instance("/x").pool_candidates(21).collect();
        assert_eq!(candidates.len(), 2048);
        let shared: Ipv4Net = "100.64.0.0/10".parse().unwrap();
        assert!(candidates.iter().all(|net| shared.contains(net)));
        let small = "100.64.0.0/30".parse().unwrap();
        assert!(AddressPlan::new(&instance("/x"), small, 3).is_err());
    }

    proptest! {
        #[test]
        fn no_number_is_held_twice_and_none_is_lost(
            capacity in 1_u32..40,
            steps in prop::collection::vec((0_u8..3, 0_u32..50), 0..200),
        ) {
            let mut allocator = SlotAllocator::new(capacity);
            let mut held = HashSet::new();
            for (step, index) in steps {
                match step {
                    0 => {
                        let index = allocator.allocate();
                        prop_assert_eq!(index.is_none(), held.len() == capacity as usize);
                        prop_assert!(index.is_none_or(|index| index < capacity && held.insert(index)));
                    }
                    1 => prop_assert_eq!(allocator.release(index), held.remove(&index)),
                    _ => prop_assert_eq!(allocator.reserve(index), index < capacity && held.insert(index)),
                }
                prop_assert_eq!(allocator.used(), held.len());
            }
        }

        #[test]
        fn addresses_of_different_slots_differ(one in 0..1024_u32, other in 0..1024_u32) {
            let pool: Ipv4Net = "100.64.8.0/21".parse().unwrap();
            let plan = AddressPlan::new(&instance("/x"), pool, 1024).unwrap();
            let (a, b) = (plan.addresses(one), plan.addresses(other));
            prop_assert!(pool.contains(&a.host_ipv4) && pool.contains(&a.slot_ipv4));
            prop_assert!(plan.prefix_v6.contains(&a.slot_ipv6));
            let all: HashSet<_> = [a.host_ipv4, a.slot_ipv4, b.host_ipv4, b.slot_ipv4].into();
            prop_assert_eq!(all.len(), if one == other { 2 } else { 4 });
            prop_assert_eq!(a.slot_ipv6 == b.slot_ipv6, one == other);
            prop_assert_eq!(a.slot_mac == b.slot_mac, one == other);
        }
    }
}
