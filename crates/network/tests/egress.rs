//! What a machine's own rules let it reach, with real packets.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use common::{Guest, HOST_V4, Host, NEAR, RESOLVER, SERVICE, WORLD_V4, WORLD_V6, ask, eventually, netns, on_host};
use hearth_domain::{
    EgressRules,
    NetworkMode::{Bridge, Default},
};
use hearth_ids::MachineId;
use hearth_network::{Network, NetworkError, PoolConfig, Slot, SlotPool, in_netns};

/// Further addresses of the world.
const OTHER_V4: &str = "198.51.100.66";
const OTHER_V6: &str = "2001:db8:7::66";
const ECHO: u16 = 7100;
const DEADLINE: Duration = Duration::from_secs(5);

fn rules(allow: &[&str], deny: &[&str]) -> EgressRules {
    EgressRules::parse(allow, deny).unwrap()
}

fn set(host: &Host, pool: &SlotPool, machine: MachineId, rules: EgressRules) {
    host.runtime.block_on(pool.set_egress(machine, rules)).unwrap();
}

/// A host whose world has more addresses, and a guest that reaches them.
fn with_guest(
    config: impl Fn(&Host) -> PoolConfig + Send + 'static,
    test: impl FnOnce(&Host, &SlotPool, MachineId, &Slot, &Guest) + Send + 'static,
) {
    on_host(move |host| {
        common::sh(&format!(
            "ip -n world addr add {OTHER_V4} dev lo; ip -n world addr add {OTHER_V6} dev lo nodad"
        ));
        let pool = host.open(config(host), &[]);
        let (machine, slot) = host.acquire(&pool, Default, &[]);
        let guest = Guest::boot(&slot);
        for address in [WORLD_V4, WORLD_V6, OTHER_V4, OTHER_V6] {
            eventually(&format!("the guest reaches {address}"), || {
                guest.ask(address, SERVICE).is_some()
            });
        }
        test(host, &pool, machine, &slot, &guest);
        host.close(&pool);
    });
}

/// Sends back what it is sent, until its peers hang up.
fn echo_at(netns: Option<&Path>) {
    let bind = || TcpListener::bind(("::", ECHO));
    let listener = netns.map_or_else(bind, |netns| in_netns(netns, bind)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || io::copy(&mut &stream, &mut &stream));
        }
    });
}

fn connect(netns: Option<&Path>, address: &str, port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    let open = || TcpStream::connect_timeout(&address, DEADLINE);
    let stream = netns.map_or_else(open, |netns| in_netns(netns, open))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    Ok(stream)
}

/// Whether the connection still carries something there and back.
fn carries(mut stream: &TcpStream) -> bool {
    let mut answer = [0];
    stream
        .write_all(b"x")
        .and_then(|()| stream.read_exact(&mut answer))
        .is_ok()
}

#[test]
fn addresses_are_allowed_before_they_are_denied() {
    with_guest(Host::config, |host, pool, machine, _, guest| {
        let reached = || [WORLD_V4, OTHER_V4, WORLD_V6, OTHER_V6].map(|address| guest.ask(address, SERVICE).is_some());
        for (allow, deny, expected) in [
            (&[][..], &[OTHER_V4, OTHER_V6][..], [true, false, true, false]),
            (&[], &["198.51.100.0/24"], [false, false, true, true]),
            (&[WORLD_V4], &["198.51.100.0/24"], [true, false, true, true]),
            (
                &["198.51.100.64/26", WORLD_V6],
                &["0.0.0.0/0"],
                [false, true, true, false],
            ),
            (&["2001:db8:7::60/123"], &["::/0"], [true, true, false, true]),
            (&[WORLD_V4, OTHER_V4], &["0.0.0.0/0"], [true, true, false, false]),
            (&[], &["0.0.0.0/0"], [false; 4]),
            (&["0.0.0.0/0"], &["0.0.0.0/0"], [true, true, false, false]),
            (&[], &[], [true; 4]),
        ] {
            set(host, pool, machine, rules(allow, deny));
            assert_eq!(reached(), expected, "{allow:?} before {deny:?}");
        }
    });
}

#[test]
fn rules_open_nothing_near() {
    with_guest(Host::config, |host, pool, machine, slot, guest| {
        let (_, other) = host.acquire(pool, Default, &["9090:80"]);
        let _neighbour = Guest::boot(&other);
        let _here = common::Server::start(None, SERVICE);
        let neighbour = other.guest_addr.to_string();
        let own = slot.guest_addr.to_string();
        let near: Vec<&str> = NEAR
            .into_iter()
            .chain([HOST_V4, "169.254.0.1", &own, &neighbour])
            .collect();
        for (allow, deny) in [
            (near.clone(), vec![]),
            (near.clone(), vec!["0.0.0.0/0"]),
            (vec!["0.0.0.0/0", "::/0"], vec![]),
        ] {
            set(host, pool, machine, rules(&allow, &deny));
            for address in &near {
                assert_eq!(guest.ask(address, SERVICE), None, "{address}");
            }
            assert_eq!(guest.ask(&neighbour, 80), None);
        }
    });
}

#[test]
fn without_internet_there_is_no_dns_and_no_waiting() {
    with_guest(Host::config, |host, pool, machine, slot, guest| {
        assert!(guest.ask_udp(RESOLVER, 53).is_some());
        let none: [&str; 0] = [];
        set(
            host,
            pool,
            machine,
            EgressRules::parse_without_internet(&none, &none).unwrap(),
        );
        assert_eq!(guest.ask_udp(RESOLVER, 53), None);
        assert_eq!(guest.ask(RESOLVER, 53), None);
        let start = Instant::now();
        let error = connect(Some(&guest.netns), WORLD_V4, SERVICE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(start.elapsed() < Duration::from_secs(1), "it was told at once");
        // The node reaches the guest as before.
        assert!(ask(None, &slot.guest_addr.to_string(), 80).is_some());
        // Who denies all but the name server has it.
        set(host, pool, machine, rules(&[RESOLVER], &["0.0.0.0/0"]));
        assert!(guest.ask_udp(RESOLVER, 53).is_some());
        assert_eq!(guest.ask_udp(RESOLVER, SERVICE), None, "for names only");
        set(host, pool, machine, rules(&[], &["10.0.0.0/8"]));
        assert_eq!(guest.ask_udp(RESOLVER, 53), None);
    });
}

#[test]
fn a_change_cuts_what_it_forbids_and_nothing_else() {
    with_guest(Host::config, |host, pool, machine, slot, guest| {
        echo_at(Some(&netns("world")));
        echo_at(Some(&guest.netns));
        let from_guest = |address| connect(Some(&guest.netns), address, ECHO).unwrap();
        let (kept, cut, kept6, cut6) = (
            from_guest(WORLD_V4),
            from_guest(OTHER_V4),
            from_guest(WORLD_V6),
            from_guest(OTHER_V6),
        );
        let by_node = connect(None, &slot.guest_addr.to_string(), ECHO).unwrap();
        for stream in [&kept, &cut, &kept6, &cut6, &by_node] {
            assert!(carries(stream));
        }
        set(host, pool, machine, rules(&[WORLD_V4, WORLD_V6], &["0.0.0.0/0"]));
        for stream in [&cut, &cut6] {
            let start = Instant::now();
            assert!(!carries(stream));
            assert!(start.elapsed() < Duration::from_secs(1), "it was told at once");
        }
        for stream in [&kept, &kept6, &by_node] {
            assert!(carries(stream));
        }
        set(host, pool, machine, rules(&[], &["0.0.0.0/0"]));
        assert!(!carries(&kept) && !carries(&kept6) && carries(&by_node));
    });
}

#[test]
fn the_next_holder_of_a_slot_has_no_rules() {
    on_host(|host| {
        let pool = host.open(
            PoolConfig {
                capacity: 1,
                ..host.config()
            },
            &[],
        );
        let (machine, slot) = host.acquire(&pool, Default, &[]);
        set(host, &pool, machine, rules(&[], &["0.0.0.0/0"]));
        let guest = Guest::boot(&slot);
        assert_eq!(guest.ask(WORLD_V4, SERVICE), None);
        drop(guest);
        host.release(&pool, machine);
        let refused = host.runtime.block_on(pool.set_egress(machine, EgressRules::default()));
        assert!(matches!(refused, Err(NetworkError::NoSlot { .. })));
        eventually("the slot has rested", || pool.ready() == 1);
        let (_, same) = host.acquire(&pool, Default, &[]);
        assert_eq!(same.index, slot.index);
        let guest = Guest::boot(&same);
        assert!(guest.ask(WORLD_V4, SERVICE).is_some() && guest.ask(WORLD_V6, SERVICE).is_some());
        host.close(&pool);
    });
}

#[test]
fn rules_outlive_the_daemon() {
    on_host(|host| {
        let pool = host.open(host.config(), &[]);
        let (machine, slot) = host.acquire(&pool, Default, &[]);
        let guest = Guest::boot(&slot);
        set(host, &pool, machine, rules(&[WORLD_V4], &["0.0.0.0/0"]));
        let reached = || {
            (
                guest.ask(WORLD_V4, SERVICE).is_some(),
                guest.ask(WORLD_V6, SERVICE).is_some(),
            )
        };
        assert_eq!(reached(), (true, false));
        drop(pool);
        assert_eq!(reached(), (true, false), "nobody is there, and they hold");
        let pool = host.open(host.config(), &[machine]);
        assert_eq!(reached(), (true, false));
        set(host, &pool, machine, EgressRules::default());
        assert_eq!(reached(), (true, true));
        host.close(&pool);
    });
}

#[test]
fn on_the_bridge_there_are_no_rules_of_ones_own() {
    on_host(|host| {
        let pool = host.open(host.config(), &[]);
        let (machine, _) = host.acquire(&pool, Bridge, &[]);
        let set = |rules| host.runtime.block_on(pool.set_egress(machine, rules));
        set(EgressRules::default()).unwrap();
        let refused = set(rules(&[], &["0.0.0.0/0"])).unwrap_err();
        assert!(refused.to_string().contains("use network mode default"), "{refused}");
        host.release(&pool, machine);
        host.close(&pool);
    });
}

#[test]
fn a_slot_is_not_given_back_while_its_rules_are_set() {
    on_host(|host| {
        let pool = host.open(host.config(), &[]);
        for _ in 0..10 {
            let (machine, slot) = host.acquire(&pool, Default, &[]);
            let denied = rules(&[], &["0.0.0.0/0"]);
            let (set, released) = host
                .runtime
                .block_on(async { tokio::join!(pool.set_egress(machine, denied), pool.release(machine)) });
            released.unwrap();
            // Whichever was first, nothing of it is left.
            assert!(
                set.is_ok() || matches!(set, Err(NetworkError::NoSlot { .. })),
                "{set:?}"
            );
            assert_eq!(pool.slot_of(machine), None);
            let netns = slot.netns.unwrap();
            let listed = common::output(
                "nsenter",
                &[
                    &format!("--net={}", netns.display()),
                    "nft",
                    "list",
                    "table",
                    "inet",
                    "hearth",
                ],
            );
            assert!(
                listed.contains("chain to-world {\n\t}") && !listed.contains("elements"),
                "{listed}"
            );
        }
        host.close(&pool);
    });
}
