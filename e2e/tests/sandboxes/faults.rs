//! The daemon is killed at every step of sandboxes and of templates' builds. Its successor has each sandbox whole or not at all, a
//! request that is sent again makes one sandbox, and one that was made before goes on.

use std::fs;

use hearth_control::SANDBOX_POINTS;
use hearth_e2e::{Host, HostOptions, Walk};
use serde_json::{Value, json};

use crate::{
    shop::{TEMPLATE, agree, ask, build, build_of, clear, create, exec, sandboxes},
    stages,
};

/// Where a test keeps, while the daemon is dead, who was there before it died.
const BYSTANDER: &str = "bystander";
const VICTIM: &str = "victim";
/// What is in memory alone, and what is on disk.
const MARKS: &str = "echo memory > /dev/shm/mark; echo disk > /mark; sync";
const SEE_MARKS: &str = "cat /dev/shm/mark /mark";
const KEY: &str = "Idempotency-Key: once\r\n";
/// The template whose build is cut off.
const CUT_OFF: &str = "cut-off";

/// What the user does, so that the daemon comes to the point.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// Builds a template.
    Build,
    /// Builds one on what another holds in memory, which is on no disk before.
    BuildOn,
    /// Builds one of which a part is copied from a stage.
    BuildStages,
    /// Makes a snapshot of a sandbox, which is a template.
    Snapshot,
    /// Makes a sandbox, by a key.
    Create,
    /// Copies one.
    Fork,
    /// Lets one reach nothing.
    Fence,
    /// Pauses one with its memory.
    Pause,
    /// Pauses one without.
    PauseDisk,
    /// Has one go on that is paused, and whose time would be over.
    Resume,
    /// The same of one that is paused without its memory.
    Boot,
    /// Has one that is paused with its memory go on from its disk.
    Reboot,
    /// Removes one.
    Kill,
    /// Lets the time of one be over.
    Expire,
    /// The same of one that then is paused.
    ExpireToPause,
}

/// What must hold under the next daemon.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// The build has failed and says why, and the next one goes well.
    IsBuiltAnew,
    /// It runs as it did, alone.
    GoesOn,
    /// The same key gives one sandbox, however often it is sent.
    IsMadeOnce,
    /// The same, and reaches nothing.
    IsFenced,
    /// It is paused, and goes on with what it had in memory.
    IsPaused,
    /// It runs, with what it had on disk alone.
    Boots,
    /// The same, once it is resumed.
    IsStopped,
    /// It is gone.
    IsGone,
}

/// Every point: how to come there, and what must follow.
const TABLE: &[(&str, Action, Outcome)] = &[
    ("build.layer", Action::BuildOn, Outcome::IsBuiltAnew),
    ("build.copied", Action::BuildStages, Outcome::IsBuiltAnew),
    ("build.snapshot", Action::Build, Outcome::IsBuiltAnew),
    ("build.snapshot", Action::Snapshot, Outcome::GoesOn),
    ("sandbox.booked", Action::Create, Outcome::IsMadeOnce),
    ("sandbox.made", Action::Create, Outcome::IsMadeOnce),
    ("sandbox.copied", Action::Fork, Outcome::GoesOn),
    ("sandbox.network", Action::Fence, Outcome::IsFenced),
    ("sandbox.paused", Action::Pause, Outcome::IsPaused),
    ("sandbox.paused", Action::ExpireToPause, Outcome::IsPaused),
    ("sandbox.resumed", Action::Resume, Outcome::GoesOn),
    ("sandbox.resumed", Action::Boot, Outcome::Boots),
    ("sandbox.rebooting", Action::Reboot, Outcome::IsStopped),
    ("sandbox.stopping", Action::PauseDisk, Outcome::GoesOn),
    ("sandbox.killing", Action::Kill, Outcome::IsGone),
    ("sandbox.killing", Action::Expire, Outcome::IsGone),
];

const WALK: Walk<Action, Outcome> = Walk {
    table: TABLE,
    parts: 2,
    die_at,
    check,
};

#[test]
fn the_table_has_every_point() {
    let mut listed: Vec<&str> = TABLE.iter().map(|(point, ..)| *point).collect();
    listed.dedup();
    assert_eq!(listed, SANDBOX_POINTS);
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
    // Under a daemon that does not die.
    host.up(&HostOptions::default());
    build(host, TEMPLATE);
    for name in [BYSTANDER, VICTIM] {
        if name == VICTIM && matches!(action, Action::Create | Action::Build | Action::BuildStages) {
            continue;
        }
        let id = create(host);
        exec(host, &id, MARKS);
        fs::write(host.folder().join(name), id).unwrap();
    }
    let victim = kept(host, VICTIM);
    let paused: &[&str] = match action {
        Action::Resume | Action::Reboot => &["sandbox", "pause", &victim],
        Action::Boot => &["sandbox", "pause", "--no-memory", &victim],
        _ => &[],
    };
    if !paused.is_empty() {
        host.hearth(paused).ok();
        host.hearth(&["sandbox", "timeout", &victim, "1s"]).ok();
    }
    if matches!(action, Action::ExpireToPause) {
        replace_victim(host, &victim);
    }
    if matches!(action, Action::BuildOn) {
        host.hearth(&["sandbox", "snapshot", "--name", "held", &victim]).ok();
    }
    let victim = kept(host, VICTIM);
    host.down();
    host.up(&HostOptions::dying_at(point));
    match action {
        Action::Build => host.killed_at_by(point, &build_of(CUT_OFF)),
        Action::BuildOn => host.killed_at_by(point, &["template", "build", CUT_OFF, "--template", "held"]),
        Action::BuildStages => {
            let mut staged = build_of(CUT_OFF);
            // The folder, in the place of an image.
            let folder = stages::small(host);
            staged[3] = "--ready=true";
            staged[4] = &folder;
            host.killed_at_by(point, &staged);
        }
        Action::Fence => host.killed_at_by(point, &["sandbox", "network", "--no-internet", &victim]),
        Action::Pause => host.killed_at_by(point, &["sandbox", "pause", &victim]),
        Action::PauseDisk => host.killed_at_by(point, &["sandbox", "pause", "--no-memory", &victim]),
        Action::Resume | Action::Boot => host.killed_at_by(point, &["sandbox", "resume", &victim]),
        Action::Reboot => host.killed_at_by(point, &["sandbox", "resume", "--no-memory", &victim]),
        Action::Kill => host.killed_at_by(point, &["sandbox", "kill", &victim]),
        Action::Expire | Action::ExpireToPause => host.killed_at_by(point, &["sandbox", "timeout", &victim, "1s"]),
        Action::Create => cut_off(host, point, "/v1/sandboxes", KEY, &json!({ "template": TEMPLATE })),
        Action::Fork => cut_off(
            host,
            point,
            &format!("/sandboxes/{victim}/fork"),
            "",
            &json!({ "count": 2 }),
        ),
        Action::Snapshot => cut_off(host, point, &format!("/sandboxes/{victim}/snapshots"), "", &json!({})),
    }
}

/// Has one be the victim that is paused when its time is over.
fn replace_victim(host: &Host, victim: &str) {
    host.hearth(&["sandbox", "kill", victim]).ok();
    let made = host.hearth(&["sandbox", "create", "--on-timeout", "pause", TEMPLATE]);
    exec(host, made.ok(), MARKS);
    fs::write(host.folder().join(VICTIM), made.ok()).unwrap();
}

/// Asks for what the daemon dies of, and is not answered.
fn cut_off(host: &mut Host, point: &str, path: &str, headers: &str, body: &Value) {
    let answer = ask(host, "POST", path, headers, body);
    assert_eq!(answer, None, "{point}");
    host.killed_itself_at(point);
}

/// Who was there before; empty if there was none.
fn kept(host: &Host, name: &str) -> String {
    fs::read_to_string(host.folder().join(name)).unwrap_or_default()
}

fn check(host: &Host, point: &str, action: Action, outcome: Outcome) {
    agree(host, point);
    let (bystander, victim) = (kept(host, BYSTANDER), kept(host, VICTIM));
    assert_eq!(exec(host, &bystander, SEE_MARKS), "memory\ndisk", "{point}");
    let state = || host.hearth(&["sandbox", "get", &victim]).json()[0]["state"].clone();
    match outcome {
        Outcome::IsBuiltAnew => is_built_anew(host, point),
        Outcome::IsMadeOnce => is_made_once(host, point),
        Outcome::GoesOn => {
            assert_eq!(sandboxes(host).len(), 2, "{point}");
            assert_eq!(state(), "running", "{point}");
            assert_eq!(exec(host, &victim, SEE_MARKS), "memory\ndisk", "{point}");
        }
        Outcome::IsFenced => {
            let seen = host.hearth(&["sandbox", "get", &victim]).json();
            assert_eq!(seen[0]["network"]["internet"], false, "{point}: {seen}");
            let record = host
                .state_dir()
                .join("machines")
                .join(seen[0]["machine"].as_str().unwrap());
            let record = fs::read_to_string(record.join("state.json")).unwrap();
            let record: Value = serde_json::from_str(&record).unwrap();
            assert!(record["egress"].to_string().contains("0.0.0.0/0"), "{point}: {record}");
            assert_eq!(exec(host, &victim, SEE_MARKS), "memory\ndisk", "{point}");
        }
        Outcome::IsPaused => {
            assert_eq!(state(), "paused", "{point}");
            host.hearth(&["sandbox", "resume", &victim]).ok();
            assert_eq!(exec(host, &victim, SEE_MARKS), "memory\ndisk", "{point}");
        }
        Outcome::Boots => {
            assert_eq!(state(), "running", "{point}");
            assert_eq!(exec(host, &victim, "cat /mark; ls /dev/shm"), "disk", "{point}");
        }
        Outcome::IsStopped => {
            assert_eq!(state(), "stopped", "{point}");
            host.hearth(&["sandbox", "resume", &victim]).ok();
            assert_eq!(exec(host, &victim, "cat /mark; ls /dev/shm"), "disk", "{point}");
        }
        Outcome::IsGone => {
            assert_eq!(sandboxes(host), [bystander.clone()].into(), "{point}");
            host.hearth(&["sandbox", "get", &victim]).failed(1, &[&victim]);
        }
    }
    if matches!(action, Action::Snapshot | Action::Fork) {
        // Nothing was made that nobody was told of.
        let templates = host.hearth(&["template", "ls", "--json"]).json();
        assert_eq!(templates.as_array().unwrap().len(), 1, "{point}: {templates}");
    }
    agree(host, point);
    clear(host, point);
    let _ = fs::remove_file(host.folder().join(VICTIM));
}

fn is_built_anew(host: &Host, point: &str) {
    let shown = host.hearth(&["template", "get", CUT_OFF]).json();
    let first = &shown[0]["builds"][0];
    assert_eq!(first["state"], "failed", "{point}: {shown}");
    let why = first["reason"].as_str().unwrap_or_default();
    assert!(why.contains("went down"), "{point}: {shown}");
    build(host, CUT_OFF);
    let made = host.hearth(&["sandbox", "create", CUT_OFF]);
    assert_eq!(exec(host, made.ok(), "echo built"), "built", "{point}");
}

fn is_made_once(host: &Host, point: &str) {
    let again = || {
        let answer = ask(host, "POST", "/v1/sandboxes", KEY, &json!({ "template": TEMPLATE }));
        let (status, made) = answer.unwrap();
        assert!([200, 201].contains(&status), "{point}: {status} {made}");
        made["id"].as_str().unwrap().to_owned()
    };
    let id = again();
    assert_eq!(again(), id, "{point}");
    assert_eq!(sandboxes(host), [kept(host, BYSTANDER), id.clone()].into(), "{point}");
    assert_eq!(exec(host, &id, "echo made"), "made", "{point}");
}
