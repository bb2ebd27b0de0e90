//! The rules of the host, in the instance's own tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hearth_domain::{PortMapping, Protocol};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    EGRESS, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, PRIORITY_DNAT, PRIORITY_FILTER, PRIORITY_RAW,
    PRIORITY_SNAT, bridge_egress,
};
use crate::{
    address::InstanceId,
    nft::{Batch, Chain, Hook, Rule, Table, Transport},
};

/// One port of the host that leads into a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) port: PortMapping,
    pub(crate) to_ipv4: Ipv4Addr,
    /// None where the guest has no IPv6.
    pub(crate) to_ipv6: Option<Ipv6Addr>,
}

/// What the host's tables are made of.
#[derive(Debug)]
pub(crate) struct HostPolicy<'a> {
    pub(crate) instance: &'a InstanceId,
    pub(crate) pool: Ipv4Net,
    pub(crate) prefix_v6: Ipv6Net,
    pub(crate) resolvers: &'a [IpAddr],
    pub(crate) published: &'a [Published],
    /// Who speaks to guests.
    pub(crate) owner_uid: u32,
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
            &Chain::filter("output", Hook::Output, PRIORITY_FILTER),
            self.output(),
        );
        batch.chain_with(&table, &Chain::regular(EGRESS), bridge_egress(self.resolvers));
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
            // To a loopback address nobody comes from elsewhere; who tries means to get around it.
            .filter(|_| local || published.port.host_ip.is_none_or(|ip| !ip.is_loopback()))
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

    /// Other users of this host reach a guest by its published ports alone: its agent takes its first orders from
    /// whoever comes first.
    fn output(&self) -> Vec<Rule> {
        let links = self.instance.link_pattern();
        let bridge = self.bridge.as_ref().map(|bridge| bridge.name);
        let mut rules = Vec::new();
        for link in [Some(links.as_str()), bridge].into_iter().flatten() {
            rules.push(Rule::new().oif(link).established().accept());
            rules.push(Rule::new().oif(link).translated().accept());
            rules.push(Rule::new().oif(link).not_by_user(self.owner_uid).counter().reject());
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
