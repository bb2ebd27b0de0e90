//! The life of slots: many at once, used again, found again, killed at every step.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{collections::HashSet, path::Path, process::Command, time::Duration};

use common::{Guest, Host, SERVICE, WORLD_V4, ask, distinct, eventually, on_host, request};
use hearth_domain::NetworkMode::{Bridge, Default};
use hearth_ids::MachineId;
use hearth_network::{Network, NetworkError, PoolConfig, STEPS, Slot, SlotPool};

#[test]
fn sixty_four_at_once_share_nothing() {
    on_host(|host| {
        let pool = std::sync::Arc::new(host.open(host.config(), &[]));
        let slots = host.runtime.block_on(async {
            let tasks: Vec<_> = (0..64)
                .map(|_| {
                    let pool = std::sync::Arc::clone(&pool);
                    tokio::spawn(async move { pool.acquire(MachineId::new(), request(Default, &[])).await.unwrap() })
                })
                .collect();
            let mut slots = Vec::new();
            for task in tasks {
                slots.push(task.await.unwrap());
            }
            slots
        });
        assert!(distinct(slots.iter().map(|slot| slot.index)));
        assert!(distinct(slots.iter().map(|slot| slot.guest_addr)));
        assert!(distinct(slots.iter().map(|slot| slot.netns.clone())));
        host.close(&pool);
        host.runtime.block_on(SlotPool::purge(host.config())).unwrap();
        assert_eq!(host.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn a_ready_slot_is_had_before_one_is_made() {
    on_host(|host| {
        let pool = host.open(
            PoolConfig {
                warm: 8,
                ..host.config()
            },
            &[],
        );
        eventually("the pool is warm", || pool.ready() == 8);
        let names = |path: &Path| path.file_name().unwrap().to_owned();
        let made: HashSet<_> = std::fs::read_dir("/run/netns")
            .unwrap()
            .map(|entry| names(&entry.unwrap().path()))
            .collect();
        for _ in 0..8 {
            let (_, slot) = host.acquire(&pool, Default, &[]);
            assert!(made.contains(&names(&slot.netns.unwrap())), "it was ready");
        }
        host.close(&pool);
    });
}

fn gateway_mac(slot: &Slot) -> String {
    let netns = slot.netns.as_ref().unwrap().display();
    let shown = Command::new("nsenter")
        .arg(format!("--net={netns}"))
        .args(["ip", "-o", "link", "show", &slot.tap])
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether");
    words.nth(1).unwrap().to_owned()
}

#[test]
fn a_slot_rests_and_is_reset_before_it_is_used_again() {
    on_host(|host| {
        let config = PoolConfig {
            capacity: 1,
            rest: Duration::from_millis(300),
            ..host.config()
        };
        let pool = host.open(config, &[]);
        let (machine, slot) = host.acquire(&pool, Default, &[]);
        let guest = Guest::boot(&slot);
        assert!(guest.ask(WORLD_V4, SERVICE).is_some());
        drop(guest);
        let gateway = gateway_mac(&slot);
        let connections = || std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap_or_default();
        let address = format!("src={} ", slot.guest_addr);
        let known = connections();
        assert!(known.is_empty() || known.contains(&address), "{known}");
        host.release(&pool, machine);
        host.release(&pool, machine);
        assert!(
            !connections().contains(&address),
            "the host has forgotten the last holder's connections"
        );
        let again = || {
            host.runtime
                .block_on(pool.acquire(MachineId::new(), request(Default, &[])))
        };
        assert!(matches!(again(), Err(NetworkError::Exhausted { resting: 1, .. })));
        eventually("the slot has rested", || pool.ready() == 1);
        let second = again().unwrap();
        assert_eq!(second.index, slot.index);
        // A guest that is restored here sends to the gateway that it knows.
        assert_eq!(gateway_mac(&second), gateway);
        let guest = Guest::boot(&second);
        assert!(guest.ask(WORLD_V4, SERVICE).is_some());
        assert!(ask(None, &second.guest_addr.to_string(), 80).is_some());
        host.close(&pool);
    });
}

#[test]
fn a_slot_that_nobody_waits_for_any_more_is_given_back() {
    on_host(|host| {
        let pool = std::sync::Arc::new(host.open(
            PoolConfig {
                warm: 0,
                ..host.config()
            },
            &[],
        ));
        for delay_us in [0, 50, 500, 2_000, 10_000] {
            let machine = MachineId::new();
            host.runtime.block_on(async {
                let acquiring = std::sync::Arc::clone(&pool);
                let task = tokio::spawn(async move { acquiring.acquire(machine, request(Default, &[])).await });
                tokio::time::sleep(Duration::from_micros(delay_us)).await;
                task.abort();
                let _ = task.await;
                pool.release(machine).await.unwrap();
            });
            let records = host.folder.path().join("slots");
            assert_eq!(std::fs::read_dir(&records).unwrap().count(), 0, "it is given back");
            assert_eq!(pool.slot_of(machine), None);
            let again = host.runtime.block_on(pool.acquire(machine, request(Default, &[])));
            again.unwrap();
            host.release(&pool, machine);
        }
        eventually("all rested", || {
            host.close(&pool);
            host.leftovers().is_empty()
        });
    });
}

#[test]
fn a_machine_keeps_its_slot_over_a_restart() {
    on_host(|host| {
        let pool = host.open(host.config(), &[]);
        let (machine, slot) = host.acquire(&pool, Default, &["8080:80"]);
        let (bridged, bridge_slot) = host.acquire(&pool, Bridge, &[]);
        let (dead, _) = host.acquire(&pool, Default, &[]);
        let (guest, bridge_guest) = (Guest::boot(&slot), Guest::boot(&bridge_slot));
        eventually("a slot is made ahead", || pool.ready() == 1);
        // As a crash leaves it: nothing is closed.
        drop(pool);
        let pool = host.open(
            PoolConfig {
                warm: 0,
                capacity: 1,
                ..host.config()
            },
            &[machine, bridged],
        );
        assert_eq!(pool.slot_of(machine), Some(slot.clone()));
        assert_eq!(pool.slot_of(bridged), Some(bridge_slot));
        assert_eq!(pool.slot_of(dead), None);
        assert!(guest.ask(WORLD_V4, SERVICE).is_some());
        assert!(bridge_guest.ask(WORLD_V4, SERVICE).is_some());
        assert!(ask(None, "127.0.0.1", 8080).is_some());
        let namespaces = host.leftovers().iter().filter(|left| left.starts_with("hv-")).count();
        assert_eq!(namespaces, 1, "{:?}", host.leftovers());
        drop((guest, bridge_guest));
        host.release(&pool, machine);
        host.release(&pool, bridged);
        host.close(&pool);
        assert_eq!(host.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn a_sleeper_on_the_bridge_has_its_address_after_the_host_was_restarted() {
    on_host(|host| {
        let pool = host.open(host.config(), &[]);
        let (first, _) = host.acquire(&pool, Bridge, &[]);
        let (sleeper, slot) = host.acquire(&pool, Bridge, &["8080:80"]);
        host.release(&pool, first);
        drop(pool);
        // What a host that was restarted does not have any more.
        common::sh(
            "taps=$(ip -o link show master fc-bridge0 | cut -d: -f2)
            test -n \"$taps\"; for link in $taps fc-bridge0; do ip link delete $link; done",
        );
        let pool = host.open(host.config(), &[sleeper]);
        assert_eq!(pool.slot_of(sleeper), Some(slot.clone()));
        let guest = Guest::boot(&slot);
        assert!(guest.ask(WORLD_V4, SERVICE).is_some());
        assert!(ask(None, "127.0.0.1", 8080).is_some());
        drop(guest);
        host.release(&pool, sleeper);
        host.close(&pool);
        assert_eq!(host.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn a_pool_that_clashes_with_the_host_is_refused() {
    on_host(|host| {
        let config = PoolConfig {
            pool: Some("203.0.113.0/20".parse().unwrap()),
            ..host.config()
        };
        let error = host.runtime.block_on(SlotPool::open(config, [].into())).unwrap_err();
        assert!(error.to_string().contains("wan"), "{error}");
        let chosen = host.open(host.config(), &[]).pool();
        std::fs::remove_file(host.folder.path().join("pool.json")).unwrap();
        common::sh(&format!("ip route add {chosen} via 203.0.113.1"));
        let other = host.open(host.config(), &[]);
        assert_ne!(other.pool(), chosen);
        host.close(&other);
    });
}

const CHILD: &str = "child_that_is_killed";
const MACHINE: &str = "mch01arz3ndektsv4rrffq69g5fav";

fn die_at_step(step: &'static str) {
    if std::env::var("HEARTH_TEST_STEP").as_deref() == Ok(step) {
        // As `kill -9` would: nothing is unwound or flushed.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

fn killed_config(folder: std::path::PathBuf) -> PoolConfig {
    let mut config = PoolConfig::new(folder);
    config.warm = 0;
    config.resolvers = vec![];
    config.fault = die_at_step;
    config
}

/// Not a test: what the next one starts, in its own namespaces.
#[test]
#[ignore = "the process that `a_kill_at_any_step_leaks_nothing` kills"]
fn child_that_is_killed() {
    let Some(folder) = std::env::var_os("HEARTH_TEST_FOLDER") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pool = SlotPool::open(killed_config(folder.into()), [].into()).await.unwrap();
        let machine: MachineId = MACHINE.parse().unwrap();
        pool.acquire(machine, request(Default, &["8080:80"])).await.unwrap();
        pool.release(machine).await.unwrap();
        pool.close(true).await;
    });
}

fn run_child(host: &Host, step: &str) -> std::process::ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--ignored"])
        .env("HEARTH_TEST_FOLDER", host.folder.path().canonicalize().unwrap())
        .env("HEARTH_TEST_STEP", step)
        .output()
        .unwrap()
        .status
}

#[test]
fn a_kill_at_any_step_leaks_nothing() {
    use std::os::unix::process::ExitStatusExt;
    on_host(|host| {
        let machine: MachineId = MACHINE.parse().unwrap();
        for (step, alive) in STEPS.iter().flat_map(|step| [(step, false), (step, true)]) {
            assert_eq!(
                run_child(host, step).signal(),
                Some(9),
                "the child never came to {step}"
            );
            let config = PoolConfig {
                warm: 0,
                ..host.config()
            };
            let machines = [machine];
            let pool = host.open(config, if alive { &machines } else { &[] });
            if let Some(slot) = pool.slot_of(machine) {
                assert!(alive, "{step}");
                let guest = Guest::boot(&slot);
                assert!(guest.ask(WORLD_V4, SERVICE).is_some(), "{step}: an adopted slot works");
                assert!(ask(None, "127.0.0.1", 8080).is_some(), "{step}: and so does its port");
                drop(guest);
            }
            host.release(&pool, machine);
            host.close(&pool);
            assert_eq!(host.leftovers(), Vec::<String>::new(), "{step}");
        }
        assert!(run_child(host, "none").success());
    });
}
