//! The daemon is killed at every place that it names itself; its successor leaves no machine half-way and nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a fixture that cannot be made fails its test"
)]

use hearth_e2e::{BUSYBOX, Host, HostOptions, Walk, wait_for};
use hearth_node::fault::POINTS;

const MACHINE: &str = "victim";

/// What the user does, so that the daemon comes to the point.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// Starts a machine that runs on.
    Run,
    /// Starts a machine whose program ends with 7 by itself.
    RunToEnd,
    /// Stops one that runs.
    Stop,
    /// Removes one that runs, by force.
    RemoveByForce,
    /// Removes one that has stopped.
    Remove,
}

/// What must have become of the machine under the next daemon.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// It never was: gone, or failed with the reason.
    Lost,
    /// It waits to be started, and then runs.
    Pending,
    /// It runs.
    Runs,
    /// It stopped, with this code.
    Stopped(i64),
    /// It is gone.
    Gone,
}

/// Every point: how to come there, and what must follow.
const TABLE: &[(&str, Action, Outcome)] = &[
    ("create.folder", Action::Run, Outcome::Lost),
    ("create.recorded", Action::Run, Outcome::Pending),
    ("prepare.recorded", Action::Run, Outcome::Runs),
    ("prepare.cgroup", Action::Run, Outcome::Runs),
    ("prepare.slot", Action::Run, Outcome::Runs),
    ("prepare.disk", Action::Run, Outcome::Runs),
    ("launch.recorded", Action::Run, Outcome::Runs),
    ("launch.started", Action::Run, Outcome::Runs),
    ("launch.handle", Action::Run, Outcome::Runs),
    ("ready.reached", Action::Run, Outcome::Runs),
    ("ready.initialised", Action::Run, Outcome::Runs),
    ("ready.recorded", Action::Run, Outcome::Runs),
    ("exit.seen", Action::RunToEnd, Outcome::Stopped(7)),
    ("stop.recorded", Action::RemoveByForce, Outcome::Gone),
    ("stop.asked", Action::Stop, Outcome::Stopped(137)),
    ("release.vmm", Action::RunToEnd, Outcome::Stopped(7)),
    ("release.slot", Action::RunToEnd, Outcome::Stopped(7)),
    ("release.cgroup", Action::RunToEnd, Outcome::Stopped(7)),
    ("release.recorded", Action::RunToEnd, Outcome::Stopped(7)),
    ("remove.recorded", Action::Remove, Outcome::Gone),
    ("remove.image", Action::Remove, Outcome::Gone),
    ("remove.folder", Action::Remove, Outcome::Gone),
];

const WALK: Walk<Action, Outcome> = Walk {
    table: TABLE,
    // They run at the same time.
    parts: 2,
    die_at,
    check,
};

#[test]
fn the_table_has_every_point() {
    let listed: Vec<&str> = TABLE.iter().map(|(point, ..)| *point).collect();
    assert_eq!(listed, POINTS);
}

#[test]
fn the_daemon_dies_at_every_point_first_part() {
    WALK.part(Host::start(), 0);
}

#[test]
fn the_daemon_dies_at_every_point_second_part() {
    WALK.part(Host::start(), 1);
}

fn die_at(host: &mut Host, point: &str, action: Action) {
    host.up(&HostOptions::dying_at(point));
    let last: &[&str] = match action {
        Action::Run => &[
            "run", "-d", "--disk", "16m", "--name", MACHINE, BUSYBOX, "sleep", "1000",
        ],
        Action::RunToEnd => &["run", "-d", "--name", MACHINE, BUSYBOX, "sh", "-c", "exit 7"],
        Action::Stop | Action::RemoveByForce => {
            // A program that heeds no signal.
            let deaf = "trap '' TERM; while :; do sleep 1; done";
            host.hearth(&[
                "run",
                "-d",
                "--stop-timeout",
                "1",
                "--name",
                MACHINE,
                BUSYBOX,
                "sh",
                "-c",
                deaf,
            ])
            .ok();
            host.wait_for_state(MACHINE, "running");
            if matches!(action, Action::Stop) {
                &["stop", MACHINE]
            } else {
                &["rm", "-f", MACHINE]
            }
        }
        Action::Remove => {
            host.hearth(&["run", "-d", "--name", MACHINE, BUSYBOX, "true"]).ok();
            host.wait_for_state(MACHINE, "stopped");
            &["rm", MACHINE]
        }
    };
    host.killed_at_by(point, last);
}

fn check(host: &Host, point: &str, _: Action, outcome: Outcome) {
    match outcome {
        Outcome::Lost => {
            let state = host.state_of(MACHINE);
            assert!(matches!(state.as_deref(), None | Some("failed")), "{point}: {state:?}");
        }
        Outcome::Gone => wait_for("the machine to be gone", || {
            host.state_of(MACHINE).is_none().then_some(())
        }),
        Outcome::Pending => {
            host.wait_for_state(MACHINE, "pending");
            host.hearth(&["start", MACHINE]).ok();
            runs(host, point);
        }
        Outcome::Runs => runs(host, point),
        Outcome::Stopped(code) => {
            host.wait_for_state(MACHINE, "stopped");
            let shown = host.inspect(MACHINE);
            assert_eq!(shown["exit"]["code"].as_i64(), Some(code), "{point}: {shown}");
        }
    }
    host.hearth(&["rm", "-f", MACHINE]);
}

fn runs(host: &Host, point: &str) {
    host.wait_for_state(MACHINE, "running");
    let said = host.hearth(&["exec", MACHINE, "cat", "/proc/1/comm"]);
    assert_eq!(said.code, 0, "{point}: {said:?}\n{}", host.log());
}
