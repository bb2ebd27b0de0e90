//! One rule, written in the order in which the kernel walks it.
//!
//! Matches first, then a verdict. A match loads a value into a register and compares it there; which bytes are loaded
//! follows from `struct iphdr`, `ipv6hdr`, `tcphdr`, `udphdr` and `ethhdr`.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{
    attribute::{put, put_nested, put_text, put_u32},
    set::Set,
};

const REG_VERDICT: u32 = 0;
const REG_1: u32 = 1;
const REG_2: u32 = 2;

const META_PROTOCOL: u32 = 1;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_IIFTYPE: u32 = 8;
const META_SKUID: u32 = 10;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;

const BASE_LINK: u32 = 0;
const BASE_NETWORK: u32 = 1;
const BASE_TRANSPORT: u32 = 2;

const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// Bits 1 and 2: of a known connection, or related to one.
const ESTABLISHED_RELATED: u32 = 0b110;
/// Bit 3: the first packet of a connection.
const NEW: u32 = 0b1000;
/// `IPS_DST_NAT`.
const STATUS_DNAT: u32 = 1 << 5;

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const ARPHRD_ETHER: u16 = 1;

/// A transport that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp = 6,
    Udp = 17,
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

#[derive(Clone, Copy)]
enum Op {
    Equal = 0,
    Unequal = 1,
}

impl Op {
    fn of(equal: bool) -> Self {
        if equal { Self::Equal } else { Self::Unequal }
    }
}

/// A rule in the making: each method appends expressions.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    expressions: Vec<u8>,
}

impl Rule {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(super) fn expressions(&self) -> &[u8] {
        &self.expressions
    }

    fn expression(mut self, name: &str, fill: impl FnOnce(&mut Vec<u8>)) -> Self {
        put_nested(&mut self.expressions, 1, |to| {
            put_text(to, 1, name);
            put_nested(to, 2, fill);
        });
        self
    }

    fn meta(self, key: u32) -> Self {
        self.expression("meta", |to| {
            put_u32(to, 1, REG_1);
            put_u32(to, 2, key);
        })
    }

    fn payload(self, base: u32, offset: u32, length: usize) -> Self {
        self.expression("payload", |to| {
            put_u32(to, 1, REG_1);
            put_u32(to, 2, base);
            put_u32(to, 3, offset);
            put_u32(to, 4, u32::try_from(length).unwrap_or(0));
        })
    }

    fn cmp(self, op: Op, value: &[u8]) -> Self {
        self.expression("cmp", |to| {
            put_u32(to, 1, REG_1);
            put_u32(to, 2, op as u32);
            put_nested(to, 3, |to| put(to, 1, value));
        })
    }

    fn mask(self, mask: &[u8]) -> Self {
        self.expression("bitwise", |to| {
            put_u32(to, 1, REG_1);
            put_u32(to, 2, REG_1);
            put_u32(to, 3, u32::try_from(mask.len()).unwrap_or(0));
            put_nested(to, 4, |to| put(to, 1, mask));
            put_nested(to, 5, |to| put(to, 1, &vec![0; mask.len()]));
        })
    }

    fn name(self, key: u32, name: &str, op: Op) -> Self {
        // A name compares as its 16 bytes with zeros behind; without them it is a prefix, nft's `hv*`.
        let value = if let Some(prefix) = name.strip_suffix('*') {
            prefix.as_bytes().to_vec()
        } else {
            let mut padded = name.as_bytes().to_vec();
            padded.resize(16, 0);
            padded
        };
        self.meta(key).cmp(op, &value)
    }

    /// Came in by the interface; `hv*` is each that begins with `hv`.
    pub(crate) fn iif(self, name: &str) -> Self {
        self.name(META_IIFNAME, name, Op::Equal)
    }

    /// Came in by another interface.
    pub(crate) fn not_iif(self, name: &str) -> Self {
        self.name(META_IIFNAME, name, Op::Unequal)
    }

    /// Leaves by the interface.
    pub(crate) fn oif(self, name: &str) -> Self {
        self.name(META_OIFNAME, name, Op::Equal)
    }

    /// Leaves by another interface.
    pub(crate) fn not_oif(self, name: &str) -> Self {
        self.name(META_OIFNAME, name, Op::Unequal)
    }

    /// Is sent by a socket of another user; what the kernel itself sends has none.
    pub(crate) fn not_by_user(self, uid: u32) -> Self {
        self.meta(META_SKUID).cmp(Op::Unequal, &uid.to_ne_bytes())
    }

    /// Is sent by a socket of the user.
    pub(crate) fn by_user(self, uid: u32) -> Self {
        self.meta(META_SKUID).cmp(Op::Equal, &uid.to_ne_bytes())
    }

    /// Is of the family (in an inet table).
    pub(crate) fn nfproto(self, is_v4: bool) -> Self {
        self.meta(META_NFPROTO)
            .cmp(Op::Equal, &[if is_v4 { NFPROTO_IPV4 } else { NFPROTO_IPV6 }])
    }

    fn address(self, offsets: (u32, u32), net: IpNet, op: Op) -> Self {
        let (offset, network, mask) = match net {
            IpNet::V4(net) => (
                offsets.0,
                net.network().octets().to_vec(),
                net.netmask().octets().to_vec(),
            ),
            IpNet::V6(net) => (
                offsets.1,
                net.network().octets().to_vec(),
                net.netmask().octets().to_vec(),
            ),
        };
        let loaded = self.payload(BASE_NETWORK, offset, network.len());
        let masked = if net.prefix_len() == net.max_prefix_len() {
            loaded
        } else {
            loaded.mask(&mask)
        };
        masked.cmp(op, &network)
    }

    /// Comes from the network (in an inet table).
    pub(crate) fn from(self, net: impl Into<IpNet>) -> Self {
        let net = net.into();
        self.nfproto(matches!(net, IpNet::V4(_)))
            .address((12, 8), net, Op::Equal)
    }

    /// Is of the network's family and comes from elsewhere.
    pub(crate) fn not_from(self, net: impl Into<IpNet>) -> Self {
        let net = net.into();
        self.nfproto(matches!(net, IpNet::V4(_)))
            .address((12, 8), net, Op::Unequal)
    }

    /// Goes to the network (in an inet table).
    pub(crate) fn to(self, net: impl Into<IpNet>) -> Self {
        let net = net.into();
        self.nfproto(matches!(net, IpNet::V4(_)))
            .address((16, 24), net, Op::Equal)
    }

    /// Is of the network's family and goes elsewhere.
    pub(crate) fn not_to(self, net: impl Into<IpNet>) -> Self {
        let net = net.into();
        self.nfproto(matches!(net, IpNet::V4(_)))
            .address((16, 24), net, Op::Unequal)
    }

    /// Goes to an address that is in the set.
    pub(crate) fn within(self, set: Set) -> Self {
        let (offset, length) = if set.is_v4 { (16, 4) } else { (24, 16) };
        self.nfproto(set.is_v4)
            .payload(BASE_NETWORK, offset, length)
            .expression("lookup", |to| {
                put_text(to, 1, set.name);
                put_u32(to, 2, REG_1);
            })
    }

    /// Is a frame with another sender's hardware address.
    pub(crate) fn not_from_mac(self, mac: [u8; 6]) -> Self {
        self.meta(META_IIFTYPE)
            .cmp(Op::Equal, &ARPHRD_ETHER.to_ne_bytes())
            .payload(BASE_LINK, 6, 6)
            .cmp(Op::Unequal, &mac)
    }

    /// Carries the protocol, or another one (in a bridge table; an `ETH_P_` number).
    pub(crate) fn ether_type(self, ether_type: u16, equal: bool) -> Self {
        self.meta(META_PROTOCOL).cmp(Op::of(equal), &ether_type.to_be_bytes())
    }

    /// Is an IPv4 packet from another address (in a bridge table).
    pub(crate) fn not_from_in_frame(self, address: Ipv4Addr) -> Self {
        self.ether_type(0x0800, true)
            .payload(BASE_NETWORK, 12, 4)
            .cmp(Op::Unequal, &address.octets())
    }

    /// Is an ARP packet that claims another sender's address (in a bridge table).
    pub(crate) fn not_arp_from(self, address: Ipv4Addr) -> Self {
        self.ether_type(0x0806, true)
            .payload(BASE_NETWORK, 14, 4)
            .cmp(Op::Unequal, &address.octets())
    }

    /// Is of the transport.
    pub(crate) fn transport(self, transport: Transport) -> Self {
        self.meta(META_L4PROTO).cmp(Op::Equal, &[transport as u8])
    }

    /// Goes to the port.
    pub(crate) fn port(self, transport: Transport, port: u16) -> Self {
        self.transport(transport)
            .payload(BASE_TRANSPORT, 2, 2)
            .cmp(Op::Equal, &port.to_be_bytes())
    }

    fn icmp_type(self, protocol: u8, is_v4: bool, kind: u8) -> Self {
        self.nfproto(is_v4)
            .meta(META_L4PROTO)
            .cmp(Op::Equal, &[protocol])
            .payload(BASE_TRANSPORT, 0, 1)
            .cmp(Op::Equal, &[kind])
    }

    /// Is an ICMP message of the type.
    pub(crate) fn icmp(self, kind: u8) -> Self {
        self.icmp_type(ICMP, true, kind)
    }

    /// Is an `ICMPv6` message of the type.
    pub(crate) fn icmpv6(self, kind: u8) -> Self {
        self.icmp_type(ICMPV6, false, kind)
    }

    fn ct(self, key: u32, bits: u32) -> Self {
        self.expression("ct", |to| {
            put_u32(to, 1, REG_1);
            put_u32(to, 2, key);
        })
        .mask(&bits.to_ne_bytes())
        .cmp(Op::Unequal, &[0; 4])
    }

    /// Belongs to a connection that was let through before.
    pub(crate) fn established(self) -> Self {
        self.ct(CT_STATE, ESTABLISHED_RELATED)
    }

    /// Opens a connection.
    pub(crate) fn opening(self) -> Self {
        self.ct(CT_STATE, NEW)
    }

    /// Had its destination translated.
    pub(crate) fn translated(self) -> Self {
        self.ct(CT_STATUS, STATUS_DNAT)
    }

    /// Goes to an address of this host (or namespace).
    pub(crate) fn for_this_host(self) -> Self {
        const RESULT_ADDRTYPE: u32 = 3;
        const FLAG_DADDR: u32 = 2;
        const RTN_LOCAL: u32 = 2;
        self.expression("fib", |to| {
            put_u32(to, 1, REG_1);
            put_u32(to, 2, RESULT_ADDRTYPE);
            put_u32(to, 3, FLAG_DADDR);
        })
        .cmp(Op::Equal, &RTN_LOCAL.to_ne_bytes())
    }

    /// Would make more than `count` connections at once.
    pub(crate) fn connections_over(self, count: u32) -> Self {
        const INVERT: u32 = 1;
        self.expression("connlimit", |to| {
            put_u32(to, 1, count);
            put_u32(to, 2, INVERT);
        })
    }

    /// Counts packets and bytes.
    pub(crate) fn counter(self) -> Self {
        self.expression("counter", |_| ())
    }

    fn verdict(self, code: i32, chain: Option<&str>) -> Self {
        self.expression("immediate", |to| {
            put_u32(to, 1, REG_VERDICT);
            put_nested(to, 2, |to| {
                put_nested(to, 2, |to| {
                    put(to, 1, &code.to_be_bytes());
                    if let Some(chain) = chain {
                        put_text(to, 2, chain);
                    }
                });
            });
        })
    }

    /// Lets pass.
    pub(crate) fn accept(self) -> Self {
        self.verdict(1, None)
    }

    /// Drops without a word.
    pub(crate) fn drop(self) -> Self {
        self.verdict(0, None)
    }

    /// Goes on in another chain, and comes back if that decides nothing.
    pub(crate) fn jump(self, chain: &str) -> Self {
        self.verdict(-3, Some(chain))
    }

    /// Refuses with "administratively prohibited", so that the sender need not wait for a timeout.
    pub(crate) fn reject(self) -> Self {
        const ICMPX: u32 = 2;
        const ADMIN_PROHIBITED: u8 = 3;
        self.expression("reject", |to| {
            put_u32(to, 1, ICMPX);
            put(to, 2, &[ADMIN_PROHIBITED]);
        })
    }

    /// Refuses a packet of TCP with a reset, which ends a connection also where it was open for long.
    pub(crate) fn reset(self) -> Self {
        const TCP_RESET: u32 = 1;
        self.transport(Transport::Tcp).expression("reject", |to| {
            put_u32(to, 1, TCP_RESET);
            put(to, 2, &[0]);
        })
    }

    /// Takes the address of the interface by which the packet leaves as its sender.
    pub(crate) fn masquerade(self) -> Self {
        self.expression("masq", |_| ())
    }

    fn load(self, register: u32, value: &[u8]) -> Self {
        self.expression("immediate", |to| {
            put_u32(to, 1, register);
            put_nested(to, 2, |to| put(to, 1, value));
        })
    }

    /// Sends to another address, and port if one is given.
    pub(crate) fn dnat(self, to: IpAddr, port: Option<u16>) -> Self {
        const DNAT: u32 = 1;
        let (family, loaded) = match to {
            IpAddr::V4(to) => (NFPROTO_IPV4, self.load(REG_1, &to.octets())),
            IpAddr::V6(to) => (NFPROTO_IPV6, self.load(REG_1, &to.octets())),
        };
        let loaded = match port {
            Some(port) => loaded.load(REG_2, &port.to_be_bytes()),
            None => loaded,
        };
        loaded.expression("nat", |to| {
            put_u32(to, 1, DNAT);
            put_u32(to, 2, u32::from(family));
            put_u32(to, 3, REG_1);
            if port.is_some() {
                put_u32(to, 5, REG_2);
            }
        })
    }
}
