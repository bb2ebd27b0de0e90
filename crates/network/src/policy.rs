//! What a guest may reach, as rules. Pure: slots in, batches out.
//!
//! Two places hold the policy. Inside the slot's namespace: translation between the slot's address and the guest's, no
//! forged senders, and the egress policy. On the host, in one table of the instance: masquerade to the world,
//! published ports, and two refusals that hold whatever the namespace lets through: a slot reaches neither the node
//! (any of its addresses) nor another slot.

mod holder;
mod host;
mod inside;
mod interval;
mod world;

use std::net::{IpAddr, Ipv4Addr};

pub(crate) use hearth_domain::is_world;
use ipnet::IpNet;

use crate::nft::{Rule, Transport};

use self::world::near;
pub(crate) use self::{
    holder::{DoorPorts, HTTP, HTTPS, Holder, inside_egress, inside_served},
    host::{BridgePolicy, BridgePort, HostPolicy, Published},
    inside::{inside, inside_must_stand},
};

/// The tap's name in a slot's namespace.
pub(crate) const TAP: &str = "tap0";
/// The name of the slot's end of its cable.
pub(crate) const UPLINK: &str = "up0";
/// The chain that holds what a guest may reach.
const EGRESS: &str = "to-world";
/// The chain that refuses what is not the world.
const NEAR: &str = "near";
/// The chain that refuses.
const REFUSE: &str = "refuse";

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

/// What a guest of the bridge may open, in order; only new connections come here.
fn bridge_egress(resolvers: &[IpAddr]) -> Vec<Rule> {
    let mut rules = vec![Rule::new().connections_over(CONNECTIONS_PER_SLOT).counter().drop()];
    rules.extend(resolver_rules(resolvers));
    rules.extend(near());
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

    use hearth_domain::{EgressRules, NetworkMode};

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

    fn held(mode: NetworkMode, rules: &EgressRules) -> Batch {
        let doors = |is_v4, first| DoorPorts {
            is_v4,
            http: first,
            https: first + 1,
            dns_tcp: first + 2,
            dns_udp: first + 3,
        };
        inside_egress(Some(Holder {
            mode,
            resolvers: &resolvers(),
            rules,
            uid: 0,
            doors: &[doors(true, 40_000), doors(false, 40_010)],
        }))
    }

    fn domains() -> EgressRules {
        EgressRules::parse(&["192.0.2.1", "198.51.100.0/24", "example.com"], &["0.0.0.0/0"]).unwrap()
    }

    #[test]
    fn the_rules_of_a_slot() {
        let inside = || inside(&plan().addresses(3));
        let open = EgressRules::default();
        check("slot-idle.nft", vec![inside()]);
        check("slot-default.nft", vec![inside(), held(NetworkMode::Default, &open)]);
        check(
            "slot-none.nft",
            vec![
                inside(),
                held(NetworkMode::Default, &open),
                held(NetworkMode::None, &open),
            ],
        );
    }

    #[test]
    fn the_rules_of_a_slot_whose_holder_may_not_reach_everything() {
        let inside = || inside(&plan().addresses(3));
        let some = EgressRules::parse(
            &["192.0.2.128/25", "203.0.113.0/31"],
            &["192.0.2.0/24", "203.0.113.0/24", "192.168.1.0/24", "2001:db8:9::/48"],
        );
        check(
            "slot-some.nft",
            vec![inside(), held(NetworkMode::Default, &some.unwrap())],
        );
        let by_name = held(NetworkMode::Default, &domains());
        check("slot-domains.nft", vec![inside(), by_name]);
    }

    #[test]
    fn a_port_of_the_gateway_leads_to_what_serves_the_holder() {
        let inside = || inside(&plan().addresses(3));
        let held = || held(NetworkMode::None, &EgressRules::default());
        check("slot-served.nft", vec![inside(), held(), inside_served(2049, 40_020)]);
        if rustix::process::geteuid().is_root() {
            let other = held();
            assert_eq!(
                listing(vec![inside(), held(), inside_served(2049, 40_020), other]),
                listing(vec![inside(), held(), inside_served(1, 2), inside_served(2049, 40_020)]),
                "rules of what it may reach leave it"
            );
            assert_eq!(
                listing(vec![inside(), held(), inside_served(2049, 40_020), inside_egress(None)]),
                listing(vec![inside()])
            );
        }
    }

    #[test]
    fn nothing_is_left_of_the_last_holders_rules() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: root is needed");
            return;
        }
        let inside = || inside(&plan().addresses(3));
        let used = listing(vec![
            inside(),
            held(NetworkMode::Default, &domains()),
            inside_egress(None),
        ]);
        assert_eq!(used, listing(vec![inside()]));
        let renewed = listing(vec![
            inside().then(held(NetworkMode::Default, &domains())),
            inside().then(held(NetworkMode::Default, &EgressRules::default())),
        ]);
        assert_eq!(
            renewed,
            listing(vec![inside(), held(NetworkMode::Default, &EgressRules::default())])
        );
    }

    #[test]
    fn as_many_networks_as_there_may_be_are_taken() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: root is needed");
            return;
        }
        let net = |index: usize| format!("11.{}.{}.0/25", index / 256, index % 256);
        let nets: Vec<String> = (0..hearth_domain::EGRESS_ENTRIES_MAX).map(net).collect();
        let rules = EgressRules::parse(&nets, &nets).unwrap();
        let listed = listing(vec![inside(&plan().addresses(3)), held(NetworkMode::Default, &rules)]);
        assert_eq!(listed.matches("11.3.231.0/25").count(), 2, "{listed}");
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
