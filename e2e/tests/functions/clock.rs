//! Triggers under a clock that jumps.

use std::{collections::BTreeSet, fs, path::Path};

use hearth_e2e::{HostOptions, wait_for};

use crate::shop::{host, nothing_left, python};

/// Takes the place of the system's clock in a process, and follows a file that tells how far it is off.
const FAKE_CLOCK: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const PROGRAM: &str = "
def handler(event, context):
    print('by the clock', event)
";

#[test]
fn a_clock_that_jumps_over_a_run_starts_it_once() {
    if !Path::new(FAKE_CLOCK).exists() {
        return hearth_e2e::skip("faketime");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clock");
    let jump_to = |secs: i64| {
        let next = folder.path().join("next");
        fs::write(&next, format!("{secs:+}\n")).unwrap();
        fs::rename(next, &file).unwrap();
    };
    jump_to(0);
    let options = HostOptions::default()
        .env("LD_PRELOAD", FAKE_CLOCK)
        .env("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap())
        .env("FAKETIME_CACHE_DURATION", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let host = host(&options);
    python(&host, "timed", PROGRAM, &[]);
    // Once a year: only the jump comes by it. One is made up for, the other is left out.
    let yearly = ["fn", "trigger", "set", "timed"];
    let cron = ["--cron", "0 12 1 1 *", "-d", r#"{"why":"new year"}"#];
    host.hearth(&[&yearly[..], &["made-up", "--catch-up"], &cron].concat())
        .ok();
    host.hearth(&[&yearly[..], &["left-out"], &cron].concat()).ok();
    host.hearth(&[&yearly[..], &["bad", "--cron", "61 * * * *"]].concat())
        .failed(1, &["61"]);
    let calls = || {
        let list = host.hearth(&["--json", "fn", "invocations", "timed"]).json();
        let ids = list.as_array().unwrap().iter();
        ids.map(|call| call["id"].as_str().unwrap().to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert!(calls().is_empty());
    jump_to(366 * 86_400);
    let ran = wait_for("the run that was jumped over", || {
        Some(calls()).filter(|calls| !calls.is_empty())
    });
    assert_eq!(ran.len(), 1, "however many runs were jumped over, one is made up for");
    wait_for("the handler to run", || {
        host.hearth(&["fn", "logs", "timed"])
            .stdout
            .contains("new year")
            .then_some(())
    });
    // Backwards: what has run does not run again.
    jump_to(300 * 86_400);
    host.hearth(&["fn", "invoke", "timed", "-d", "{}"]).ok();
    jump_to(366 * 86_400);
    host.hearth(&["fn", "invoke", "timed", "-d", "{}"]).ok();
    assert_eq!(calls(), ran);
    nothing_left(&host, &["timed"]);
}
