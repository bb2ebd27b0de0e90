//! A state folder whose disk is full or can only be read, while functions run.

use std::{ffi::OsString, fs, ops::Range, os::unix::fs::symlink};

use hearth_e2e::{
    Host, HostOptions, Ran,
    http::{Answer, Url, send},
    skip, wait_for,
};
use serde_json::Value;

use crate::{
    disk::Disk,
    shop::{PROMPT, answer, host, import, nothing_left, python, try_deploy, wait_for_call},
};

const PROGRAM: &str = "
import time
def handler(event, context):
    mark = event.get('mark') or event['headers']['mark']
    print('ran', mark)
    time.sleep(event.get('sleep', 0))
    return {'mark': mark, 'version': 1}
";
/// Room for what every test's host has, for a runtime, and a little more.
const DISK_MIB: u32 = 800;
/// Bytes of a kept call.
const BODY: usize = 100_000;
const CALLS: usize = 12;
/// More of them than fit into what the store's log has set aside before, which it writes over whatever the disk has left.
const SET_ASIDE_MAX: usize = 100;

/// Asks the gateway to keep a call.
fn keep(url: &Url, number: usize) -> Answer {
    let mark = &*format!("m{number}");
    let headers = [("Prefer", "respond-async"), ("Idempotency-Key", mark), ("mark", mark)];
    send(url, "POST", &headers, &vec![b'x'; BODY], PROMPT).unwrap()
}

/// Asks for all of them at once.
fn keep_all(url: &Url, numbers: Range<usize>) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = numbers.map(|number| scope.spawn(move || keep(url, number))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    })
}

fn calls(host: &Host) -> Vec<Value> {
    let listed = host.hearth(&["--json", "fn", "invocations"]).json();
    listed.as_array().unwrap().clone()
}

/// So many, with those that were kept before, run once each, and `others` with them.
fn all_run_once(host: &Host, url: &Url, count: usize, others: usize) {
    for answer in keep_all(url, 0..count) {
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let ended = wait_for("kept calls to end", || {
        let calls = calls(host);
        let open = calls
            .iter()
            .any(|call| matches!(call["state"].as_str(), Some("queued" | "running")));
        (!open).then_some(calls)
    });
    assert_eq!(ended.len(), others + count, "{ended:?}");
    for call in &ended {
        assert_eq!(
            (&call["state"], &call["attempts"]),
            (&"succeeded".into(), &1.into()),
            "{call}"
        );
    }
    let logs = host.hearth(&["fn", "logs", "steady", "-n", "500"]).ok().to_owned();
    for number in 0..count {
        let line = format!("ran m{number}");
        assert_eq!(
            logs.lines().filter(|it| it.ends_with(&line)).count(),
            1,
            "{line}: {logs}"
        );
    }
}

/// A deployment of another version, whose source is large.
fn deploy_again(host: &Host) -> Ran {
    let program = PROGRAM.replace("'version': 1", "'version': 2");
    let lines: Vec<String> = (0..200_000_u32)
        .map(|n| format!("# {}", n.wrapping_mul(2_654_435_761)))
        .collect();
    let noise = lines.join("\n");
    let flags = ["--runtime", "python3", "--handler", "main.handler"];
    try_deploy(host, "steady", "main.py", &format!("{program}{noise}"), &flags)
}

#[test]
fn a_full_disk_is_told_and_what_waited_goes_on_when_there_is_room() {
    let disk = match Disk::new(DISK_MIB) {
        Ok(disk) => disk,
        Err(missing) => return skip(&format!("a disk of its own: {missing}")),
    };
    let host = Host::at(&disk.root(), &HostOptions::default());
    import(&host, "python3");
    let url = python(&host, "steady", PROGRAM, &["--public", "--max", "1"]);
    answer(&host, "steady", r#"{"mark":"warm"}"#);
    let slow = host.hearth(&[
        "fn",
        "invoke",
        "steady",
        "--async",
        "-d",
        r#"{"mark":"slow","sleep":3}"#,
    ]);
    let slow = slow.ok().to_owned();
    wait_for_call(&host, &slow, &["running"]);

    // Its template is still being written, and would make room when it fails to be.
    wait_for("its template", || {
        let mut entries = fs::read_dir(host.state_dir().join("snapshots")).unwrap().flatten();
        let made = |name: OsString| !name.to_string_lossy().starts_with('.');
        entries.any(|entry| made(entry.file_name())).then_some(())
    });
    let filler = disk.fill();
    let fits = (0..SET_ASIDE_MAX).find(|number| keep(&url, *number).status != 202);
    let fits = fits.expect("it is not full");
    for answer in keep_all(&url, fits..fits + CALLS) {
        assert!(
            answer.status == 503 && answer.body.contains("cannot be kept now"),
            "{answer:?}"
        );
    }
    let later = ["fn", "invoke", "steady", "--async", "-d"];
    // As much as one argument may hold.
    let large = format!(r#"{{"mark":"{}"}}"#, "x".repeat(BODY * 6 / 5));
    host.hearth(&[&later[..], &[large.as_str()]].concat())
        .failed(1, &["full"]);
    let deployed = deploy_again(&host);
    assert_ne!(deployed.code, 0, "{deployed:?}");
    assert!(
        deployed.stderr.contains("No space left") || deployed.stderr.contains("full"),
        "{deployed:?}"
    );
    // What runs needs no disk.
    for number in 0..3 {
        let event = format!(r#"{{"mark":"full{number}"}}"#);
        assert_eq!(answer(&host, "steady", &event)["version"], 1);
    }

    drop(filler);
    all_run_once(&host, &url, fits + CALLS, 1);
    assert_eq!(wait_for_call(&host, &slow, &["succeeded"])["attempts"], 1);
    assert_eq!(
        host.hearth(&["fn", "versions", "steady", "--json"])
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    deploy_again(&host).ok();
    assert_eq!(answer(&host, "steady", r#"{"mark":"after"}"#)["version"], 2);
    assert!(host.hearth(&["fn", "logs", "steady"]).ok().contains("ran after"));
    nothing_left(&host, &["steady"]);
}

#[test]
fn a_store_that_becomes_read_only_is_told_and_what_it_has_is_kept() {
    let options = HostOptions::default();
    let mut host = host(&options);
    let url = python(&host, "steady", PROGRAM, &["--public", "--max", "1"]);
    answer(&host, "steady", r#"{"mark":"warm"}"#);
    host.down();
    // Made now, for the VMM has mounts of its own: it would keep the disk from being repaired.
    let disk = match Disk::new(64) {
        Ok(disk) => disk,
        Err(missing) => return skip(&format!("a disk of its own: {missing}")),
    };
    let (store, moved) = (host.state_dir().join("hearth.db"), disk.root().join("hearth.db"));
    fs::copy(&store, &moved).unwrap();
    fs::remove_file(&store).unwrap();
    symlink(&moved, &store).unwrap();
    host.up(&options);
    let url = Url {
        authority: authority(&host),
        path: url.path,
    };
    let before = host.hearth(&["fn", "invoke", "steady", "--async", "-d", r#"{"mark":"before"}"#]);
    wait_for_call(&host, before.ok(), &["succeeded"]);

    // Looked at when it can be written again: only then can it be taken away.
    let fails = disk.become_read_only();
    let asked = keep_all(&url, 0..CALLS);
    let later = host.hearth(&["fn", "invoke", "steady", "--async", "-d", r#"{"mark":"later"}"#]);
    let deployed = deploy_again(&host);
    let called = host.hearth(&["fn", "invoke", "steady", "-d", r#"{"mark":"meanwhile"}"#]);
    let (listed, died) = (host.hearth(&["fn", "invocations"]), host.is_dead());
    host.down();
    let repaired = disk.repair();
    host.up(&options);
    repaired.unwrap();
    if let Err(missing) = fails {
        return skip(&format!("a file system that becomes read-only: {missing}"));
    }
    assert!(!died, "{}", host.log());
    for answer in asked {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.body.contains("cannot be kept now"), "{answer:?}");
    }
    later.failed(1, &["read-only"]);
    deployed.failed(1, &["read-only"]);
    assert_eq!(called.json()["mark"], "meanwhile");
    assert!(listed.ok().contains(before.ok()), "{listed:?}");
    let url = Url {
        authority: authority(&host),
        path: url.path,
    };
    all_run_once(&host, &url, CALLS, 1);
    // The source of the deployment that failed is held until one takes it.
    deploy_again(&host).ok();
    assert_eq!(answer(&host, "steady", r#"{"mark":"after"}"#)["version"], 2);
    nothing_left(&host, &["steady"]);
    host.down();
}

/// Where the gateway listens now.
fn authority(host: &Host) -> String {
    let shown = host.hearth(&["fn", "inspect", "steady"]).json();
    Url::of(shown[0]["urls"][0].as_str().unwrap()).authority
}
