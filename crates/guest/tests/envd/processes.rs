//! `process.Process` as SDKs use it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::rig::{Agent, chunk, frame, shell, stream_head, wait_until};

#[test]
fn names_of_the_user_are_in_the_environment() {
    let agent = Agent::start();
    // "root root\n"
    let frames = agent.stream("process.Process/Start", "", &shell("echo $USER $LOGNAME"));
    assert_eq!(frames[1]["event"]["data"]["stdout"], "cm9vdCByb290Cg==");
    let mut own = shell("echo $USER");
    own["process"]["envs"] = json!({"USER": "me"});
    let frames = agent.stream("process.Process/Start", "", &own);
    assert_eq!(frames[1]["event"]["data"]["stdout"], "bWUK");
}

#[test]
fn who_waits_for_a_silent_process_is_told_that_it_runs() {
    let agent = Agent::start();
    let frames = agent.stream(
        "process.Process/Start",
        "Keepalive-Ping-Interval: 1\r\n",
        &shell("sleep 2.5"),
    );
    let keepalives = frames.iter().filter(|frame| !frame["event"]["keepalive"].is_null());
    assert!((1..=2).contains(&keepalives.count()), "{frames:?}");
}

/// The process dies at that very moment, but what its caller is told is that time is up.
#[test]
fn a_deadline_ends_call_and_process() {
    let agent = Agent::start();
    for _ in 0..5 {
        let began = Instant::now();
        let frames = agent.stream(
            "process.Process/Start",
            "Connect-Timeout-Ms: 300\r\n",
            &shell("exec sleep 600"),
        );
        assert!(began.elapsed() >= Duration::from_millis(300));
        assert_eq!(
            frames.last().unwrap()["error"]["code"],
            "deadline_exceeded",
            "{frames:?}"
        );
        let pid = frames[0]["event"]["start"]["pid"].clone();
        wait_until("the end of the process", || {
            !Path::new(&format!("/proc/{pid}")).exists()
        });
    }
}

#[test]
fn a_client_that_does_not_read_holds_the_process_back() {
    let agent = Agent::start();
    let mut connection = agent.connect();
    connection.write(stream_head("process.Process/Start")).unwrap();
    let endless = shell("echo $$; exec head -c 10000000000 /dev/zero");
    connection.write(chunk(&frame(&endless))).unwrap();
    connection.write("0\r\n\r\n").unwrap();
    // Written so far, until it stands still.
    let pid = || agent.rpc("process.Process/List", &json!({})).json()["processes"][0]["pid"].clone();
    wait_until("the start of the process", || !pid().is_null());
    let io = format!("/proc/{}/io", pid());
    let written = || std::fs::read_to_string(&io).unwrap_or_default();
    let mut last = String::new();
    wait_until("the process to stand still", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = written();
        let stands = now == last && now.contains("wchar");
        last = now;
        stands
    });
    assert!(agent.peak_memory_bytes() < 32 << 20, "{}", agent.peak_memory_bytes());
    // Whoever goes away holds nobody back: the process runs to its end.
    drop(connection);
    wait_until("the process to go on", || written() != last);
    let killed = json!({"process": {"pid": pid()}, "signal": "SIGNAL_SIGKILL"});
    assert_eq!(agent.rpc("process.Process/SendSignal", &killed).status, 200);
}
