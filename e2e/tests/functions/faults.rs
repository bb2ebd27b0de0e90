//! The daemon is killed at every place that those who serve functions name; its successor leaves no function, no instance and
//! no kept call half-way, and nothing behind.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use hearth_e2e::{Host, HostOptions, PATIENCE, Ran, Walk, wait_for};
use hearth_store::{Store, TriggerRow};
use serde_json::Value;

use crate::shop::{answer, host, instances, invoke, python, try_deploy, wait_for_call, wait_for_zero};

const NAME: &str = "victim";
const YEAR: Duration = Duration::from_hours(366 * 24);
const PROGRAM: &str = "
def handler(event, context):
    print('ran', event.get('mark'), flush=True)
    return {'mark': event.get('mark')}
";
const LATER: &[&str] = &[
    "fn",
    "invoke",
    NAME,
    "--async",
    "-d",
    r#"{"mark":"kept"}"#,
    "--idempotency-key",
    "k",
];

/// What the user does, so that the daemon comes to the point.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// Deploys a function.
    Deploy,
    /// Calls one that has no instance.
    Call,
    /// Calls one without waiting.
    Later,
    /// Has one be called by the clock.
    Clock,
    /// Leaves one alone that was called, until it has no instance.
    Idle,
    /// Removes one that has an instance.
    Remove,
    /// Has one's instance end while another waits, and calls it.
    Warm,
}

/// What must hold under the next daemon.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// Calls are served, and soon there is no instance that was not wanted.
    ServesAlone,
    /// The function has its one version, whole, however often it is deployed.
    Deployed,
    /// Calls are served, by the one instance that was wanted.
    Serves,
    /// The kept call succeeds, as this attempt, once the handler ran so many times.
    Answered { attempts: u32, runs: usize },
    /// There is no instance, and what it wrote is kept once.
    AtZero,
    /// Function, instance and logs are gone.
    Gone,
}

/// Every point: how to come there, and what must follow.
const TABLE: &[(&str, Action, Outcome)] = &[
    ("deploy.version", Action::Deploy, Outcome::Deployed),
    ("deploy.pinned", Action::Deploy, Outcome::Deployed),
    ("instance.booked", Action::Call, Outcome::Serves),
    ("call.kept", Action::Later, Outcome::Answered { attempts: 1, runs: 1 }),
    (
        "call.claimed",
        Action::Later,
        Outcome::Answered { attempts: 2, runs: 1 },
    ),
    (
        "call.answered",
        Action::Later,
        Outcome::Answered { attempts: 2, runs: 2 },
    ),
    ("call.noted", Action::Later, Outcome::Answered { attempts: 1, runs: 1 }),
    ("trigger.due", Action::Clock, Outcome::Answered { attempts: 1, runs: 1 }),
    (
        "trigger.kept",
        Action::Clock,
        Outcome::Answered { attempts: 1, runs: 1 },
    ),
    (
        "trigger.noted",
        Action::Clock,
        Outcome::Answered { attempts: 1, runs: 1 },
    ),
    ("function.removed", Action::Remove, Outcome::Gone),
    ("function.unpinned", Action::Remove, Outcome::Gone),
    ("provision.taken", Action::Call, Outcome::Serves),
    ("provision.created", Action::Call, Outcome::Serves),
    ("provision.started", Action::Call, Outcome::Serves),
    ("template.made", Action::Call, Outcome::Serves),
    ("warm.paused", Action::Warm, Outcome::ServesAlone),
    ("warm.taken", Action::Warm, Outcome::ServesAlone),
    ("provision.ready", Action::Call, Outcome::Serves),
    ("provision.registered", Action::Call, Outcome::Serves),
    ("retire.deregistered", Action::Remove, Outcome::Gone),
    ("retire.stopped", Action::Idle, Outcome::AtZero),
    ("retire.archived", Action::Idle, Outcome::AtZero),
];

const WALK: Walk<Action, Outcome> = Walk {
    table: TABLE,
    // Of which some run at the same time.
    parts: 4,
    die_at,
    check,
};

#[test]
fn the_table_has_every_point() {
    let listed: Vec<&str> = TABLE.iter().map(|(point, ..)| *point).collect();
    let named = [hearth_control::FAULT_POINTS, hearth_worker::FAULT_POINTS].concat();
    assert_eq!(listed, named);
}

#[test]
fn the_daemon_dies_at_every_point_first_part() {
    WALK.part(host(&HostOptions::default()), 0);
}

#[test]
fn the_daemon_dies_at_every_point_second_part() {
    WALK.part(host(&HostOptions::default()), 1);
}

#[test]
fn the_daemon_dies_at_every_point_third_part() {
    WALK.part(host(&HostOptions::default()), 2);
}

#[test]
fn the_daemon_dies_at_every_point_fourth_part() {
    WALK.part(host(&HostOptions::default()), 3);
}

#[test]
fn a_call_that_kills_the_daemon_each_time_is_given_up() {
    let mut host = host(&HostOptions::default());
    python(&host, NAME, PROGRAM, &[]);
    host.down();
    let deadly = HostOptions::dying_at("call.claimed");
    host.up(&deadly);
    host.hearth(LATER);
    host.killed_itself_at("call.claimed");
    for _ in 0..2 {
        host.spawn(&deadly);
        host.killed_itself_at("call.claimed");
    }
    // It was tried three times, and this daemon does not try it again.
    host.up(&deadly);
    let id = host.hearth(LATER).ok().to_owned();
    let dead = wait_for_call(&host, &id, &["succeeded", "dead"]);
    assert_eq!(
        (&dead["state"], &dead["attempts"]),
        (&"dead".into(), &3.into()),
        "{dead}"
    );
    let error = dead["error"].as_str().unwrap();
    assert!(error.contains("the daemon died while it ran"), "{error}");
    assert!(!host.is_dead(), "{}", host.log());
    // Whoever knows better has it tried anew.
    host.down();
    host.up(&HostOptions::default());
    host.hearth(&["fn", "replay", &id]).ok();
    assert_eq!(wait_for_call(&host, &id, &["succeeded", "dead"])["attempts"], 1);
    clear(&host);
}

fn die_at(host: &mut Host, point: &str, action: Action) {
    let deadly = HostOptions::dying_at(point);
    if matches!(action, Action::Clock) {
        host.up(&HostOptions::default());
        deploy(host, &[]).ok();
        let yearly = ["--cron", "0 12 1 1 *", "--catch-up", "-d", r#"{"mark":"kept"}"#];
        host.hearth(&[&["fn", "trigger", "set", NAME, "yearly"][..], &yearly].concat())
            .ok();
        host.down();
        a_year_passes(host);
        host.spawn(&deadly);
    } else {
        host.up(&deadly.arg("--warm-memory").arg(warm_memory(action)));
        // Its answer may be lost with the daemon.
        act(host, action);
    }
    host.killed_itself_at(point);
}

fn warm_memory(action: Action) -> &'static str {
    if matches!(action, Action::Warm) { "1g" } else { "0" }
}

/// An instance, by its state; none if the daemon has died.
fn instance_that_is(host: &Host, state: &str) -> Option<String> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let listed = host.hearth(&["--json", "ps", "-a"]);
        let machines: Value = serde_json::from_str(&listed.stdout).ok()?;
        let found = machines.as_array()?.iter().find(|machine| machine["state"] == state);
        if let Some(found) = found {
            return Some(found["id"].as_str()?.to_owned());
        }
        sleep(Duration::from_millis(50));
    }
    panic!("no instance is {state}: {}", host.log());
}

fn act(host: &Host, action: Action) -> Ran {
    match action {
        Action::Deploy | Action::Clock => deploy(host, &[]),
        Action::Call => {
            deploy(host, &[]).ok();
            invoke(host, NAME, "{}")
        }
        Action::Later => {
            deploy(host, &[]).ok();
            host.hearth(LATER)
        }
        Action::Idle => {
            deploy(host, &["--idle", "1s"]).ok();
            invoke(host, NAME, r#"{"mark":"idle"}"#)
        }
        Action::Remove => {
            deploy(host, &[]).ok();
            answer(host, NAME, "{}");
            host.hearth(&["fn", "rm", NAME])
        }
        Action::Warm => {
            deploy(host, &[]).ok();
            let first = invoke(host, NAME, "{}");
            if let (Some(_), Some(serving)) = (instance_that_is(host, "paused"), instance_that_is(host, "running")) {
                host.hearth(&["rm", "-f", &serving]);
                return invoke(host, NAME, "{}");
            }
            first
        }
    }
}

fn deploy(host: &Host, flags: &[&str]) -> Ran {
    let flags = [&["--runtime", "python3", "--handler", "main.handler"], flags].concat();
    try_deploy(host, NAME, "main.py", PROGRAM, &flags)
}

/// The daemon was down for that long, as far as triggers know.
fn a_year_passes(host: &Host) {
    let work = async {
        let store = Store::open(&host.state_dir().join("hearth.db")).await.unwrap();
        for trigger in store.triggers(None).await.unwrap() {
            let year_ms = u64::try_from(YEAR.as_millis()).unwrap();
            let before = TriggerRow {
                handled_unix_ms: trigger.handled_unix_ms - year_ms,
                ..trigger
            };
            store.put_trigger(&before).await.unwrap();
        }
        store.close().await;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work);
}

fn check(host: &Host, _: &str, _: Action, outcome: Outcome) {
    match outcome {
        Outcome::Deployed => {
            // Before anybody repeats it: as whole as any.
            let holds = holds(host);
            deploy(host, &[]).ok();
            let versions = host.hearth(&["--json", "fn", "versions", NAME]).json();
            assert_eq!(versions.as_array().unwrap().len(), 1, "{versions}");
            assert_eq!(holds, 2, "its source and its runtime are held");
            assert_eq!(self::holds(host), 2);
            serves(host);
        }
        Outcome::Serves => serves(host),
        Outcome::ServesAlone => {
            assert_eq!(answer(host, NAME, r#"{"mark":"after"}"#)["mark"], "after");
            wait_for("one instance alone", || {
                let machines = host.hearth(&["ps", "-aq"]);
                (machines.ok().lines().count() == 1).then_some(())
            });
        }
        Outcome::Answered { attempts, runs } => {
            let id = the_kept_call(host);
            let ended = wait_for_call(host, &id, &["succeeded", "dead"]);
            assert_eq!(
                (&ended["state"], &ended["attempts"]),
                (&"succeeded".into(), &attempts.into()),
                "{ended}"
            );
            assert_eq!(host.hearth(&["fn", "result", &id]).ok(), r#"{"mark": "kept"}"#);
            has_run(host, "ran kept", runs);
            serves(host);
            assert_eq!(kept_calls(host).len(), 1);
        }
        Outcome::AtZero => {
            wait_for_zero(host, NAME);
            has_run(host, "ran idle", 1);
            serves(host);
        }
        Outcome::Gone => {
            let left = host.hearth(&["--json", "fn", "ls"]).json();
            assert_eq!(left.as_array().map(Vec::len), Some(0), "{left}");
        }
    }
    clear(host);
}

/// A call is answered, and by no more instances than it needs.
fn serves(host: &Host) {
    assert_eq!(answer(host, NAME, r#"{"mark":"after"}"#)["mark"], "after");
    let all = instances(host, NAME);
    assert_eq!(all.len(), 1, "{all:?}");
    let machines = host.hearth(&["ps", "-aq"]);
    assert_eq!(machines.ok().lines().count(), 1, "{machines:?}");
}

fn has_run(host: &Host, line: &str, times: usize) {
    wait_for("what the handler wrote", || {
        let logs = host.hearth(&["fn", "logs", NAME]).stdout;
        let found = logs.lines().filter(|text| text.contains(line)).count();
        assert!(found <= times, "{found} times: {logs}");
        (found == times).then_some(())
    });
}

fn kept_calls(host: &Host) -> Vec<Value> {
    let list = host.hearth(&["--json", "fn", "invocations", NAME]).json();
    list.as_array().unwrap().clone()
}

/// The one that was kept before the daemon died, or is by now.
fn the_kept_call(host: &Host) -> String {
    let first = wait_for("a kept call", || kept_calls(host).into_iter().next());
    let id = first["id"].as_str().unwrap().to_owned();
    if first["source"] == "http" {
        assert_eq!(host.hearth(LATER).ok(), id, "the same key is the same call");
    }
    id
}

/// Images that are held for functions.
fn holds(host: &Host) -> usize {
    let left = host.leftovers();
    left.iter()
        .filter(|hold| hold.contains("/holders/") && hold.contains("/fn."))
        .count()
}

/// Removes the function, if it is there.
fn clear(host: &Host) {
    host.hearth(&["fn", "rm", NAME]);
    nothing_left(host);
}

fn nothing_left(host: &Host) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = left(host);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{left:#?}");
        sleep(Duration::from_millis(30));
    }
}

/// What there is of functions and machines, with what instances wrote that are gone.
fn left(host: &Host) -> Vec<String> {
    let mut left = host.leftovers();
    left.extend(host.hearth(&["ps", "-aq"]).ok().lines().map(str::to_owned));
    let logs = fs::read_dir(host.state_dir().join("function-logs")).unwrap();
    left.extend(logs.map(|folder| folder.unwrap().path().display().to_string()));
    left
}
