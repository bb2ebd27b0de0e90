//! What reaches what, with real packets.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::net::TcpListener;

use common::{
    Guest, HOST_V4, HOST_V6, NEAR, RESOLVER, SERVICE, Server, WORLD_V4, WORLD_V6, ask, ask_as_nobody, ask_udp, on_host,
};
use hearth_domain::NetworkMode::{Bridge, Default, None as Closed};
use hearth_network::Network;

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_node_reaches_the_guest_and_the_guest_the_world() {
    on_host(|host| {
        let pool = host.open(host.config(), &[]);
        let (_, slot) = host.acquire(&pool, Default, &[]);
        let guest = Guest::boot(&slot);
        // The guest sees its gateway as the peer, whoever asks.
        assert_eq!(ask(None, &slot.guest_addr.to_string(), 80), Some(ip("169.254.0.1")));
        assert_eq!(ask_udp(None, &slot.guest_addr.to_string(), 80), Some(ip("169.254.0.1")));
        let v6 = slot.guest_addr_v6.unwrap().to_string();
        assert_eq!(ask(None, &v6, 80), Some(ip("fd68:6561:7274::1")));
        // The world sees the host.
        assert_eq!(guest.ask(WORLD_V4, SERVICE), Some(ip(HOST_V4)));
        assert_eq!(guest.ask_udp(WORLD_V4, SERVICE), Some(ip(HOST_V4)));
        assert_eq!(guest.ask(WORLD_V6, SERVICE), Some(ip(HOST_V6)));
        host.close(&pool);
    });
}

#[test]
fn the_guest_reaches_nothing_near() {
    on_host(|host| {
        let pool = host.open(host.config(), &[]);
        let (_, slot) = host.acquire(&pool, Default, &[]);
        let (_, other) = host.acquire(&pool, Default, &["9090:80"]);
        let (guest, _neighbour) = (Guest::boot(&slot), Guest::boot(&other));
        let _here = Server::start(None, SERVICE);
        let _in_slot = Server::start(slot.netns.as_deref(), SERVICE);
        assert!(
            guest.ask(WORLD_V4, SERVICE).is_some(),
            "without it the rest proves nothing"
        );

        for near in NEAR {
            assert_eq!(guest.ask(near, SERVICE), None, "{near}");
        }
        let own = slot.guest_addr.to_string();
        let (std::net::IpAddr::V4(mine), std::net::IpAddr::V4(theirs)) = (slot.guest_addr, other.guest_addr) else {
            panic!("slots have IPv4");
        };
        let veth = |address: std::net::Ipv4Addr| std::net::Ipv4Addr::from(u32::from(address) - 1).to_string();
        for node in [
            HOST_V4,
            HOST_V6,
            "169.254.0.1",
            "fd68:6561:7274::1",
            "203.0.113.1",
            &own,
            &veth(mine),
            &veth(theirs),
        ] {
            let reaches = guest.ask(node, SERVICE);
            // The router of the test's world is the world.
            assert_eq!(reaches.is_some(), node == "203.0.113.1", "{node}");
        }
        for port in [80, 9090] {
            assert_eq!(guest.ask(&theirs.to_string(), port), None);
            assert_eq!(guest.ask(&other.guest_addr_v6.unwrap().to_string(), port), None);
            assert_eq!(guest.ask(HOST_V4, port), None, "a published port is another machine");
        }
        // The configured name server is in a private range, and may be asked for names only.
        assert!(guest.ask_udp(RESOLVER, 53).is_some());
        assert_eq!(guest.ask_udp(RESOLVER, SERVICE), None);
        host.close(&pool);
    });
}

#[test]
fn a_forged_sender_is_not_heard() {
    on_host(|host| {
        let pool = host.open(host.config(), &[]);
        let (_, slot) = host.acquire(&pool, Default, &[]);
        let guest = Guest::boot(&slot);
        assert!(guest.ask(WORLD_V4, SERVICE).is_some());
        guest.ip("addr add 198.51.100.99/32 dev eth0");
        guest.ip("route replace default via 169.254.0.1 src 198.51.100.99");
        assert_eq!(guest.ask(WORLD_V4, SERVICE), None);
        guest.ip("route replace default via 169.254.0.1 src 169.254.0.2");
        assert!(guest.ask(WORLD_V4, SERVICE).is_some());
        guest.ip("link set eth0 address 02:00:00:00:00:01");
        guest.ip("route replace default via 169.254.0.1");
        assert_eq!(guest.ask(WORLD_V4, SERVICE), None);
        assert_eq!(ask(None, &slot.guest_addr.to_string(), 80), None);
        host.close(&pool);
    });
}

#[test]
fn without_network_only_the_node_speaks_first() {
    on_host(|host| {
        let pool = host.open(host.config(), &[]);
        let (_, slot) = host.acquire(&pool, Closed, &[]);
        let guest = Guest::boot(&slot);
        assert_eq!(ask(None, &slot.guest_addr.to_string(), 80), Some(ip("169.254.0.1")));
        for address in [WORLD_V4, WORLD_V6, RESOLVER, HOST_V4] {
            assert_eq!(guest.ask(address, SERVICE), None, "{address}");
            assert_eq!(guest.ask_udp(address, 53), None, "{address}");
        }
        host.close(&pool);
    });
}

#[test]
fn a_published_port_leads_into_the_guest_from_everywhere() {
    on_host(|host| {
        let pool = host.open(host.config(), &[]);
        let (machine, slot) = host.acquire(&pool, Default, &["8080:80", "127.0.0.1:8081:80", "8082:80/udp"]);
        let _guest = Guest::boot(&slot);
        let world = common::netns("world");
        for (from, address) in [(None, "127.0.0.1"), (None, HOST_V4), (Some(world.as_path()), HOST_V4)] {
            assert_eq!(ask(from, address, 8080), Some(ip("169.254.0.1")), "{address}");
            assert_eq!(ask_udp(from, address, 8082), Some(ip("169.254.0.1")), "{address}");
        }
        assert!(ask(Some(&world), HOST_V6, 8080).is_some());
        assert_eq!(ask(None, "::1", 8080), None);
        assert!(ask(None, "127.0.0.1", 8081).is_some());
        assert_eq!(ask(Some(&world), HOST_V4, 8081), None, "published on the loopback only");
        assert!(TcpListener::bind("0.0.0.0:8080").is_err(), "the port is reserved");

        let refused = |ports: &[&str]| {
            let request = common::request(Default, ports);
            host.runtime
                .block_on(pool.acquire(hearth_ids::MachineId::new(), request))
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&["8080:81"]).contains(&machine.to_string()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().port();
        let message = refused(&[&format!("{taken}:80")]);
        assert!(
            message.contains(&format!("(process {})", std::process::id())),
            "{message}"
        );

        let check = |port: &str| host.runtime.block_on(pool.check_ports(&[port.parse().unwrap()]));
        assert!(check("8080:81").is_err() && check(&format!("{taken}:80")).is_err());

        host.release(&pool, machine);
        check("8080:81").unwrap();
        assert_eq!(ask(None, "127.0.0.1", 8080), None);
        TcpListener::bind("0.0.0.0:8080").unwrap();
        host.close(&pool);
        assert_eq!(host.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn other_users_of_the_host_reach_published_ports_alone() {
    on_host(|host| {
        let pool = host.open(host.config(), &[]);
        let (_, slot) = host.acquire(&pool, Default, &["8080:80"]);
        let guest = Guest::boot(&slot);
        for address in [slot.guest_addr, slot.guest_addr_v6.unwrap().into()] {
            let address = address.to_string();
            assert!(ask(None, &address, 80).is_some());
            assert_eq!(ask_as_nobody(&address, 80), None, "{address}");
        }
        assert_eq!(ask_as_nobody("127.0.0.1", 8080), Some(ip("169.254.0.1")));
        assert!(ask_as_nobody(HOST_V4, 8080).is_some());
        drop(guest);
        host.close(&pool);
    });
}

#[test]
fn what_is_published_on_the_loopback_stays_there() {
    on_host(|host| {
        let pool = host.open(host.config(), &[]);
        let (_, slot) = host.acquire(&pool, Default, &["127.0.0.1:8081:80", "8080:80"]);
        let _guest = Guest::boot(&slot);
        let world = common::netns("world");
        // A neighbour that sends frames for 127.0.0.1 to the host's card.
        common::sh(&format!(
            "ip netns exec world sysctl -qw net.ipv4.conf.all.route_localnet=1; \
             ip -n world rule add pref 0 lookup 99; ip -n world rule del pref 0 lookup local; \
             ip -n world rule add pref 100 lookup local; ip -n world route add 127.0.0.1/32 via {HOST_V4} table 99"
        ));
        assert_eq!(ask(Some(&world), "127.0.0.1", 8081), None);
        assert!(ask(None, "127.0.0.1", 8081).is_some());
        host.close(&pool);
    });
}

#[test]
fn a_machine_has_as_many_ports_as_it_may() {
    on_host(|host| {
        let pool = host.open(host.config(), &[]);
        let ports: Vec<String> = (0..256).map(|port| format!("{}:80", 20_000 + port)).collect();
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        let (_, slot) = host.acquire(&pool, Default, &ports);
        let _guest = Guest::boot(&slot);
        assert!(ask(None, "127.0.0.1", 20_000).is_some() && ask(None, "127.0.0.1", 20_255).is_some());
        host.close(&pool);
    });
}

#[test]
fn another_daemon_on_the_host_is_out_of_reach_too() {
    on_host(|host| {
        let folder = tempfile::tempdir().unwrap();
        let mut config = hearth_network::PoolConfig::new(folder.path().canonicalize().unwrap());
        config.warm = 1;
        let (pool, neighbours) = (host.open(host.config(), &[]), host.open(config.clone(), &[]));
        assert_ne!(pool.pool(), neighbours.pool());
        let (_, slot) = host.acquire(&pool, Default, &[]);
        let (_, theirs) = host.acquire(&neighbours, Default, &["9090:80"]);
        let (guest, _other) = (Guest::boot(&slot), Guest::boot(&theirs));
        assert!(ask(None, HOST_V4, 9090).is_some(), "without it the rest proves nothing");
        assert_eq!(guest.ask(HOST_V4, 9090), None);
        assert_eq!(guest.ask(&theirs.guest_addr.to_string(), 80), None);
        assert!(guest.ask(WORLD_V4, SERVICE).is_some());
        host.runtime.block_on(hearth_network::SlotPool::purge(config)).unwrap();
        assert!(guest.ask(WORLD_V4, SERVICE).is_some(), "a purge takes only its own");
        host.close(&pool);
    });
}

#[test]
fn guests_of_the_bridge_reach_the_world_and_not_each_other() {
    on_host(|host| {
        let pool = host.open(host.config(), &[]);
        let (machine, slot) = host.acquire(&pool, Bridge, &["8080:80"]);
        let (_, other) = host.acquire(&pool, Bridge, &[]);
        let (guest, _neighbour) = (Guest::boot(&slot), Guest::boot(&other));
        let _here = Server::start(None, SERVICE);
        let address = slot.guest_addr.to_string();
        assert_eq!(
            slot.kernel_ip,
            Some(format!("ip={address}::172.16.0.1:255.255.255.0::eth0:off"))
        );
        assert_eq!(ask(None, &address, 80), Some(ip("172.16.0.1")));
        assert!(ask(None, "127.0.0.1", 8080).is_some());
        assert_eq!(guest.ask(WORLD_V4, SERVICE), Some(ip(HOST_V4)));
        assert!(guest.ask_udp(RESOLVER, 53).is_some());
        for near in [HOST_V4, "172.16.0.1", RESOLVER, "169.254.169.254"] {
            assert_eq!(guest.ask(near, SERVICE), None, "{near}");
        }
        assert_eq!(guest.ask(&other.guest_addr.to_string(), 80), None);
        guest.ip("addr add 172.16.0.200/24 dev eth0");
        guest.ip("route replace default via 172.16.0.1 src 172.16.0.200");
        assert_eq!(guest.ask(WORLD_V4, SERVICE), None, "forged");
        drop(guest);
        host.release(&pool, machine);
        assert_eq!(ask(None, &address, 80), None);
        host.close(&pool);
        assert!(
            host.leftovers().iter().any(|left| left.contains("fc-bridge0")),
            "the other guest holds it"
        );
        host.runtime
            .block_on(hearth_network::SlotPool::purge(host.config()))
            .unwrap();
        assert_eq!(host.leftovers(), Vec::<String>::new());
    });
}
