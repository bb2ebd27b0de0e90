//! A function's whole life: source, calls, logs, zero, versions, secrets.

use std::{fs, path::PathBuf};

use hearth_e2e::{Host, HostOptions};

use crate::shop::{
    answer, get, host, import, instances, invoke, nothing_left, python, serving, try_deploy, wait_for_zero,
};

const PROGRAM: &str = r#"
import os, json
calls = 0
def handler(event, context):
    global calls
    calls += 1
    print("seen", event.get("mark"))
    boot = open("/proc/sys/kernel/random/boot_id").read().strip()
    secret = open("/run/secrets/token").read()
    return {"calls": calls, "boot": boot, "color": os.environ.get("COLOR"), "secret": [os.environ.get("TOKEN"), secret]}
"#;

#[test]
fn a_function_is_deployed_called_and_comes_back_from_zero() {
    let host = host(&HostOptions::default());
    host.hearth_with(&["secret", "set", "token"], b"hunter2").ok();
    let flags = [
        "--env",
        "COLOR=red",
        "--secret",
        "token=TOKEN",
        "--secret-file",
        "token",
        "--idle",
        "3s",
        "--public",
    ];
    let url = python(&host, "life", PROGRAM, &flags);
    assert!(instances(&host, "life").is_empty(), "nothing runs before it is called");

    let cold = answer(&host, "life", r#"{"mark":"one"}"#);
    assert_eq!((&cold["calls"], &cold["color"]), (&1.into(), &"red".into()));
    assert_eq!(cold["secret"], serde_json::json!(["hunter2", "hunter2"]));
    let warm = host.hearth(&["fn", "invoke", "life", "--include", "-d", r#"{"mark":"two"}"#]);
    let request = warm
        .ok()
        .lines()
        .find_map(|line| line.strip_prefix("x-hearth-request-id: "));
    let request = request.unwrap().to_owned();
    assert!(
        warm.stdout.contains(cold["boot"].as_str().unwrap()),
        "another machine: {warm:?}"
    );
    // The gateway makes an event of a request.
    let by_http = get(&url);
    assert_eq!(by_http.status, 200, "{by_http:?}");
    assert!(by_http.body.contains(r#""calls": 3"#), "{by_http:?}");

    let logs = host.hearth(&["fn", "logs", "life", "--invocation", &request]);
    assert!(logs.ok().contains("seen two"), "{logs:?}");
    assert!(!logs.stdout.contains("seen one"), "{logs:?}");

    wait_for_zero(&host, "life");
    let again = answer(&host, "life", r#"{"mark":"three"}"#);
    assert_eq!(again["calls"], 1);
    assert_ne!(again["boot"], cold["boot"]);
    let logs = host.hearth(&["fn", "logs", "life"]);
    for word in ["seen one", "seen two", "seen three"] {
        assert!(
            logs.ok().contains(word),
            "what instances wrote that are gone is kept: {logs:?}"
        );
    }

    // A version that cannot start says why, and hurts nobody once the calls are led back.
    let bad = "def other(event, context): pass\n";
    let deployed = try_deploy(
        &host,
        "life",
        "main.py",
        bad,
        &["--runtime", "python3", "--handler", "main.handler"],
    );
    assert_eq!(deployed.json()["version"]["version"], 2);
    let refused = invoke(&host, "life", "{}");
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("handler"), "{refused:?}");
    host.hearth(&["fn", "rollback", "life"]).ok();
    assert_eq!(answer(&host, "life", r#"{"mark":"four"}"#)["color"], "red");
    assert_eq!(get(&url).status, 200);
    nothing_left(&host, &["life"]);
    assert!(host.hearth(&["fn", "ls"]).ok().lines().count() <= 1);
}

#[test]
fn a_daemon_that_restarts_keeps_instances_and_a_node_handler_serves() {
    let options = HostOptions::default();
    let mut host = Host::with(&options);
    import(&host, "node");
    let program =
        "let calls = 0; exports.handler = async (event) => ({ calls: ++calls, event, node: process.version });\n";
    let flags = ["--runtime", "node", "--handler", "index.handler"];
    try_deploy(&host, "js", "index.js", program, &flags).ok();
    let first = answer(&host, "js", r#"{"a":1}"#);
    assert_eq!((&first["calls"], &first["event"]["a"]), (&1.into(), &1.into()));
    assert!(first["node"].as_str().unwrap().starts_with('v'));
    let machine = serving(&host, "js");

    host.kill_daemon();
    host.up(&options);
    assert_eq!(answer(&host, "js", "{}")["calls"], 2, "after a kill");
    host.down();
    host.up(&options);
    assert_eq!(answer(&host, "js", "{}")["calls"], 3, "after an orderly end");
    assert_eq!(serving(&host, "js"), machine);
    nothing_left(&host, &["js"]);
}

const INITIALISED: &str = r#"
import os, random, time, uuid
# Once, as it is initialised: what follows has it for as long as it runs.
started = uuid.uuid4().hex
began = time.time()
def handler(event, context):
    boot = open("/proc/sys/kernel/random/boot_id").read().strip()
    return {"started": started, "boot": boot, "own": os.urandom(16).hex(), "age": time.time() - began}
"#;

#[test]
fn a_function_at_zero_goes_on_from_its_template() {
    let mut host = host(&HostOptions::default());
    let flags = ["--idle", "1s"];
    python(&host, "frozen", INITIALISED, &flags);
    let booted = answer(&host, "frozen", "{}");
    assert_eq!(templates(&host).len(), 1);
    let mut seen = vec![booted];
    for round in 0..3 {
        wait_for_zero(&host, "frozen");
        if round == 1 {
            // It outlives the daemon.
            host.kill_daemon();
            host.up(&HostOptions::default());
        }
        let woken = answer(&host, "frozen", "{}");
        assert_eq!(woken["started"], seen[0]["started"], "it was initialised anew");
        for other in &seen {
            assert_ne!(woken["boot"], other["boot"]);
            assert_ne!(woken["own"], other["own"]);
        }
        assert!(woken["age"].as_f64().unwrap() > seen.last().unwrap()["age"].as_f64().unwrap());
        seen.push(woken);
    }
    let template = templates(&host).remove(0);
    // One that is damaged goes, and another is made.
    wait_for_zero(&host, "frozen");
    host.down();
    fs::write(template.join("manifest.json"), "{").unwrap();
    host.up(&HostOptions::default());
    assert_eq!(templates(&host), Vec::<PathBuf>::new());
    assert_ne!(answer(&host, "frozen", "{}")["started"], seen[0]["started"]);
    assert_eq!(templates(&host).len(), 1);
    // Nobody is shown it, and it goes with its function.
    assert_eq!(host.hearth(&["snapshot", "ls", "--json"]).json(), serde_json::json!([]));
    nothing_left(&host, &["frozen"]);
    assert_eq!(templates(&host), Vec::<PathBuf>::new());
}

/// What lies where the node has its snapshots.
fn templates(host: &Host) -> Vec<PathBuf> {
    let entries = fs::read_dir(host.state_dir().join("snapshots")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}
