//! A daemon that is killed while functions are called.

use std::time::Instant;

use hearth_e2e::{HostOptions, PATIENCE, http::send, wait_for};

use crate::shop::{PROMPT, host, instances, invoke, nothing_left, python, wait_for_call};

const WAITING: usize = 100;
const PROGRAM: &str = "
def handler(event, context):
    print('ran', event.get('mark'))
    if event.get('fail'):
        raise ValueError('not this time')
    return {'mark': event.get('mark')}
";

#[test]
fn a_kept_call_runs_after_its_daemon_was_killed_and_callers_see_an_end() {
    let options = HostOptions::default();
    let mut host = host(&options);
    python(&host, "kept", PROGRAM, &[]);
    let later = ["fn", "invoke", "kept", "--async", "-d"];
    let kept = host.hearth(&[&later[..], &[r#"{"mark":"kept"}"#, "--idempotency-key", "k1"]].concat());
    let id = kept.ok().to_owned();
    // It waits for its instance, which takes seconds.
    host.kill_daemon();
    host.up(&options);
    let ended = wait_for_call(&host, &id, &["succeeded", "dead"]);
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert_eq!(host.hearth(&["fn", "result", &id]).ok(), r#"{"mark": "kept"}"#);
    let again = host.hearth(&[&later[..], &[r#"{"mark":"kept"}"#, "--idempotency-key", "k1"]].concat());
    assert_eq!(again.ok(), id, "the same key is the same call");
    let logs = host.hearth(&["fn", "logs", "kept"]);
    let runs = logs.ok().lines().filter(|line| line.contains("ran kept")).count();
    assert_eq!(
        runs, 1,
        "the attempt that was cut off never reached the handler: {logs:?}"
    );

    // What fails is tried again, and told of in full.
    let failing = host.hearth(&[&later[..], &[r#"{"mark":"bad","fail":true}"#]].concat());
    let failing = failing.ok().to_owned();
    let dead = wait_for_call(&host, &failing, &["dead"]);
    assert_eq!(dead["attempts"], 3, "{dead}");
    let logs = host.hearth(&["fn", "logs", "kept"]);
    assert_eq!(
        logs.ok().lines().filter(|line| line.contains("ran bad")).count(),
        3,
        "once an attempt"
    );
    host.hearth(&["fn", "replay", &failing]).ok();
    wait_for_call(&host, &failing, &["queued", "running", "dead"]);

    // A hundred callers wait for a cold start when the daemon dies.
    let waits = python(&host, "waits", PROGRAM, &["--public", "--max", "1"]);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..WAITING)
            .map(|_| scope.spawn(|| send(&waits, "GET", &[], b"", PATIENCE)))
            .collect();
        wait_for("an instance to be made", || {
            (!instances(&host, "waits").is_empty()).then_some(())
        });
        let killed = Instant::now();
        host.kill_daemon();
        for caller in callers {
            // Answered before, or cut off; none hangs.
            if let Ok(answer) = caller.join().unwrap() {
                assert!(matches!(answer.status, 200 | 503), "{answer:?}");
            }
        }
        assert!(killed.elapsed() < PROMPT, "callers wait for a daemon that is dead");
    });
    host.up(&options);
    invoke(&host, "waits", "{}").ok();
    // The one that was half made goes on, and is the one that was wanted.
    assert_eq!(instances(&host, "waits").len(), 1);
    nothing_left(&host, &["kept", "waits"]);
}
