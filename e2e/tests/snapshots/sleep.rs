//! Machines that are paused on disk.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hearth_e2e::{Host, HostOptions, wait_for};

use crate::shop::{exec, lines, number, remove_all, run};

/// Counts, and says each number.
const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i > /tmp/count; echo $i; sleep 0.1; done";
const DAY_SECONDS: u64 = 24 * 60 * 60;

fn count(host: &Host, machine: &str) -> u64 {
    number(host, machine, "/tmp/count")
}

/// The clocks of guest and host differ by so many seconds.
fn clock_is_off_by(host: &Host, machine: &str) -> u64 {
    let guest: u64 = exec(host, machine, "date +%s").parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    guest.abs_diff(now.as_secs())
}

#[test]
fn a_machine_sleeps_and_goes_on_where_it_was() {
    let mut host = Host::start();
    run(&host, "sleeper", &["--disk", "16m"], COUNTER);
    wait_for("it to count", || (lines(&host, "sleeper").len() > 5).then_some(()));
    let generation = exec(&host, "sleeper", "cat /run/hearth/generation 2>/dev/null || echo none");
    assert_eq!(generation, "none");

    // As one that slept for days finds it when it wakes.
    let back = format!("date -s @$(($(date +%s) - {}))", 2 * DAY_SECONDS);
    exec(&host, "sleeper", &back);
    assert!(clock_is_off_by(&host, "sleeper") > DAY_SECONDS);
    host.hearth(&["pause", "sleeper"]).ok();
    let shown = host.inspect("sleeper");
    assert_eq!(
        (&shown["state"], &shown["on_disk"]),
        (&"paused".into(), &true.into()),
        "{shown}"
    );
    assert!(shown["pid"].is_null(), "{shown}");
    let node = host.hearth(&["node", "info", "--json"]).json();
    assert_eq!(node["memory_mib"]["allocated"], 0, "{node}");
    host.hearth(&["exec", "sleeper", "true"]).failed(125, &["paused"]);
    let before = lines(&host, "sleeper").len();

    // Also under the next daemon; and after a restart of the host, which leaves it no namespace.
    host.kill_daemon();
    for namespace in host.namespaces() {
        let name = namespace.rsplit('/').next().unwrap();
        let deleted = Command::new("ip").args(["netns", "delete", name]).status();
        assert!(deleted.unwrap().success(), "{namespace}");
    }
    host.up(&HostOptions::default());
    assert_eq!(host.inspect("sleeper")["on_disk"], true);
    thread::sleep(Duration::from_secs(2));
    host.hearth(&["resume", "sleeper"]).ok();
    let after = count(&host, "sleeper");
    // It counted to where its log ends, and perhaps a little further; it did not begin again, and did not go on.
    assert!(
        (before as u64..before as u64 + 30).contains(&after),
        "{before} lines, then {after}"
    );
    assert!(clock_is_off_by(&host, "sleeper") <= 1);
    wait_for("it to count on", || (count(&host, "sleeper") > after).then_some(()));
    // Not a line is missing from its log, and none is there twice.
    let said = lines(&host, "sleeper");
    let wanted: Vec<String> = (1..=said.len()).map(|n| n.to_string()).collect();
    assert_eq!(said, wanted);
    assert_ne!(exec(&host, "sleeper", "cat /run/hearth/generation"), "none");
    remove_all(&host, &["sleeper"]);
}

#[test]
fn what_runs_within_and_what_is_attached_outlives_a_sleep() {
    let host = Host::start();
    run(&host, "sleeper", &[], "sleep 1000");
    let mut attached = host.command(&["exec", "sleeper", "sh", "-c", COUNTER]);
    let mut attached = attached.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(attached.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "1");
    for _ in 0..2 {
        host.hearth(&["pause", "sleeper"]).ok();
        host.hearth(&["resume", "sleeper"]).ok();
    }
    let here = count(&host, "sleeper") + 5;
    for n in 2..=here {
        assert_eq!(said.next().unwrap().unwrap(), n.to_string());
    }
    attached.kill().unwrap();
    attached.wait().unwrap();
    remove_all(&host, &["sleeper"]);
}

#[test]
fn a_sleeper_is_stopped_in_order() {
    let host = Host::start();
    run(
        &host,
        "sleeper",
        &["--disk", "16m"],
        "trap 'echo bye > /bye; exit 3' TERM; touch /tmp/ready; while :; do sleep 0.1; done",
    );
    wait_for("it to be ready", || {
        (exec(&host, "sleeper", "ls /tmp/ready 2>/dev/null || true") == "/tmp/ready").then_some(())
    });
    host.hearth(&["pause", "sleeper"]).ok();
    host.hearth(&["stop", "sleeper"]).ok();
    assert_eq!(host.inspect("sleeper")["exit"]["code"], 3);
    host.hearth(&["start", "sleeper"]).ok();
    host.wait_for_state("sleeper", "running");
    assert_eq!(exec(&host, "sleeper", "cat /bye"), "bye");
    // From memory to disk, and gone from there.
    host.hearth(&["pause", "--memory", "sleeper"]).ok();
    assert_eq!(host.inspect("sleeper")["on_disk"], false);
    host.hearth(&["pause", "sleeper"]).ok();
    host.hearth(&["kill", "sleeper"]).ok();
    host.wait_for_state("sleeper", "stopped");
    remove_all(&host, &["sleeper"]);
}
