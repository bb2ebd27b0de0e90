//! The VMM is killed at every step of snapshots, sleep, waking and ways back at which there is one, while the daemon stands still
//! there: the daemon goes on, what was on disk whole is kept, no half snapshot is to be seen, and nothing is left.

use std::{fs, process::Stdio};

use hearth_e2e::{Host, HostOptions, wait_for};
use rustix::process::{Pid, Signal, kill_process};

use crate::shop::{MARK, exec, mark, remove_all, run};

const MACHINE: &str = "victim";
const SOURCE: &str = "source";

/// What the user does, so that the daemon comes to the point.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// Makes a snapshot of the machine.
    Snapshot,
    /// Pauses it on disk.
    Pause,
    /// Wakes it.
    Resume,
    /// Makes it of another's snapshot.
    Restore,
    /// Takes it back to its snapshot.
    Rollback,
}

/// What must have become of the machine.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// It has failed, and what was asked for has as well.
    Fails,
    /// It has failed, and goes on from its snapshot once it is started.
    MayGoOn,
    /// It has failed, and the snapshot that was asked for is there.
    IsKept,
    /// It sleeps, and goes on with all that it had once it is woken.
    Sleeps,
    /// It goes on from its snapshot.
    GoesBack,
}

/// Every point at which there is a VMM.
const TABLE: &[(&str, Action, Outcome)] = &[
    ("snapshot.paused", Action::Snapshot, Outcome::Fails),
    ("snapshot.taken", Action::Snapshot, Outcome::IsKept),
    ("snapshot.written", Action::Snapshot, Outcome::IsKept),
    ("suspend.paused", Action::Pause, Outcome::Fails),
    ("snapshot.written", Action::Pause, Outcome::Sleeps),
    ("suspend.saved", Action::Pause, Outcome::Sleeps),
    ("suspend.recorded", Action::Pause, Outcome::Sleeps),
    ("restore.started", Action::Resume, Outcome::Sleeps),
    ("restore.recorded", Action::Resume, Outcome::Fails),
    ("restore.resumed", Action::Resume, Outcome::Fails),
    ("restore.greeted", Action::Resume, Outcome::Fails),
    ("restore.started", Action::Restore, Outcome::MayGoOn),
    ("restore.recorded", Action::Restore, Outcome::Fails),
    ("restore.greeted", Action::Restore, Outcome::Fails),
    ("rollback.noted", Action::Rollback, Outcome::GoesBack),
];

#[test]
fn the_vmm_dies_at_every_point() {
    let mut host = Host::start();
    host.down();
    for (point, action, outcome) in TABLE {
        eprintln!("--- {point}: {action:?}, then {outcome:?}");
        let boot = die_at(&mut host, point, *action);
        check(&host, point, *action, *outcome, &boot);
        host.down();
        assert_eq!(host.namespaces(), Vec::<String>::new(), "{point}");
    }
}

/// Gives the mark of the boot before.
fn die_at(host: &mut Host, point: &str, action: Action) -> String {
    let stop = host.folder().join("stop");
    let options = HostOptions::dying_at(point).env("HEARTH_FAULT_STOP", stop.to_str().unwrap());
    host.up(&options);
    let first = if matches!(action, Action::Restore) {
        SOURCE
    } else {
        MACHINE
    };
    run(host, first, &[], &format!("{MARK}; sleep 1000"));
    let boot = mark(host, first);
    let prepare: &[&str] = match action {
        Action::Snapshot | Action::Pause => &[],
        Action::Resume => &["pause", MACHINE],
        Action::Restore | Action::Rollback => &["snapshot", "create", first, "--name", "then"],
    };
    if !prepare.is_empty() {
        host.hearth(prepare).ok();
    }
    let last: &[&str] = match action {
        Action::Snapshot => &["snapshot", "create", MACHINE],
        Action::Pause => &["pause", MACHINE],
        Action::Resume => &["resume", MACHINE],
        Action::Restore => &["snapshot", "restore", "then", "--name", MACHINE],
        Action::Rollback => &["rollback", MACHINE, "then"],
    };
    let mut client = host.command(last);
    let client = client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut client = client.spawn().unwrap();
    wait_for(point, || stop.exists().then_some(()));
    let id = host.inspect(MACHINE)["id"].as_str().unwrap().to_owned();
    kill_vmm(&id);
    fs::remove_file(stop).unwrap();
    client.wait().unwrap();
    boot
}

/// Kills the VMM of a machine, of which the daemon may not tell yet.
fn kill_vmm(id: &str) {
    let mut killed = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // Processes come and go.
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        let program = command.split('\0').next().unwrap_or_default();
        let is_vmm = program.contains("qemu-system") || program.contains("firecracker");
        if is_vmm && command.contains(id) {
            kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
            wait_for("the VMM to end", || {
                let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
                let ended = status
                    .lines()
                    .all(|line| !line.starts_with("State:") || line.contains("zombie"));
                ended.then_some(())
            });
            killed += 1;
        }
    }
    assert!(killed > 0, "there is no VMM of {id}");
}

fn check(host: &Host, point: &str, action: Action, outcome: Outcome, boot: &str) {
    let goes_on = |machine: &str| {
        assert_eq!(
            exec(host, machine, "cat /dev/shm/mark"),
            boot,
            "{point}: {machine} has booted"
        );
    };
    match outcome {
        Outcome::Fails | Outcome::MayGoOn | Outcome::IsKept => host.wait_for_state(MACHINE, "failed"),
        Outcome::Sleeps => {
            assert_eq!(host.inspect(MACHINE)["on_disk"], true, "{point}");
            host.hearth(&["resume", MACHINE]).ok();
            goes_on(MACHINE);
        }
        Outcome::GoesBack => {
            host.wait_for_state(MACHINE, "running");
            goes_on(MACHINE);
        }
    }
    let snapshots = host.hearth(&["snapshot", "ls", "--json"]).json();
    let snapshots = snapshots.as_array().unwrap();
    let kept = usize::from(matches!(outcome, Outcome::IsKept) || matches!(action, Action::Restore | Action::Rollback));
    assert_eq!(snapshots.len(), kept, "{point}: {snapshots:?}");
    for snapshot in snapshots {
        // What is there is whole: another goes on from it.
        let id = snapshot["id"].as_str().unwrap();
        host.hearth(&["snapshot", "restore", id, "--name", "other"]).ok();
        goes_on("other");
        host.hearth(&["rm", "-f", "other"]).ok();
        host.hearth(&["snapshot", "rm", id]).ok();
    }
    if matches!(action, Action::Restore) {
        goes_on(SOURCE);
        host.hearth(&["rm", "-f", SOURCE]).ok();
    }
    // One that has failed may be started again, and boots then where nothing is left to go on from.
    if matches!(outcome, Outcome::Fails | Outcome::MayGoOn | Outcome::IsKept) {
        host.hearth(&["start", MACHINE]).ok();
        host.wait_for_state(MACHINE, "running");
        let goes_on = mark(host, MACHINE) == boot;
        assert_eq!(goes_on, matches!(outcome, Outcome::MayGoOn), "{point}");
    }
    remove_all(host, &[MACHINE]);
}
