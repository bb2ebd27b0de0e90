//! Machines that wait for whoever wants one of a snapshot.

use std::collections::BTreeSet;

use hearth_e2e::{Host, HostOptions, wait_for};

use crate::shop::{exec, number, remove_all, run};

/// Counts where nobody but the guest sees it, and would go on counting while it waits if it ran.
const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i > /dev/shm/count; sleep 0.02; done";
const IDENTITY: &str = "hostname; cat /proc/sys/kernel/random/boot_id /etc/machine-id /run/hearth/generation 2>/dev/null; head -c 16 /dev/urandom | od -An -tx1";

fn with_warm() -> Host {
    Host::with(&HostOptions::default().arg("--warm-memory").arg("1g"))
}

/// Memory of all machines, those that wait among them, in MiB.
fn allocated(host: &Host) -> u64 {
    let node = host.hearth(&["node", "info", "--json"]).json();
    node["memory_mib"]["allocated"].as_u64().unwrap()
}

/// Waits until the n-th machine that waits does so.
fn wait_for_one(host: &Host, nth: usize) {
    wait_for("a machine to wait", || {
        (host.log().matches("from=running to=paused").count() == nth).then_some(())
    });
}

fn count(host: &Host, machine: &str) -> u64 {
    number(host, machine, "/dev/shm/count")
}

#[test]
fn one_that_waits_is_claimed_and_is_another_machine() {
    let mut host = with_warm();
    run(&host, "source", &["--memory", "128m"], COUNTER);
    wait_for("it to count", || (count(&host, "source") > 20).then_some(()));
    host.hearth(&["snapshot", "create", "source", "--name", "then"]).ok();
    let restore = |host: &Host, name: &str| {
        host.hearth(&["snapshot", "restore", "--name", name, "then"])
            .ok()
            .to_owned()
    };
    restore(&host, "first");
    let first = count(&host, "first");
    // Somebody wanted one; another waits, and counts for nobody meanwhile.
    wait_for_one(&host, 1);
    assert_eq!(allocated(&host), 3 * 128);
    assert!(
        host.hearth(&["ps", "--json"]).json().as_array().unwrap().len() == 2,
        "it is nobody's"
    );
    std::thread::sleep(std::time::Duration::from_secs(2));
    let second = [
        "snapshot",
        "restore",
        "--name",
        "second",
        "--recover",
        "snapshot:1s",
        "then",
    ];
    let id = host.hearth(&second).ok().to_owned();
    let second = count(&host, "second");
    assert!(second < first + 60, "{first}, then {second}: it ran while it waited");
    let shown = host.inspect("second");
    assert_eq!(
        (&shown["id"], &shown["state"]),
        (&id.into(), &"running".into()),
        "{shown}"
    );
    assert!(
        shown["history"].to_string().contains("paused"),
        "it was made, not claimed: {shown}"
    );
    wait_for("it to count on", || (count(&host, "second") > second).then_some(()));
    wait_for("a recovery point", || {
        host.inspect("second")["recovery_point_at"].is_string().then_some(())
    });
    let known: Vec<String> = ["source", "first", "second"]
        .map(|machine| exec(&host, machine, IDENTITY))
        .into();
    for line in 0..known[0].lines().count() {
        let values: BTreeSet<&str> = known.iter().filter_map(|all| all.lines().nth(line)).collect();
        assert_eq!(values.len(), 3, "{known:?}");
    }
    // What it is asked for holds for one that waited, too.
    host.hearth(&["stop", "second"]).ok();
    host.hearth(&["start", "second"]).ok();
    host.wait_for_state("second", "running");

    // Those that wait go with their daemon; the others stay.
    wait_for_one(&host, 2);
    host.kill_daemon();
    host.up(&HostOptions::default());
    assert_eq!(allocated(&host), 3 * 128);
    host.hearth(&["snapshot", "rm", "then"]).ok();
    remove_all(&host, &["source", "first", "second"]);
}
