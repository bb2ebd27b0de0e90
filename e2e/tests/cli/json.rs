//! `--json`: every command answers in JSON, and a failure is one object on standard error.

use std::fs;

use hearth_e2e::{BUSYBOX, Host, Ran};
use serde_json::Value;

use crate::on_each_driver;

fn json(host: &Host, args: &[&str]) -> Value {
    host.hearth(&[args, &["--json"]].concat()).json()
}

/// The one object that a failure is.
fn problem(ran: &Ran, code: i32) -> Value {
    assert_eq!(ran.code, code, "{ran:?}");
    let problem: Value = serde_json::from_str(&ran.stderr).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    for field in ["type", "title", "detail", "code"] {
        assert!(problem[field].is_string(), "{field}: {ran:?}");
    }
    problem
}

#[test]
fn commands_answer_in_json() {
    on_each_driver(|host| {
        let made = host.hearth(&["run", "-d", "--json", "--name", "m", BUSYBOX, "sleep", "1000"]);
        assert_eq!(made.json()["name"], "m");
        host.wait_for_state("m", "running");
        assert_eq!(json(host, &["pause", "m"])[0]["state"], "paused");
        assert_eq!(json(host, &["resume", "m"])[0]["state"], "running");
        assert_eq!(json(host, &["kill", "-s", "USR2", "m"])[0]["name"], "m");
        host.wait_for_state("m", "stopped");
        assert_eq!(json(host, &["start", "m"])[0]["name"], "m");
        host.wait_for_state("m", "running");
        assert_eq!(json(host, &["restart", "m"])[0]["name"], "m");
        host.wait_for_state("m", "running");
        let path = host.folder().join("passwd");
        let copied = json(host, &["cp", "m:/etc/passwd", path.to_str().unwrap()]);
        assert!(copied["bytes"].as_u64().unwrap() >= fs::metadata(&path).unwrap().len());
        assert_eq!(copied["source"], "m:/etc/passwd");
        assert!(
            json(host, &["cp", path.to_str().unwrap(), "m:/tmp/x"])["bytes"]
                .as_u64()
                .unwrap()
                > 0
        );
        assert_eq!(json(host, &["stop", "m"])[0]["state"], "stopped");
        assert_eq!(json(host, &["wait", "m"])[0]["state"], "stopped");
        assert_eq!(json(host, &["rm", "m"])[0]["removed"][0], "m");
        let removed = json(host, &["image", "rm", hearth_e2e::PYTHON]);
        assert_eq!(removed[0]["untagged"].as_array().unwrap().len(), 1, "{removed}");
        assert!(json(host, &["image", "prune"])["removed"].is_array());
        let kernel = json(host, &["kernel", "ls"])[0]["id"].as_str().unwrap().to_owned();
        assert_eq!(json(host, &["kernel", "default", &kernel])["id"], kernel);
        assert_eq!(json(host, &["kernel", "rm", &kernel])[0]["removed"][0], kernel);
    });
}

#[test]
fn a_failure_is_one_object() {
    let mut host = Host::start();
    let fails = |args: &[&str], code| problem(&host.hearth(&[&["--json"], args].concat()), code);
    for args in [
        &["start", "nobody"][..],
        &["inspect", "nobody"],
        &["wait", "nobody"],
        &["rm", "nobody"],
        &["logs", "nobody"],
        &["stats", "nobody"],
        &["cp", "nobody:/x", "/tmp/x"],
    ] {
        let problem = fails(args, 1);
        assert_eq!(
            (&problem["code"], &problem["status"]),
            (&"machine_not_found".into(), &404.into())
        );
    }
    assert_eq!(fails(&["exec", "nobody", "id"], 125)["code"], "machine_not_found");
    assert_eq!(fails(&["image", "inspect", "nowhere"], 1)["code"], "image_not_found");
    assert_eq!(fails(&["image", "rm", "nowhere"], 1)["code"], "image_not_found");
    assert_eq!(
        fails(&["image", "pull", "nowhere.invalid/x"], 1)["code"],
        "registry_failed"
    );
    assert_eq!(fails(&["kernel", "rm", "none"], 1)["code"], "kernel_not_found");
    fails(&["kernel", "import", "--deb", "/absent"], 1);
    assert_eq!(fails(&["run", "nowhere.invalid/x"], 125)["code"], "registry_failed");
    assert_eq!(fails(&["cp", "/a", "/b"], 1)["code"], "failed");
    assert_eq!(fails(&["run", "--cpus", "none", "x"], 125)["code"], "usage");
    assert_eq!(
        fails(&["run", "--rm", BUSYBOX, "no-such-program"], 127)["code"],
        "program_failed"
    );
    assert_eq!(
        fails(&["run", "--rm", "-m", "24m", BUSYBOX], 125)["code"],
        "invalid_request"
    );
    let both = host.hearth(&["rm", "--json", "nobody", "nothing"]);
    assert_eq!(both.stderr.lines().count(), 2, "one line a failure: {both:?}");
    host.down();
    let gone = problem(&host.hearth(&["ps", "--json"]), 1);
    assert_eq!(gone["code"], "unavailable");
    assert!(gone["detail"].as_str().unwrap().contains("start it with"), "{gone}");
}
