//! The daemon is killed at every step of snapshots, forks, sleep, waking and ways back: the machine goes on or sleeps on with
//! all that it had in memory, no half snapshot is to be seen, and nothing is left.

use std::fs;

use hearth_control::SNAPSHOT_POINTS as CONTROL_POINTS;
use hearth_e2e::{BUSYBOX, Host, HostOptions, Walk, wait_for};
use hearth_node::fault::SNAPSHOT_POINTS as NODE_POINTS;

use crate::shop::{MARK, exec, mark, run};

const MACHINE: &str = "victim";
const SOURCE: &str = "source";
const FORK: &str = "copy";
/// Where a test keeps the mark of the boot while the daemon is dead.
const BOOT: &str = "boot";

/// What the user does, so that the daemon comes to the point.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// Makes a snapshot of the machine.
    Snapshot,
    /// Makes one of its disk alone.
    SnapshotDisk,
    /// Removes one.
    RemoveSnapshot,
    /// Pauses the machine on disk.
    Pause,
    /// Wakes it.
    Resume,
    /// Makes it of another's snapshot.
    Restore,
    /// Takes it back to its snapshot.
    Rollback,
    /// Forks it, once.
    Fork,
    /// Nothing: it keeps recovery points by itself.
    KeepRecovery,
    /// Nothing: it is made once another of the snapshot was wanted, and waits.
    Wait,
    /// Has one become it that waits.
    Claim,
}

/// What must have become of the machine under the next daemon.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// It runs, and has what it had in memory.
    GoesOn,
    /// It sleeps, and goes on once it is woken.
    Sleeps,
    /// It goes on, and the snapshot that was asked for is there.
    IsKept,
    /// It goes on, and so does its fork.
    IsForked,
    /// It goes on as it was, and not from its snapshot.
    Stays,
    /// It never was. The others of its snapshot go on.
    IsNot,
}

/// Every point: how to come there, and what must follow.
const TABLE: &[(&str, Action, Outcome)] = &[
    ("snapshot.frozen", Action::SnapshotDisk, Outcome::GoesOn),
    ("snapshot.paused", Action::SnapshotDisk, Outcome::GoesOn),
    ("snapshot.paused", Action::Snapshot, Outcome::GoesOn),
    ("snapshot.taken", Action::Snapshot, Outcome::GoesOn),
    ("snapshot.taken", Action::Fork, Outcome::GoesOn),
    ("snapshot.written", Action::Snapshot, Outcome::GoesOn),
    ("snapshot.written", Action::SnapshotDisk, Outcome::GoesOn),
    ("snapshot.written", Action::Pause, Outcome::GoesOn),
    ("snapshot.going", Action::RemoveSnapshot, Outcome::GoesOn),
    ("suspend.paused", Action::Pause, Outcome::GoesOn),
    ("suspend.saved", Action::Pause, Outcome::GoesOn),
    ("suspend.recorded", Action::Pause, Outcome::Sleeps),
    ("suspend.ended", Action::Pause, Outcome::Sleeps),
    ("resume.ready", Action::Resume, Outcome::Sleeps),
    ("restore.ready", Action::Restore, Outcome::GoesOn),
    ("restore.started", Action::Restore, Outcome::GoesOn),
    ("restore.started", Action::Resume, Outcome::Sleeps),
    ("restore.started", Action::Fork, Outcome::IsForked),
    ("restore.recorded", Action::Restore, Outcome::GoesOn),
    ("restore.recorded", Action::Resume, Outcome::GoesOn),
    ("restore.recorded", Action::Fork, Outcome::IsForked),
    ("restore.resumed", Action::Restore, Outcome::GoesOn),
    ("restore.resumed", Action::Resume, Outcome::GoesOn),
    ("restore.greeted", Action::Restore, Outcome::GoesOn),
    ("restore.greeted", Action::Resume, Outcome::GoesOn),
    ("restore.greeted", Action::Fork, Outcome::IsForked),
    ("rollback.noted", Action::Rollback, Outcome::GoesOn),
    ("rollback.taken", Action::Rollback, Outcome::GoesOn),
    ("recovery.made", Action::KeepRecovery, Outcome::GoesOn),
    ("recovery.kept", Action::KeepRecovery, Outcome::GoesOn),
    ("claim.recorded", Action::Claim, Outcome::GoesOn),
    ("claim.resumed", Action::Claim, Outcome::GoesOn),
    ("snapshot.booked", Action::Snapshot, Outcome::GoesOn),
    ("snapshot.made", Action::Snapshot, Outcome::IsKept),
    ("snapshot.removing", Action::RemoveSnapshot, Outcome::GoesOn),
    ("fork.booked", Action::Fork, Outcome::GoesOn),
    ("fork.saved", Action::Fork, Outcome::GoesOn),
    ("fork.created", Action::Fork, Outcome::GoesOn),
    ("fork.noted", Action::Fork, Outcome::IsForked),
    ("fork.started", Action::Fork, Outcome::IsForked),
    ("rollback.booked", Action::Rollback, Outcome::Stays),
    ("warm.waits", Action::Wait, Outcome::IsNot),
    ("warm.claimed", Action::Claim, Outcome::IsNot),
    ("warm.booked", Action::Claim, Outcome::IsNot),
];

const WALK: Walk<Action, Outcome> = Walk {
    table: TABLE,
    parts: 3,
    die_at,
    check,
};

#[test]
fn the_table_has_every_point() {
    let mut listed: Vec<&str> = TABLE.iter().map(|(point, ..)| *point).collect();
    listed.dedup();
    assert_eq!(listed, [NODE_POINTS, CONTROL_POINTS].concat());
}

#[test]
fn the_daemon_dies_at_every_point_first_part() {
    WALK.part(Host::start(), 0);
}

#[test]
fn the_daemon_dies_at_every_point_second_part() {
    WALK.part(Host::start(), 1);
}

#[test]
fn the_daemon_dies_at_every_point_third_part() {
    WALK.part(Host::start(), 2);
}

/// Removes all that there is, and sees that nothing is left of snapshots.
fn clear(host: &Host, point: &str) {
    for machine in [MACHINE, SOURCE, FORK] {
        host.hearth(&["rm", "-f", machine]);
    }
    let snapshots = host.hearth(&["snapshot", "ls", "--json"]).json();
    for snapshot in snapshots.as_array().unwrap() {
        host.hearth(&["snapshot", "rm", snapshot["id"].as_str().unwrap()]).ok();
    }
    let images = host.hearth(&["image", "inspect", BUSYBOX, "--json"]).json();
    assert_eq!(images["holders"].as_array().map_or(0, Vec::len), 0, "{point}: {images}");
    let left = fs::read_dir(host.state_dir().join("snapshots")).unwrap();
    assert_eq!(left.count(), 0, "{point}");
}

fn die_at(host: &mut Host, point: &str, action: Action) {
    let options = HostOptions::dying_at(point);
    host.up(&match action {
        Action::Wait | Action::Claim => options.arg("--warm-memory").arg("1g"),
        _ => options,
    });
    let first = match action {
        Action::Restore | Action::Wait | Action::Claim => SOURCE,
        _ => MACHINE,
    };
    let flags: &[&str] = match action {
        // Time for what follows here before the daemon dies.
        Action::KeepRecovery => &["--disk", "16m", "--recover", "snapshot:5s"],
        _ => &["--disk", "16m"],
    };
    // Something on disk, and something in memory alone.
    run(host, first, flags, &format!("echo mark > /mark; {MARK}; sleep 1000"));
    fs::write(host.folder().join(BOOT), mark(host, first)).unwrap();
    let snapshot = |host: &Host| {
        host.hearth(&["snapshot", "create", first, "--name", "then"]).ok();
    };
    let last: &[&str] = match action {
        Action::Snapshot => &["snapshot", "create", MACHINE],
        Action::SnapshotDisk => &["snapshot", "create", "--no-memory", MACHINE],
        Action::RemoveSnapshot => {
            snapshot(host);
            &["snapshot", "rm", "then"]
        }
        Action::Pause => &["pause", MACHINE],
        Action::Resume => {
            host.hearth(&["pause", MACHINE]).ok();
            &["resume", MACHINE]
        }
        Action::Restore => {
            snapshot(host);
            &["snapshot", "restore", "then", "--name", MACHINE]
        }
        Action::Rollback => {
            snapshot(host);
            exec(host, MACHINE, "echo later > /dev/shm/mark; echo later > /mark; sync");
            &["rollback", MACHINE, "then"]
        }
        Action::Fork => &["fork", MACHINE, "--name", FORK],
        Action::KeepRecovery => return host.killed_itself_at(point),
        Action::Wait => {
            snapshot(host);
            // Answered, or not any more.
            host.hearth(&["snapshot", "restore", "then", "--name", FORK]);
            return host.killed_itself_at(point);
        }
        Action::Claim => {
            snapshot(host);
            let paused = |host: &Host| host.log().matches("from=running to=paused").count();
            let before = paused(host);
            host.hearth(&["snapshot", "restore", "then", "--name", FORK]).ok();
            wait_for("one to wait", || (paused(host) > before).then_some(()));
            // The node tells it before the pool knows.
            std::thread::sleep(std::time::Duration::from_millis(500));
            &["snapshot", "restore", "then", "--name", MACHINE]
        }
    };
    host.killed_at_by(point, last);
}

fn check(host: &Host, point: &str, action: Action, outcome: Outcome) {
    if matches!(outcome, Outcome::Sleeps) {
        let shown = host.inspect(MACHINE);
        assert_eq!(shown["on_disk"], true, "{point}: {shown}");
        host.hearth(&["resume", MACHINE]).ok();
    }
    let snapshots = host.hearth(&["snapshot", "ls", "--json"]).json();
    let kept = match (action, outcome) {
        (Action::Restore | Action::Rollback | Action::Wait | Action::Claim, _) | (_, Outcome::IsKept) => 1,
        _ => 0,
    };
    assert_eq!(snapshots.as_array().unwrap().len(), kept, "{point}: {snapshots}");
    let marks = |machine: &str| exec(host, machine, "cat /dev/shm/mark /mark");
    let boot = fs::read_to_string(host.folder().join(BOOT)).unwrap();
    let before = format!("{boot}\nmark");
    let has_fork = matches!(outcome, Outcome::IsForked) || matches!(action, Action::Wait | Action::Claim);
    if has_fork {
        host.wait_for_state(FORK, "running");
        assert_eq!(marks(FORK), before, "{point}");
    } else {
        assert_eq!(host.state_of(FORK), None, "{point}");
    }
    if matches!(outcome, Outcome::IsNot) {
        assert_eq!(host.state_of(MACHINE), None, "{point}");
        return clear(host, point);
    }
    host.wait_for_state(MACHINE, "running");
    let wanted = if matches!(outcome, Outcome::Stays) {
        "later\nlater"
    } else {
        before.as_str()
    };
    assert_eq!(marks(MACHINE), wanted, "{point}");
    // Nothing is left frozen.
    exec(host, MACHINE, "echo after > /after; sync");
    clear(host, point);
}
