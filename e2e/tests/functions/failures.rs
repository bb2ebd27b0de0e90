//! Handlers that fail: each in its own way, told in words, and without harm to the next call.

use hearth_e2e::{HostOptions, http::send, wait_for};

use crate::shop::{PROMPT, answer, host, invoke, nothing_left, python, serving};

const PROGRAM: &str = r#"
import os, time
def handler(event, context):
    what = event.get("do") or event.get("rawPath", "").strip("/")
    print("did", what, flush=True)
    if what == "throw":
        raise ValueError("thrown on purpose")
    if what == "exit":
        os._exit(3)
    if what == "hang":
        time.sleep(1000)
    if what == "big":
        return "x" * 10_000_000
    if what == "leak":
        held = []
        while True:
            held.append(b"1" * 4_000_000)
    return {"boot": open("/proc/sys/kernel/random/boot_id").read().strip()}
"#;

#[test]
fn what_a_handler_does_wrong_is_told_and_the_next_call_is_served() {
    let host = host(&HostOptions::default());
    let flags = ["--timeout", "20s", "--memory", "128m", "--public"];
    let url = python(&host, "fails", PROGRAM, &flags);
    let fine = || {
        answer(&host, "fails", r#"{"do":"nothing"}"#)["boot"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = fine();

    let thrown = invoke(&host, "fails", r#"{"do":"throw"}"#);
    assert_eq!(thrown.code, 1, "{thrown:?}");
    assert!(
        thrown.stdout.contains("ValueError") && thrown.stdout.contains("thrown on purpose"),
        "{thrown:?}"
    );
    let big = invoke(&host, "fails", r#"{"do":"big"}"#);
    assert_eq!(big.code, 1);
    assert!(big.stdout.contains("Function.ResponseSizeTooLarge"), "{big:?}");
    assert_eq!(fine(), first, "neither costs the instance");
    // A stranger is told nothing of it.
    let stranger = send(&url.join("throw"), "GET", &[], b"", PROMPT).unwrap();
    assert_eq!(stranger.status, 502, "{stranger:?}");
    assert!(!format!("{stranger:?}").contains("ValueError"), "{stranger:?}");

    let exited = invoke(&host, "fails", r#"{"do":"exit"}"#);
    assert_eq!(exited.code, 1);
    assert!(
        exited.stdout.contains("Runtime.ExitError") && exited.stdout.contains("exit status 3"),
        "{exited:?}"
    );
    let second = fine();
    assert_ne!(second, first, "a program that ended takes its machine with it");

    let leaked = invoke(&host, "fails", r#"{"do":"leak"}"#);
    assert_eq!(leaked.code, 1, "{leaked:?}");
    assert!(leaked.stdout.contains("Runtime.OutOfMemory"), "{leaked:?}");
    assert_ne!(fine(), second);
    nothing_left(&host, &["fails"]);
}

#[test]
fn a_call_that_hangs_or_loses_its_machine_ends_and_the_next_is_served() {
    let host = host(&HostOptions::default());
    let url = python(&host, "hangs", PROGRAM, &["--timeout", "2s", "--public"]);
    let hung = send(&url.join("hang"), "GET", &[], b"", PROMPT).unwrap();
    assert_eq!(hung.status, 504, "{hung:?}");
    let late = serving_after(&host, "hangs", "");
    let again = invoke(&host, "hangs", r#"{"do":"hang"}"#);
    assert!(again.stderr.contains("did not answer within 2000 ms"), "{again:?}");
    answer(&host, "hangs", "{}");
    assert_ne!(
        serving(&host, "hangs"),
        late,
        "an instance that still works at a lost call is replaced"
    );

    let url = python(&host, "killed", PROGRAM, &["--timeout", "5m", "--public"]);
    answer(&host, "killed", "{}");
    let machine = serving(&host, "killed");
    let lost = std::thread::scope(|scope| {
        let call = scope.spawn(|| send(&url.join("hang"), "GET", &[], b"", PROMPT).unwrap());
        wait_for("the handler to hang", || {
            host.hearth(&["logs", &machine])
                .stdout
                .contains("did hang")
                .then_some(())
        });
        host.hearth(&["kill", &machine]).ok();
        call.join().unwrap()
    });
    assert_eq!(lost.status, 502, "{lost:?}");
    answer(&host, "killed", "{}");
    assert_ne!(serving(&host, "killed"), machine);

    // It is removed while it is called: the call has its time, the next finds nothing.
    python(&host, "removed", PROGRAM, &["--timeout", "3s", "--public"]);
    answer(&host, "removed", "{}");
    let machine = serving(&host, "removed");
    std::thread::scope(|scope| {
        let call = scope.spawn(|| invoke(&host, "removed", r#"{"do":"hang"}"#));
        wait_for("the handler to hang", || {
            host.hearth(&["logs", &machine])
                .stdout
                .contains("did hang")
                .then_some(())
        });
        host.hearth(&["fn", "rm", "removed"]).ok();
        let ended = call.join().unwrap();
        assert_ne!(ended.code, 0, "{ended:?}");
    });
    invoke(&host, "removed", "{}").failed(1, &["removed"]);
    nothing_left(&host, &["hangs", "killed"]);
}

/// The instance that serves once the one called `before` does not.
fn serving_after(host: &hearth_e2e::Host, name: &str, before: &str) -> String {
    answer(host, name, "{}");
    wait_for("another instance", || {
        Some(serving(host, name)).filter(|machine| machine != before)
    })
}
