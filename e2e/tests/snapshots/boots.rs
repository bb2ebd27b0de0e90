//! Machines that boot with the disk that another had.

use std::process::Command;

use hearth_e2e::{Host, wait_for};

use crate::shop::{MARK, exec, mark, remove_all, run};

/// What is known of the machine by a file that programs share.
const ID: &str = "0123456789abcdef0123456789abcdef";

/// Starts a machine with a disk, and waits until it has come as far as its sleep.
fn source(host: &Host) {
    let script = format!("[ -f /etc/machine-id ] || echo {ID} > /etc/machine-id; {MARK}; sleep 1000");
    run(host, "source", &["--disk", "32m"], &script);
    wait_for("its program to sleep", || {
        (host.hearth(&["exec", "source", "sh", "-c", "busybox pidof sleep"]).code == 0).then_some(())
    });
}

/// Makes a snapshot of the source's disk, under this name; gives what is told of it.
fn snapshot(host: &Host, name: &str) -> serde_json::Value {
    let made = host.hearth(&["snapshot", "create", "--no-memory", "--name", name, "source", "--json"]);
    let made = made.json();
    assert_eq!(made["memory"], false, "{made}");
    let parts: Vec<&str> = made["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["name"].as_str().unwrap())
        .collect();
    assert_eq!(parts, ["disk"]);
    made
}

/// Makes a machine of a snapshot, and waits until it runs.
fn boot(host: &Host, snapshot: &str, name: &str, flags: &[&str]) {
    host.hearth(&[&["snapshot", "restore", "--name", name, snapshot], flags].concat())
        .ok();
    host.wait_for_state(name, "running");
}

/// The disk of a snapshot is a whole file system, whose journal holds nothing.
fn is_clean(host: &Host, snapshot: &serde_json::Value) {
    let id = snapshot["id"].as_str().unwrap();
    let checked = Command::new("e2fsck")
        .arg("-fn")
        .arg(host.state_dir().join("snapshots").join(id).join("disk"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(!said.contains("journal"), "{said}");
}

#[test]
fn a_machine_boots_with_the_disk_that_another_had() {
    let host = Host::start();
    source(&host);
    let first_boot = mark(&host, "source");
    exec(
        &host,
        "source",
        "busybox mkdir -p /etc/hearth/before-snapshot.d; cd /etc/hearth/before-snapshot.d; \
         printf '#!/bin/sh\\necho yes > /hooked\\n' > 10-hook; busybox chmod 755 10-hook; \
         sleep 4242 > /dev/null 2>&1 < /dev/null &",
    );
    // In the guest's memory alone, if nobody has it written out.
    exec(&host, "source", "busybox head -c 3000000 /dev/urandom > /kept");
    let written = exec(&host, "source", "busybox md5sum < /kept");
    let made = snapshot(&host, "then");
    assert!(made["paused_us"].as_u64().unwrap() > 0, "{made}");
    is_clean(&host, &made);
    // The source goes on, and writes on.
    assert_eq!(
        exec(&host, "source", "echo later > /kept; busybox sync; cat /kept"),
        "later"
    );
    assert_eq!(mark(&host, "source"), first_boot);

    boot(&host, "then", "copy", &["--memory", "320m", "--cpus", "2"]);
    assert_eq!(exec(&host, "copy", "busybox md5sum < /kept"), written);
    assert_eq!(exec(&host, "copy", "cat /hooked"), "yes");
    assert_ne!(mark(&host, "copy"), first_boot, "it went on, and did not boot");
    assert_eq!(
        exec(&host, "copy", "busybox ps | busybox grep -c '[s]leep 4242' || true"),
        "0"
    );
    assert_eq!(
        exec(&host, "source", "busybox ps | busybox grep -c '[s]leep 4242' || true"),
        "1"
    );
    let shown = host.inspect("copy");
    assert_eq!(
        (&shown["snapshot"], &shown["resources"]["memory_mib"]),
        (&made["id"], &320.into())
    );
    assert_eq!(exec(&host, "copy", "busybox nproc"), "2");
    let memory_kib: u64 = exec(&host, "copy", "busybox awk '/MemTotal/ {print $2}' /proc/meminfo")
        .parse()
        .unwrap();
    assert!((257 << 10..=320 << 10).contains(&memory_kib), "{memory_kib} KiB");

    // It is another machine, and stays the one that it is.
    let id = exec(&host, "copy", "cat /etc/machine-id");
    assert!(id.len() == ID.len() && id != ID, "{id}");
    assert_eq!(exec(&host, "source", "cat /etc/machine-id"), ID);
    exec(&host, "copy", "echo own > /kept");
    host.hearth(&["restart", "copy"]).ok();
    host.wait_for_state("copy", "running");
    assert_eq!(exec(&host, "copy", "cat /kept /etc/machine-id"), format!("own\n{id}"));
    host.hearth(&["rollback", "source", "then"])
        .failed(1, &["disk alone", "make another machine"]);
    host.hearth(&["snapshot", "restore", "--name", "other", "then"]).ok();
    host.hearth(&["snapshot", "rm", "then"]).ok();
    remove_all(&host, &["source", "copy", "other"]);
}

#[test]
fn what_was_written_outlives_a_stop_and_goes_into_a_snapshot() {
    let host = Host::start();
    source(&host);
    // Nobody has it written out but the stop.
    exec(&host, "source", "busybox head -c 3000000 /dev/urandom > /kept");
    let written = exec(&host, "source", "busybox md5sum < /kept");
    host.hearth(&["stop", "source"]).ok();
    host.hearth(&["snapshot", "create", "source"]).failed(1, &["stopped"]);
    let stopped = snapshot(&host, "stopped");
    assert_eq!(
        (host.state_of("source").as_deref(), &stopped["paused_us"]),
        (Some("stopped"), &0.into())
    );
    host.hearth(&["start", "source"]).ok();
    host.wait_for_state("source", "running");
    assert_eq!(exec(&host, "source", "busybox md5sum < /kept"), written);

    // One that stands still cannot be asked to write: its disk is as after a power cut.
    exec(&host, "source", "echo synced > /synced; busybox sync");
    host.hearth(&["pause", "--memory", "source"]).ok();
    snapshot(&host, "paused");
    host.hearth(&["resume", "source"]).ok();
    host.hearth(&["pause", "source"]).ok();
    snapshot(&host, "asleep");
    for name in ["stopped", "paused", "asleep"] {
        boot(&host, name, name, &[]);
        assert_eq!(exec(&host, name, "busybox md5sum < /kept"), written, "{name}");
        if name != "stopped" {
            assert_eq!(exec(&host, name, "cat /synced"), "synced", "{name}");
        }
        host.hearth(&["rm", "-f", name]).ok();
    }
    assert_eq!(host.inspect("source")["on_disk"], true);
    host.hearth(&["snapshot", "rm", "stopped", "paused", "asleep"]).ok();
    remove_all(&host, &["source"]);
}
