//! A workload that fails as a whole: before it is ready, in the middle, by order.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hearth_guest_api::guest::{ShutdownRequest, Workload};
use hearth_guest_api::runtime::{INVOKE_PATH, READY_PATH};

use crate::rig::{Rig, shell};
use crate::{INIT_ERROR, NEXT, assert_failed, call, reply};

#[tokio::test]
async fn an_init_error_reaches_everybody_who_waits() {
    let rig = Rig::start(shell("cat")).await;
    let mut waiting = rig.caller().await;
    let ready = tokio::spawn(async move { waiting.get(READY_PATH).await });
    let queued = call(&rig, "q", "{}").await;
    let body = r#"{"errorType":"Runtime.ImportModuleError","errorMessage":"no module","stackTrace":["a"]}"#;
    let mut runtime = rig.runtime().await;
    assert_eq!(runtime.send("POST", INIT_ERROR, &[], body).await.status, 202);
    let not_ready = reply(ready).await;
    assert_eq!((not_ready.status, not_ready.text()), (500, body.to_owned()));
    // The call may have arrived before the error or after it.
    assert_failed(&reply(queued).await, "Runtime.ImportModuleError", "no module");
    assert_failed(
        &reply(call(&rig, "r", "{}").await).await,
        "Runtime.ImportModuleError",
        "",
    );
    assert_eq!(runtime.send("POST", INIT_ERROR, &[], body).await.status, 403);
    assert_eq!(runtime.get(NEXT).await.status, 403);
}

#[tokio::test]
async fn an_exit_before_readiness_is_told_to_who_waits() {
    let rig = Rig::start(shell("read line; exit 3")).await;
    let mut waiting = rig.caller().await;
    let ready = tokio::spawn(async move { waiting.get(READY_PATH).await });
    let queued = call(&rig, "q", "{}").await;
    rig.agent.client.workload_stdin("go\n").await.unwrap();
    let not_ready = reply(ready).await;
    assert_eq!(not_ready.status, 500);
    assert_eq!(
        not_ready.json()["errorMessage"],
        "Error: Runtime exited with error: exit status 3"
    );
    assert_failed(&reply(queued).await, "Runtime.ExitError", "exit status 3");
    assert_eq!(rig.exited().await.code, 3);

    let rig = Rig::start(Workload {
        args: vec!["/no/such/bootstrap".into()],
        ..Workload::default()
    })
    .await;
    let not_ready = rig.caller().await.get(READY_PATH).await;
    assert_eq!(
        (not_ready.status, not_ready.json()["errorType"].as_str()),
        (500, Some("Runtime.InvalidEntrypoint"))
    );
}

#[tokio::test]
async fn an_exit_in_the_middle_is_answered_before_the_host_learns_of_it() {
    for (script, reason) in [
        ("read line; echo dying; exit 1", "exit status 1"),
        ("read line; echo dying; kill -9 $$", "signal: killed"),
        ("read line; echo dying; exit 0", "without providing a reason"),
    ] {
        let rig = Rig::start(shell(script)).await;
        let mut caller = rig.caller().await;
        let pending = tokio::spawn(async move {
            let headers = [("x-hearth-request-id", "m"), ("x-amz-log-type", "Tail")];
            caller.send("POST", INVOKE_PATH, &headers, "{}").await
        });
        let mut runtime = rig.runtime().await;
        runtime.get(NEXT).await;
        let waiting = call(&rig, "w", "{}").await;
        rig.agent.client.workload_stdin("go\n").await.unwrap();
        rig.exited().await;
        let answer = reply(pending).await;
        assert_failed(&answer, "Runtime.ExitError", reason);
        assert!(
            answer.json()["errorMessage"]
                .as_str()
                .unwrap()
                .starts_with("RequestId: m Error: ")
        );
        let tail = String::from_utf8(STANDARD.decode(answer.header("x-amz-log-result")).unwrap()).unwrap();
        assert!(tail.contains("\ndying\nEND RequestId: m\n"), "{tail}");
        assert_failed(&reply(waiting).await, "Runtime.ExitError", reason);
        let later = rig.caller().await.get(READY_PATH).await;
        assert_eq!(later.status, 500);
    }
}

#[tokio::test]
async fn a_shutdown_answers_who_waits() {
    let mut rig = Rig::start(shell("sleep 1000")).await;
    let pending = call(&rig, "s", "{}").await;
    rig.runtime().await.get(NEXT).await;
    let request = ShutdownRequest {
        signal: 15,
        timeout_ms: 5000,
    };
    rig.agent.client.shutdown(request).await.unwrap();
    assert_failed(&reply(pending).await, "Runtime.ExitError", "signal: terminated");
    rig.agent.wait();
}
