//! What a guest may reach, as rules. Pure: slots in, batches out.
//!
//! Two places hold the policy. Inside the slot's namespace: translation between the slot's address and the guest's, no
//! forged senders, and the egress policy. On the host, in one table of the instance: masquerade to the world,
//! published ports, and two refusals that hold whatever the namespace lets through: a slot reaches neither the node
//! (any of its addresses) nor another slot.

mod host;
mod inside;

use std::net::{IpAddr, Ipv4Addr};

use hearth_domain::NetworkMode;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::nft::{Rule, Transport};

pub(crate) use self::{
    host::{BridgePolicy, BridgePort, HostPolicy, Published},
    inside::{inside, inside_egress},
};

/// The tap's name in a slot's namespace.
pub(crate) const TAP: &str = "tap0";
/// The name of the slot's end of its cable.
pub(crate) const UPLINK: &str = "up0";
/// The chain that holds what a guest may reach.
const EGRESS: &str = "to-world";

/// Connections that one guest may have open to the world. The host's own table holds 262,144 by default: one guest
/// that opens all it can must not take the network from the others.
const CONNECTIONS_PER_SLOT: u32 = 4096;

const PRIORITY_RAW: i32 = -300;
const PRIORITY_DNAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SNAT: i32 = 100;

const ICMP_ECHO_REQUEST: u8 = 8;
const ICMPV6_ECHO_REQUEST: u8 = 128;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

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

/// The rules of the world in IPv6. The world is `2000::/3` without the tunnels that carry an IPv4 address inside, and
/// NAT64 to the world of IPv4; all else (unique local, link-local, mapped, multicast, the metadata address
/// `fd00:ec2::254`) is refused by not being that.
fn world_v6() -> Vec<Rule> {
    let nat64 = [0x64, 0xff9b, 0, 0, 0, 0, 0, 0];
    let mut rules: Vec<Rule> = not_the_world_v4()
        .map(|net| {
            let [a, b, c, d] = net.network().octets();
            let mut segments = nat64;
            segments[6] = u16::from_be_bytes([a, b]);
            segments[7] = u16::from_be_bytes([c, d]);
            Rule::new()
                .to(Ipv6Net::new_assert(segments.into(), 96 + net.prefix_len()))
                .reject()
        })
        .collect();
    rules.push(Rule::new().to(Ipv6Net::new_assert(nat64.into(), 96)).accept());
    for (tunnel, prefix_len) in [(0x2001, 32), (0x2002, 16)] {
        rules.push(
            Rule::new()
                .to(Ipv6Net::new_assert([tunnel, 0, 0, 0, 0, 0, 0, 0].into(), prefix_len))
                .reject(),
        );
    }
    rules.push(
        Rule::new()
            .not_to(Ipv6Net::new_assert([0x2000, 0, 0, 0, 0, 0, 0, 0].into(), 3))
            .reject(),
    );
    rules
}

/// What a guest with this mode may open, in order; only new connections come here.
fn egress(mode: NetworkMode, resolvers: &[IpAddr]) -> Vec<Rule> {
    if mode == NetworkMode::None {
        return vec![Rule::new().counter().reject()];
    }
    let mut rules = vec![Rule::new().connections_over(CONNECTIONS_PER_SLOT).counter().drop()];
    rules.extend(resolver_rules(resolvers));
    rules.extend(not_the_world_v4().map(|net| Rule::new().to(net).counter().reject()));
    rules.extend(world_v6());
    rules.push(Rule::new().accept());
    rules
}

fn resolver_rules(resolvers: &[IpAddr]) -> impl Iterator<Item = Rule> + '_ {
    resolvers.iter().flat_map(|resolver| {
        [Transport::Udp, Transport::Tcp]
            .map(|transport| Rule::new().to(IpNet::from(*resolver)).port(transport, 53).accept())
    })
}

fn host(address: Ipv4Addr) -> IpNet {
    IpNet::from(IpAddr::V4(address))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command};

    use super::*;
    use crate::{
        address::{AddressPlan, InstanceId},
        netlink::Netlink,
        netns::on_own_thread,
        nft::Batch,
    };

    /// What `nft` lists after these batches, in a namespace without anything else.
    fn listing(batches: Vec<Batch>) -> String {
        on_own_thread(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
            let mut netfilter = Netlink::netfilter()?;
            for batch in batches {
                batch.commit(&mut netfilter).map_err(std::io::Error::other)?;
            }
            let output = Command::new("nft").args(["list", "ruleset"]).output()?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        })
        .unwrap()
    }

    /// What `nft` lists after it has itself loaded a listing.
    fn loaded(file: &Path) -> String {
        on_own_thread(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
            assert!(Command::new("nft").arg("-f").arg(file).status()?.success());
            let output = Command::new("nft").args(["list", "ruleset"]).output()?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        })
        .unwrap()
    }

    /// The kernel holds what the listing in `tests/rules` says, and `nft` makes the same of that listing.
    /// `HEARTH_BLESS=1` writes the listing anew, for a reader to check.
    fn check(name: &str, batches: Vec<Batch>) {
        if !rustix::process::geteuid().is_root() || Command::new("nft").arg("--version").output().is_err() {
            eprintln!("SKIPPED: root and nft are needed");
            return;
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules").join(name);
        let actual = listing(batches);
        if std::env::var_os("HEARTH_BLESS").is_some() {
            std::fs::write(&file, &actual).unwrap();
        }
        assert_eq!(actual, std::fs::read_to_string(&file).unwrap(), "{name}");
        assert_eq!(loaded(&file), actual, "{name}");
    }

    fn instance() -> InstanceId {
        InstanceId::of_folder(Path::new("/var/lib/hearth"))
    }

    fn plan() -> AddressPlan {
        AddressPlan::new(&instance(), "100.64.8.0/21".parse().unwrap(), 1024).unwrap()
    }

    fn resolvers() -> [IpAddr; 2] {
        ["192.168.1.1".parse().unwrap(), "2001:db8::53".parse().unwrap()]
    }

    #[test]
    fn the_rules_of_a_slot() {
        let inside = || inside(&plan().addresses(3));
        check("slot-idle.nft", vec![inside()]);
        check(
            "slot-default.nft",
            vec![inside(), inside_egress(Some(NetworkMode::Default), &resolvers())],
        );
        let (first, then) = (
            inside_egress(Some(NetworkMode::Default), &resolvers()),
            NetworkMode::None,
        );
        check(
            "slot-none.nft",
            vec![inside(), first, inside_egress(Some(then), &resolvers())],
        );
    }

    #[test]
    fn the_rules_of_the_host() {
        let slot = plan().addresses(3);
        let publish = |port: &str| Published {
            port: port.parse().unwrap(),
            to_ipv4: slot.slot_ipv4,
            to_ipv6: Some(slot.slot_ipv6),
        };
        let published = [publish("8080:80"), publish("127.0.0.1:8081:81/udp")];
        let ports = [BridgePort {
            tap: "hvabcdefb0".into(),
            mac: [2, 0, 0, 0, 0, 9],
            address: Ipv4Addr::new(172, 16, 0, 2),
        }];
        let subnet = "172.16.0.0/24".parse().unwrap();
        let policy = |bridge| {
            HostPolicy {
                instance: &instance(),
                pool: plan().pool,
                prefix_v6: plan().prefix_v6,
                resolvers: &resolvers(),
                published: &published,
                owner_uid: 0,
                bridge,
            }
            .replace()
        };
        check("host.nft", vec![policy(None)]);
        let bridge = BridgePolicy {
            name: "fc-bridge0",
            subnet,
            ports: &ports,
        };
        check("host-bridge.nft", vec![policy(Some(bridge))]);
    }
}
