//! What the holder of a slot may reach, as the rules of one transaction.
//!
//! ```text
//!   guest ─► steer ──► our doors in this namespace: DNS, and ports 80 and 443 where domains decide
//!              └─────► to-world: count ─► name servers ─► near ─► allowed ─► denied ─► the world
//!   doors ─► dial ───► near ─► ports 80 and 443 of the world
//! ```

use std::net::IpAddr;

use hearth_domain::{EgressRules, NetworkMode};

use super::{
    CONNECTIONS_PER_SLOT, EGRESS, NEAR, REFUSE, host, inside::inside_table, interval::intervals, resolver_rules,
};
use crate::{
    address::{GATEWAY_IPV4, GATEWAY_IPV6},
    nft::{Batch, Rule, Set, Transport},
};

/// Where connections of the guest are led that a name decides on.
pub(super) const STEER: &str = "steer";
/// What the daemon may open from within the namespace, for a guest whose names it has read.
pub(super) const DIAL: &str = "dial";

/// Where connections of the guest to the gateway itself are led to what the daemon serves it there.
pub(super) const SERVED: &str = "served";

const ALLOW: [Set; 2] = both("allow4", "allow6");
const DENY: [Set; 2] = both("deny4", "deny6");
pub(crate) const HTTP: u16 = 80;
pub(crate) const HTTPS: u16 = 443;
const DNS: u16 = 53;

/// All sets of a slot's table.
pub(super) const SETS: [Set; 4] = [ALLOW[0], ALLOW[1], DENY[0], DENY[1]];

const fn both(v4: &'static str, v6: &'static str) -> [Set; 2] {
    let v4 = Set { name: v4, is_v4: true };
    [v4, Set { name: v6, is_v4: false }]
}

/// Who has a slot, and what may be reached from there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder<'a> {
    pub(crate) mode: NetworkMode,
    pub(crate) resolvers: &'a [IpAddr],
    pub(crate) rules: &'a EgressRules,
    /// Whose sockets may speak for the guest.
    pub(crate) uid: u32,
    /// Where names are read, by the address of the gateway.
    pub(crate) doors: &'a [DoorPorts],
}

/// The ports of one gateway address behind which names are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DoorPorts {
    pub(crate) is_v4: bool,
    pub(crate) http: u16,
    pub(crate) https: u16,
    pub(crate) dns_tcp: u16,
    pub(crate) dns_udp: u16,
}

/// Sets what the holder of the slot may reach, in place of what the last could; without a holder that is nothing.
pub(crate) fn inside_egress(holder: Option<Holder<'_>>) -> Batch {
    let table = inside_table();
    let mut batch = Batch::new();
    for chain in [STEER, DIAL, EGRESS] {
        batch.flush(&table, chain);
    }
    // The next holder is served nothing of the last one's.
    if holder.is_none() {
        batch.flush(&table, SERVED);
    }
    let nets = holder.map(|holder| (holder.rules.allowed_nets(), holder.rules.denied_nets()));
    let (allowed, denied) = nets.unwrap_or_default();
    for (sets, nets) in [(ALLOW, allowed), (DENY, denied)] {
        for set in sets {
            batch.fill(&table, set, &intervals(&nets, set.is_v4));
        }
    }
    let Some(holder) = holder else { return batch };
    for (chain, rules) in [(STEER, holder.steer()), (DIAL, holder.dial()), (EGRESS, holder.opens())] {
        for rule in rules {
            batch.rule(&table, chain, &rule);
        }
    }
    batch
}

/// Leads a port of the gateway to the port where the daemon serves the slot's holder, in place of what was led before.
pub(crate) fn inside_served(port: u16, door: u16) -> Batch {
    let table = inside_table();
    let mut batch = Batch::new();
    batch.flush(&table, SERVED);
    let gateway = IpAddr::from(GATEWAY_IPV4);
    let rule = Rule::new()
        .to(host(GATEWAY_IPV4))
        .port(Transport::Tcp, port)
        .dnat(gateway, Some(door));
    batch.rule(&table, SERVED, &rule);
    batch
}

impl Holder<'_> {
    /// Whether names decide for this guest.
    fn by_name(&self) -> bool {
        self.mode == NetworkMode::Default && self.rules.has_domains()
    }

    /// What a guest may open, in order; only new connections come here.
    fn opens(&self) -> Vec<Rule> {
        if self.mode == NetworkMode::None {
            return vec![Rule::new().counter().reject()];
        }
        let mut rules = vec![Rule::new().connections_over(CONNECTIONS_PER_SLOT).counter().drop()];
        // Where names decide, DNS is asked by us: a question can carry what the guest wants to tell.
        if !self.by_name() {
            let permitted: Vec<IpAddr> = self
                .resolvers
                .iter()
                .copied()
                .filter(|ip| self.rules.permits(*ip))
                .collect();
            rules.extend(resolver_rules(&permitted));
        }
        rules.push(Rule::new().jump(NEAR));
        if !self.rules.is_open() {
            rules.extend(ALLOW.map(|set| Rule::new().within(set).accept()));
            rules.extend(DENY.map(|set| Rule::new().within(set).counter().jump(REFUSE)));
        }
        rules.push(Rule::new().accept());
        rules
    }

    fn steer(&self) -> Vec<Rule> {
        if !self.by_name() {
            return Vec::new();
        }
        let asks = self.doors.iter().flat_map(|door| {
            [
                door.lead(Transport::Udp, DNS, door.dns_udp),
                door.lead(Transport::Tcp, DNS, door.dns_tcp),
            ]
        });
        let allowed = ALLOW.map(|set| Rule::new().within(set).accept());
        let led = self.doors.iter().flat_map(|door| {
            [
                door.lead(Transport::Tcp, HTTP, door.http),
                door.lead(Transport::Tcp, HTTPS, door.https),
            ]
        });
        asks.chain(allowed).chain(led).collect()
    }

    fn dial(&self) -> Vec<Rule> {
        if !self.by_name() {
            return Vec::new();
        }
        let ports = [HTTP, HTTPS].map(|port| Rule::new().by_user(self.uid).port(Transport::Tcp, port).accept());
        [Rule::new().jump(NEAR)].into_iter().chain(ports).collect()
    }
}

impl DoorPorts {
    fn lead(&self, transport: Transport, port: u16, door: u16) -> Rule {
        let gateway: IpAddr = if self.is_v4 {
            GATEWAY_IPV4.into()
        } else {
            GATEWAY_IPV6.into()
        };
        Rule::new()
            .nfproto(self.is_v4)
            .port(transport, port)
            .dnat(gateway, Some(door))
    }
}

/// Refuses so that the guest need not wait: a packet of a connection that was open ends it.
pub(super) fn refuse() -> [Rule; 2] {
    [Rule::new().reset(), Rule::new().reject()]
}
