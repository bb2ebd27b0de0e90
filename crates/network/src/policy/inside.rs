//! The rules of a slot's namespace.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};

use super::{
    CONNECTIONS_PER_SLOT, EGRESS, ICMP_ECHO_REQUEST, ICMPV6_ECHO_REQUEST, NEAR, NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION, PRIORITY_DNAT, PRIORITY_FILTER, PRIORITY_RAW, PRIORITY_SNAT, REFUSE, TAP, UPLINK,
    holder::{DIAL, SERVED, SETS, STEER, refuse},
    host, near,
};
use crate::{
    address::{GUEST_IPV4, GUEST_IPV6, GUEST_MAC, SlotAddresses},
    nft::{Batch, Chain, Hook, Rule, Table},
};

pub(super) fn inside_table() -> Table {
    Table::inet("hearth")
}

/// The rules of a slot's namespace that are the same for every holder. Nothing goes out until
/// [`inside_egress`](super::inside_egress).
pub(crate) fn inside(addresses: &SlotAddresses) -> Batch {
    let table = inside_table();
    let mut batch = Batch::new();
    batch.delete_table(&table);
    batch.table(&table);
    batch.chain_with(&table, &Chain::filter("guard", Hook::Prerouting, PRIORITY_RAW), guard());
    for (set, number) in SETS.into_iter().zip(1..) {
        batch.set(&table, set, number);
    }
    batch.chain_with(&table, &Chain::regular(NEAR), near());
    batch.chain_with(&table, &Chain::regular(REFUSE), refuse());
    for chain in [SERVED, STEER, DIAL, EGRESS] {
        batch.chain(&table, &Chain::regular(chain));
    }
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
            Rule::new().iif(TAP).jump(SERVED),
            Rule::new().iif(TAP).jump(STEER),
        ],
    );
    let answers = Rule::new().iif(TAP);
    batch.chain_with(
        &table,
        &Chain::filter("input", Hook::Input, PRIORITY_FILTER).or_drop(),
        [
            Rule::new().established().accept(),
            answers.clone().icmp(ICMP_ECHO_REQUEST).accept(),
            answers.clone().icmpv6(ICMPV6_ECHO_REQUEST).accept(),
            // What was led to a door of ours.
            answers
                .clone()
                .translated()
                .connections_over(CONNECTIONS_PER_SLOT)
                .counter()
                .drop(),
            answers.translated().accept(),
            Rule::new().icmpv6(NEIGHBOUR_SOLICITATION).accept(),
            Rule::new().icmpv6(NEIGHBOUR_ADVERTISEMENT).accept(),
        ],
    );
    // A VMM that was taken over has the namespace's sockets: they are worth nothing. Those of the daemon are, while it
    // speaks for the guest.
    batch.chain_with(
        &table,
        &Chain::filter("output", Hook::Output, PRIORITY_FILTER).or_drop(),
        [
            Rule::new().established().accept(),
            Rule::new().icmpv6(NEIGHBOUR_SOLICITATION).accept(),
            Rule::new().icmpv6(NEIGHBOUR_ADVERTISEMENT).accept(),
            Rule::new().oif(UPLINK).jump(DIAL),
        ],
    );
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

/// Refused by a namespace that was not given [`inside`] yet, by this daemon or an older one.
pub(crate) fn inside_must_stand() -> Batch {
    let mut batch = Batch::new();
    batch.flush(&inside_table(), EGRESS);
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
