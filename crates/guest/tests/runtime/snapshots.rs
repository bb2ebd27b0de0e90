//! A workload that wants to be part of a snapshot: Lambda's `SnapStart`.

use hearth_guest_api::guest::{InitRequest, Restore};
use hearth_guest_api::runtime::{GO_ON_PATH, READY_PATH, WAITS_FOR_CALLS, WAITS_FOR_HEADER, WAITS_FOR_SNAPSHOT};
use tokio::task::JoinHandle;

use crate::rig::{LIMIT, Reply, Rig, shell};
use crate::{INIT_ERROR, NEXT, RESTORE_ERROR, RESTORE_NEXT, assert_failed, call, reply, response};

/// A request to one of the ports, made in the background.
fn asked(mut connection: crate::rig::Connection, path: &'static str) -> JoinHandle<Reply> {
    tokio::spawn(async move { connection.get(path).await })
}

async fn asked_for_its_snapshot(rig: &Rig) -> JoinHandle<Reply> {
    asked(rig.runtime().await, RESTORE_NEXT)
}

/// What the host hears the workload wait for.
async fn waits_for(rig: &Rig) -> String {
    waits_for_by(asked(rig.caller().await, READY_PATH)).await
}

async fn waits_for_by(asked: JoinHandle<Reply>) -> String {
    let answer = reply(asked).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header(WAITS_FOR_HEADER).to_owned()
}

/// What the host tells a guest that it has restored.
pub(crate) async fn restore(rig: &Rig, copy: bool) {
    tell_restored(rig, copy, false).await;
}

async fn tell_restored(rig: &Rig, copy: bool, hold: bool) {
    let request = InitRequest {
        entropy: vec![7; 32].into(),
        restore: Some(Restore {
            copy,
            machine_id: "0123456789abcdef0123456789abcdef".into(),
            hold,
        }),
        ..InitRequest::default()
    };
    rig.agent.client.init(request).await.unwrap();
}

fn assert_refused(answer: &Reply, from: &str) {
    assert_eq!(
        (answer.status, answer.json()["errorType"].as_str()),
        (403, Some("InvalidStateTransition"))
    );
    let message = answer.json()["errorMessage"].to_string();
    assert!(message.contains(&format!("from {from} to")), "{message}");
}

#[tokio::test]
async fn it_goes_on_when_it_was_restored() {
    for copy in [true, false] {
        let rig = Rig::start(shell("cat")).await;
        let waiting = asked_for_its_snapshot(&rig).await;
        assert_eq!(waits_for(&rig).await, WAITS_FOR_SNAPSHOT);
        // Another Init is no restore, and what else it may ask for has to wait.
        rig.agent.client.init(InitRequest::default()).await.unwrap();
        let mut runtime = rig.runtime().await;
        assert_refused(&runtime.get(NEXT).await, "RestoreReady");
        assert_refused(&runtime.send("POST", &response("x"), &[], "{}").await, "RestoreReady");
        assert_eq!(waits_for(&rig).await, WAITS_FOR_SNAPSHOT);
        assert!(!waiting.is_finished());

        restore(&rig, copy).await;
        assert_eq!(reply(waiting).await.status, 200);
        assert_refused(&runtime.get(RESTORE_NEXT).await, "Restoring");
        let ready = asked(rig.caller().await, READY_PATH);
        rig.settled().await;
        assert!(!ready.is_finished(), "it has yet to ask for work");
        let next = asked(rig.runtime().await, NEXT);
        assert_eq!(waits_for_by(ready).await, WAITS_FOR_CALLS);
        let pending = call(&rig, "first", "{}").await;
        assert_eq!(reply(next).await.status, 200);
        runtime.send("POST", &response("first"), &[], "done").await;
        assert_eq!(reply(pending).await.text(), "done");
        assert_refused(&runtime.get(RESTORE_NEXT).await, "Ready");
        assert_refused(&runtime.send("POST", RESTORE_ERROR, &[], "{}").await, "Ready");
    }
}

#[tokio::test]
async fn it_does_not_go_on_while_it_is_held() {
    let rig = Rig::start(shell("cat")).await;
    let waiting = asked_for_its_snapshot(&rig).await;
    assert_eq!(waits_for(&rig).await, WAITS_FOR_SNAPSHOT);
    for _ in 0..2 {
        tell_restored(&rig, true, true).await;
        assert_eq!(waits_for(&rig).await, WAITS_FOR_SNAPSHOT);
        assert!(!waiting.is_finished());
    }
    restore(&rig, true).await;
    assert_eq!(reply(waiting).await.status, 200);
}

#[tokio::test]
async fn it_goes_on_when_there_will_be_no_snapshot() {
    let rig = Rig::start(shell("cat")).await;
    let mut host = rig.caller().await;
    let waiting = asked_for_its_snapshot(&rig).await;
    assert_eq!(waits_for(&rig).await, WAITS_FOR_SNAPSHOT);
    for _ in 0..2 {
        assert_eq!(host.send("POST", GO_ON_PATH, &[], "").await.status, 204);
    }
    assert_eq!(host.get(GO_ON_PATH).await.status, 405);
    assert_eq!(reply(waiting).await.status, 200);

    // Told before it asks.
    let rig = Rig::start(shell("cat")).await;
    assert_eq!(rig.caller().await.send("POST", GO_ON_PATH, &[], "").await.status, 204);
    assert_eq!(rig.runtime().await.get(RESTORE_NEXT).await.status, 200);
    let _next = asked(rig.runtime().await, NEXT);
    assert_eq!(waits_for(&rig).await, WAITS_FOR_CALLS);
}

#[tokio::test]
async fn a_call_lets_it_go_on() {
    let rig = Rig::start(shell("cat")).await;
    let waiting = asked_for_its_snapshot(&rig).await;
    assert_eq!(waits_for(&rig).await, WAITS_FOR_SNAPSHOT);
    let pending = call(&rig, "c", "{}").await;
    assert_eq!(reply(waiting).await.status, 200);
    let mut runtime = rig.runtime().await;
    runtime.get(NEXT).await;
    runtime.send("POST", &response("c"), &[], "done").await;
    assert_eq!(reply(pending).await.text(), "done");
}

#[tokio::test]
async fn one_that_lost_its_connection_asks_again() {
    let rig = Rig::start(shell("cat")).await;
    let request = format!("GET {RESTORE_NEXT} HTTP/1.1\r\nhost: guest\r\n\r\n");
    let lost = rig.raw_runtime(&request);
    assert_eq!(waits_for(&rig).await, WAITS_FOR_SNAPSHOT);
    drop(lost);
    let waiting = asked_for_its_snapshot(&rig).await;
    rig.settled().await;
    restore(&rig, true).await;
    assert_eq!(reply(waiting).await.status, 200);
}

#[tokio::test]
async fn an_error_before_the_snapshot_or_after_the_restore_is_told() {
    for (path, is_restored) in [(INIT_ERROR, false), (RESTORE_ERROR, true)] {
        let rig = Rig::start(shell("cat")).await;
        let waiting = asked_for_its_snapshot(&rig).await;
        assert_eq!(waits_for(&rig).await, WAITS_FOR_SNAPSHOT);
        if is_restored {
            restore(&rig, true).await;
            assert_eq!(reply(waiting).await.status, 200);
        }
        let mut runtime = rig.runtime().await;
        let body = r#"{"errorType":"HookError","errorMessage":"no lease"}"#;
        assert_eq!(runtime.send("POST", path, &[], body).await.status, 202);
        let not_ready = reply(asked(rig.caller().await, READY_PATH)).await;
        assert_eq!((not_ready.status, not_ready.text()), (500, body.to_owned()));
        assert_failed(&reply(call(&rig, "f", "{}").await).await, "HookError", "no lease");
        for later in [NEXT, RESTORE_NEXT] {
            assert_refused(&runtime.get(later).await, "InitError");
        }
    }
}

#[tokio::test]
async fn its_end_is_told_while_it_waits() {
    let rig = Rig::start(shell("read line; exit 4")).await;
    let waiting = asked_for_its_snapshot(&rig).await;
    assert_eq!(waits_for(&rig).await, WAITS_FOR_SNAPSHOT);
    rig.agent.client.workload_stdin("go\n").await.unwrap();
    assert_refused(&reply(waiting).await, "InitError");
    let not_ready = tokio::time::timeout(LIMIT, rig.caller().await.get(READY_PATH))
        .await
        .unwrap();
    assert_eq!(
        (not_ready.status, not_ready.json()["errorMessage"].as_str()),
        (500, Some("Error: Runtime exited with error: exit status 4"))
    );
    assert_eq!(rig.exited().await.code, 4);
}
