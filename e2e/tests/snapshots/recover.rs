//! Machines whose VMM is killed, alone and with its daemon, and that go back to their last recovery point.

use hearth_e2e::{Host, HostOptions, kill, wait_for};

use crate::shop::{exec, number, remove_all, run};

const MACHINE: &str = "lasting";
/// Counts in memory; what it has come to is in memory, and on its disk.
const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i > /dev/shm/count; echo $i > /count; sleep 0.05; done";

fn point(host: &Host) -> String {
    let shown = host.inspect(MACHINE);
    shown["recovery_point_at"].as_str().unwrap_or_default().to_owned()
}

/// Waits for a recovery point that was made after the last.
fn next_point(host: &Host) {
    let last = point(host);
    wait_for("a recovery point", || (point(host) > last).then_some(()));
}

fn count(host: &Host) -> u64 {
    number(host, MACHINE, "/dev/shm/count")
}

/// Waits until the machine is back so many times in all; gives what it counted to.
fn back(host: &Host, restarts: u64) -> u64 {
    wait_for("the machine to come back", || {
        let shown = host.inspect(MACHINE);
        (shown["state"] == "running" && shown["restarts"] == restarts).then_some(())
    });
    count(host)
}

#[test]
fn a_machine_outlives_its_vmm_and_its_node() {
    let mut host = Host::start();
    run(&host, MACHINE, &["--disk", "64m", "--recover", "snapshot:1s"], COUNTER);
    next_point(&host);
    wait_for("it to count", || (count(&host) > 20).then_some(()));
    next_point(&host);
    let before = count(&host);
    kill(host.vmm(MACHINE).unwrap());
    let after = back(&host, 1);
    // From the last point on or one before, and not from its start.
    assert!(after > 20, "{before}, then {after}");
    let reason = host.inspect(MACHINE)["history"].to_string();
    assert!(reason.contains("ended unexpectedly"), "{reason}");
    wait_for("it to count on", || (count(&host) > after).then_some(()));
    // Memory and disk are of one moment: what it counts is in step on both.
    let numbers = wait_for("both numbers", || {
        let both = exec(&host, MACHINE, "cat /dev/shm/count /count");
        let numbers: Vec<u64> = both.lines().filter_map(|line| line.parse().ok()).collect();
        (numbers.len() == 2).then_some(numbers)
    });
    assert!(numbers[0].abs_diff(numbers[1]) <= 2, "{numbers:?}");

    // A node that dies takes both with it.
    next_point(&host);
    let (victim, before) = (host.vmm(MACHINE).unwrap(), count(&host));
    host.kill_daemon();
    kill(victim);
    host.up(&HostOptions::default());
    let shown = wait_for("the machine to come back", || {
        let shown = host.inspect(MACHINE);
        let other = host.vmm(MACHINE).is_some_and(|vmm| vmm != victim);
        (shown["state"] == "running" && other).then_some(shown)
    });
    assert_eq!(shown["recover"]["interval_s"], 1, "{shown}");
    let after = count(&host);
    assert!(after > 20, "{before}, then {after}");
    wait_for("it to count on", || (count(&host) > after).then_some(()));

    // A stop is a stop.
    host.hearth(&["stop", MACHINE]).ok();
    let shown = host.inspect(MACHINE);
    assert_eq!(
        (&shown["state"], &shown["recovery_point_at"]),
        (&"stopped".into(), &serde_json::Value::Null)
    );
    remove_all(&host, &[MACHINE]);
}

#[test]
fn what_cannot_be_is_refused() {
    let host = Host::start();
    let recover = |policy| host.hearth(&["run", "--recover", policy, "none"]);
    for policy in [
        "always",
        "snapshot:",
        "snapshot:x",
        "snapshot:0s",
        "snapshot:25h",
        "snapshot:-1s",
    ] {
        recover(policy).failed(125, &["--recover"]);
    }
}
