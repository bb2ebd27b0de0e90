//! What is the world, and what is near: one list, for what guests may reach and for what the daemon fetches on behalf of
//! who does not administer the host.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Ranges that are not the world (RFC 6890 and its registry): this host, private networks, carrier networks,
/// link-local with the metadata addresses of clouds, benchmarks, relays, multicast, reserved.
const NOT_THE_WORLD_V4: [(Ipv4Addr, u8); 12] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The networks of [`NOT_THE_WORLD_V4`].
fn not_the_world_v4() -> impl Iterator<Item = Ipv4Net> {
    NOT_THE_WORLD_V4
        .into_iter()
        .map(|(address, prefix_len)| Ipv4Net::new_assert(address, prefix_len))
}

/// `64:ff9b::/96`, by which the world of IPv4 is reached from IPv6 (RFC 6052).
const NAT64: [u16; 8] = [0x64, 0xff9b, 0, 0, 0, 0, 0, 0];
/// `2000::/3`, what of IPv6 is routed in public.
const WORLD_V6: [u16; 8] = [0x2000, 0, 0, 0, 0, 0, 0, 0];
/// Teredo and 6to4: tunnels that carry an IPv4 address inside.
const TUNNELS: [(u16, u8); 2] = [(0x2001, 32), (0x2002, 16)];

/// The networks of IPv6 in which the world lies: all else of it (unique local, link-local, mapped, multicast, the
/// metadata address `fd00:ec2::254`) is near by not being there.
pub fn world_v6() -> [Ipv6Net; 2] {
    [
        Ipv6Net::new_assert(NAT64.into(), 96),
        Ipv6Net::new_assert(WORLD_V6.into(), 3),
    ]
}

/// What is near in IPv6 though it lies in the world's networks: NAT64 to what is near, and the tunnels.
fn not_the_world_v6() -> impl Iterator<Item = Ipv6Net> {
    let translated = not_the_world_v4().map(|net| {
        let [a, b, c, d] = net.network().octets();
        let mut segments = NAT64;
        segments[6] = u16::from_be_bytes([a, b]);
        segments[7] = u16::from_be_bytes([c, d]);
        Ipv6Net::new_assert(segments.into(), 96 + net.prefix_len())
    });
    let tunnels =
        TUNNELS.map(|(tunnel, prefix_len)| Ipv6Net::new_assert([tunnel, 0, 0, 0, 0, 0, 0, 0].into(), prefix_len));
    translated.chain(tunnels)
}

/// The networks that are not the world, those of IPv4 first. Of IPv6 they are what lies within [`world_v6`] alone.
pub fn not_the_world() -> impl Iterator<Item = IpNet> {
    not_the_world_v4()
        .map(IpNet::V4)
        .chain(not_the_world_v6().map(IpNet::V6))
}

/// Whether an address is of the world: not this node, another machine, a private network or a metadata address.
pub fn is_world(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !not_the_world_v4().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            world_v6().iter().any(|net| net.contains(&address)) && !not_the_world_v6().any(|net| net.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_one_list() {
        for (address, world) in [
            ("198.51.100.7", true),
            ("10.0.0.1", false),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("2001:db8::1", true),
            ("fd00::1", false),
            ("fe80::1", false),
            ("::1", false),
            ("::", false),
            ("::ffff:198.51.100.7", false),
            ("::ffff:127.0.0.1", false),
            ("64:ff9b::c633:6407", true),
            ("64:ff9b::a00:1", false),
            ("2002::1", false),
        ] {
            assert_eq!(is_world(address.parse().unwrap()), world, "{address}");
        }
    }
}
