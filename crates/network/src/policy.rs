//! What a guest may reach, as rules. Pure: slots in, batches out.
//!
//! Two places hold the policy. Inside the slot's namespace: translation between the slot's address and the guest's, no
//! forged senders, and the egress policy. On the host, in one table of the instance: masquerade to the world,
//! published ports, and two refusals that hold whatever the namespace lets through: a slot reaches neither the node
//! (any of its addresses) nor another slot.

use std::net::{IpAddr, Ipv4Addr};

use hearth_domain::{NetworkMode, PortMapping, Protocol};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    address::{GUEST_IPV4, GUEST_IPV6, GUEST_MAC, InstanceId, SlotAddresses},
    nft::{Batch, Chain, Hook, Rule, Table, Transport},
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

fn inside_table() -> Table {
    Table::inet("hearth")
}

/// The rules of a slot's namespace that are the same for every holder. Nothing goes out until [`inside_egress`].
pub(crate) fn inside(addresses: &SlotAddresses) -> Batch {
    let table = inside_table();
    let mut batch = Batch::new();
    batch.delete_table(&table);
    batch.table(&table);
    batch.chain_with(&table, &Chain::filter("guard", Hook::Prerouting, PRIORITY_RAW), guard());
    batch.chain_with(
        &table,
        &Chain::nat("translate", Hook::Prerouting, PRIORITY_DNAT),
        [
            Rule::new()
                .iif(UPLINK)
                .to(host(addresses.slot_ipv4))
                .dnat(GUEST_IPV4.into(), None),
            Rule::new()
                .iif(UPLINK)
                .to(IpNet::from(IpAddr::V6(addresses.slot_ipv6)))
                .dnat(GUEST_IPV6.into(), None),
        ],
    );
    let answers = Rule::new().iif(TAP);
    batch.chain_with(
        &table,
        &Chain::filter("input", Hook::Input, PRIORITY_FILTER).or_drop(),
        [
            Rule::new().established().accept(),
            answers.clone().icmp(ICMP_ECHO_REQUEST).accept(),
            answers.icmpv6(ICMPV6_ECHO_REQUEST).accept(),
            Rule::new().icmpv6(NEIGHBOUR_SOLICITATION).accept(),
            Rule::new().icmpv6(NEIGHBOUR_ADVERTISEMENT).accept(),
        ],
    );
    // A VMM that was taken over has the namespace's sockets: they are worth nothing.
    batch.chain_with(
        &table,
        &Chain::filter("output", Hook::Output, PRIORITY_FILTER).or_drop(),
        [
            Rule::new().established().accept(),
            Rule::new().icmpv6(NEIGHBOUR_SOLICITATION).accept(),
            Rule::new().icmpv6(NEIGHBOUR_ADVERTISEMENT).accept(),
        ],
    );
    batch.chain(&table, &Chain::regular(EGRESS));
    batch.chain_with(
        &table,
        &Chain::filter("forward", Hook::Forward, PRIORITY_FILTER).or_drop(),
        [
            Rule::new().established().accept(),
            Rule::new().iif(UPLINK).oif(TAP).translated().accept(),
            Rule::new().iif(TAP).oif(UPLINK).jump(EGRESS),
        ],
    );
    batch.chain_with(
        &table,
        &Chain::nat("outward", Hook::Postrouting, PRIORITY_SNAT),
        [Rule::new().oif(TAP).masquerade(), Rule::new().oif(UPLINK).masquerade()],
    );
    batch
}

/// A guest speaks with its own addresses, or is not heard.
fn guard() -> Vec<Rule> {
    let from_guest = || Rule::new().iif(TAP);
    let link_local = Ipv6Net::new_assert([0xfe80, 0, 0, 0, 0, 0, 0, 0].into(), 10);
    let unspecified = Ipv6Net::new_assert([0; 8].into(), 128);
    let mut rules = vec![
        from_guest().not_from_mac(GUEST_MAC.0).counter().drop(),
        from_guest().not_from(host(GUEST_IPV4)).counter().drop(),
    ];
    // IPv6 cannot do without link-local senders where neighbours find each other.
    for kind in [NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT] {
        rules.push(from_guest().from(link_local).icmpv6(kind).accept());
    }
    rules.push(from_guest().from(unspecified).icmpv6(NEIGHBOUR_SOLICITATION).accept());
    rules.push(
        from_guest()
            .not_from(IpNet::from(IpAddr::V6(GUEST_IPV6)))
            .counter()
            .drop(),
    );
    rules
}

/// Sets what the holder of the slot may reach; without a holder that is nothing.
pub(crate) fn inside_egress(holder: Option<NetworkMode>, resolvers: &[IpAddr]) -> Batch {
    let table = inside_table();
    let mut batch = Batch::new();
    batch.flush(&table, EGRESS);
    for rule in holder.map(|mode| egress(mode, resolvers)).unwrap_or_default() {
        batch.rule(&table, EGRESS, &rule);
    }
    batch
}

/// One port of the host that leads into a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) port: PortMapping,
    pub(crate) to_ipv4: Ipv4Addr,
    /// None where the guest has no IPv6.
    pub(crate) to_ipv6: Option<std::net::Ipv6Addr>,
}

/// What the host's tables are made of.
#[derive(Debug)]
pub(crate) struct HostPolicy<'a> {
    pub(crate) instance: &'a InstanceId,
    pub(crate) pool: Ipv4Net,
    pub(crate) prefix_v6: Ipv6Net,
    pub(crate) resolvers: &'a [IpAddr],
    pub(crate) published: &'a [Published],
    pub(crate) bridge: Option<BridgePolicy<'a>>,
}

/// The guests of the bridge.
#[derive(Debug)]
pub(crate) struct BridgePolicy<'a> {
    pub(crate) name: &'a str,
    pub(crate) subnet: Ipv4Net,
    pub(crate) ports: &'a [BridgePort],
}

/// One guest on the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgePort {
    pub(crate) tap: String,
    pub(crate) mac: [u8; 6],
    pub(crate) address: Ipv4Addr,
}

impl HostPolicy<'_> {
    fn table(instance: &InstanceId) -> Table {
        Table::inet(instance.table_name())
    }

    /// Takes the instance's tables away.
    pub(crate) fn remove(instance: &InstanceId) -> Batch {
        let mut batch = Batch::new();
        batch.delete_table(&Self::table(instance));
        batch
    }

    /// Takes the instance's table of the bridge away; apart, since a kernel may have no such tables.
    pub(crate) fn remove_bridge(instance: &InstanceId) -> Batch {
        let mut batch = Batch::new();
        batch.delete_table(&Table::bridge(instance.table_name()));
        batch
    }

    /// The whole table, in place of the one that is there; connections that are open stay so.
    pub(crate) fn replace(&self) -> Batch {
        let table = Self::table(self.instance);
        let mut batch = Self::remove(self.instance);
        batch.table(&table);
        let nat = |name, hook, priority| Chain::nat(name, hook, priority);
        let publish = |local| {
            self.published
                .iter()
                .flat_map(move |published| self.publish(published, local))
        };
        batch.chain_with(&table, &nat("publish", Hook::Prerouting, PRIORITY_DNAT), publish(false));
        batch.chain_with(
            &table,
            &nat("publish-local", Hook::Output, PRIORITY_DNAT),
            publish(true),
        );
        batch.chain_with(
            &table,
            &nat("outward", Hook::Postrouting, PRIORITY_SNAT),
            self.masquerade(),
        );
        batch.chain_with(
            &table,
            &Chain::filter("input", Hook::Input, PRIORITY_FILTER),
            self.input(),
        );
        batch.chain_with(
            &table,
            &Chain::regular(EGRESS),
            egress(NetworkMode::Bridge, self.resolvers),
        );
        batch.chain_with(
            &table,
            &Chain::filter("forward", Hook::Forward, PRIORITY_FILTER),
            self.forward(),
        );
        if let Some(bridge) = &self.bridge {
            bridge.replace(&Table::bridge(self.instance.table_name()), &mut batch);
        }
        batch
    }

    /// A published port: from elsewhere, or from the host itself (by 127.0.0.1 as well).
    fn publish(&self, published: &Published, local: bool) -> Vec<Rule> {
        let transport = match published.port.protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
        };
        let targets = [Some(IpAddr::V4(published.to_ipv4)), published.to_ipv6.map(IpAddr::V6)];
        targets
            .into_iter()
            .flatten()
            .filter(|target| published.port.host_ip.is_none_or(|ip| ip.is_ipv4() == target.is_ipv4()))
            .map(|target| {
                // Guests reach no published port: that is another machine.
                let mut rule = if local {
                    Rule::new()
                } else {
                    Rule::new().not_iif(&self.instance.link_pattern())
                };
                if let (false, Some(bridge)) = (local, &self.bridge) {
                    rule = rule.not_iif(bridge.name);
                }
                rule = match published.port.host_ip.filter(|ip| !ip.is_unspecified()) {
                    Some(ip) => rule.to(IpNet::from(ip)),
                    None if target.is_ipv4() => rule.for_this_host(),
                    // The kernel leads nothing from ::1 to another interface, so that must find no one and fail at once.
                    None => rule
                        .for_this_host()
                        .not_to(Ipv6Net::new_assert([0, 0, 0, 0, 0, 0, 0, 1].into(), 128)),
                };
                rule.port(transport, published.port.host_port)
                    .dnat(target, Some(published.port.guest_port))
            })
            .collect()
    }

    fn masquerade(&self) -> Vec<Rule> {
        let links = self.instance.link_pattern();
        let loopback = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
        let mut rules = vec![
            Rule::new().oif(&links).from(loopback).masquerade(),
            Rule::new().not_oif(&links).from(self.pool).masquerade(),
            Rule::new().not_oif(&links).from(self.prefix_v6).masquerade(),
        ];
        if let Some(bridge) = &self.bridge {
            rules.push(Rule::new().oif(bridge.name).from(loopback).masquerade());
            rules.push(Rule::new().not_oif(bridge.name).from(bridge.subnet).masquerade());
        }
        rules
    }

    fn input(&self) -> Vec<Rule> {
        let links = self.instance.link_pattern();
        let bridge = self.bridge.as_ref().map(|bridge| bridge.name);
        let mut rules = Vec::new();
        for link in [Some(links.as_str()), bridge].into_iter().flatten() {
            let from_guest = || Rule::new().iif(link);
            rules.push(from_guest().established().accept());
            rules.push(from_guest().icmpv6(NEIGHBOUR_SOLICITATION).accept());
            rules.push(from_guest().icmpv6(NEIGHBOUR_ADVERTISEMENT).accept());
            for resolver in self.resolvers {
                for transport in [Transport::Udp, Transport::Tcp] {
                    rules.push(from_guest().to(IpNet::from(*resolver)).port(transport, 53).accept());
                }
            }
            rules.push(from_guest().counter().drop());
        }
        rules
    }

    fn forward(&self) -> Vec<Rule> {
        let links = self.instance.link_pattern();
        let mut rules = vec![Rule::new().iif(&links).oif(&links).counter().drop()];
        let bridge = self.bridge.as_ref().map(|bridge| bridge.name);
        if let Some(bridge) = bridge {
            rules.push(Rule::new().iif(&links).oif(bridge).counter().drop());
            rules.push(Rule::new().iif(bridge).oif(&links).counter().drop());
        }
        for link in [Some(links.as_str()), bridge].into_iter().flatten() {
            let to_guest = || Rule::new().oif(link);
            rules.push(to_guest().established().accept());
            rules.push(to_guest().translated().accept());
            rules.push(to_guest().counter().drop());
        }
        // What a guest opens and somebody's rule then sends elsewhere leads to a service of this node: another daemon's
        // machine, or a container.
        for link in [Some(links.as_str()), bridge].into_iter().flatten() {
            rules.push(Rule::new().iif(link).opening().translated().counter().drop());
        }
        rules.push(Rule::new().iif(&links).not_from(self.pool).counter().drop());
        rules.push(Rule::new().iif(&links).not_from(self.prefix_v6).counter().drop());
        if let Some(bridge) = bridge {
            rules.push(Rule::new().iif(bridge).established().accept());
            rules.push(Rule::new().iif(bridge).jump(EGRESS));
            rules.push(Rule::new().iif(bridge).counter().drop());
        }
        rules
    }
}

impl BridgePolicy<'_> {
    /// No guest of the bridge sends frames in another's name, or of a kind that no guest needs.
    fn replace(&self, table: &Table, batch: &mut Batch) {
        const ETH_P_IP: u16 = 0x0800;
        const ETH_P_ARP: u16 = 0x0806;
        batch.delete_table(table);
        batch.table(table);
        let rules = self.ports.iter().flat_map(|port| {
            let from_port = || Rule::new().iif(&port.tap);
            [
                from_port().not_from_mac(port.mac).drop(),
                from_port().not_from_in_frame(port.address).drop(),
                from_port().not_arp_from(port.address).drop(),
                from_port()
                    .ether_type(ETH_P_IP, false)
                    .ether_type(ETH_P_ARP, false)
                    .drop(),
            ]
        });
        batch.chain_with(table, &Chain::filter("guard", Hook::Prerouting, PRIORITY_RAW), rules);
    }
}

fn host(address: Ipv4Addr) -> IpNet {
    IpNet::from(IpAddr::V4(address))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command};

    use super::*;
    use crate::{address::AddressPlan, netlink::Netlink, netns::on_own_thread};

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
