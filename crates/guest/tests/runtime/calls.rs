//! Calls that are answered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hearth_guest_api::runtime::{INVOKE_PATH, READY_PATH};

use crate::rig::{LIMIT, Rig, shell};
use crate::{NEXT, call, error, reply, response};

#[tokio::test]
async fn a_call_with_everything() {
    let rig = Rig::start(shell("echo before; cat")).await;
    let mut waiting = rig.caller().await;
    let ready = tokio::spawn(async move { waiting.get(READY_PATH).await });
    let mut caller = rig.caller().await;
    let context = STANDARD.encode(r#"{"client":1}"#);
    let pending = tokio::spawn(async move {
        let headers = [
            ("x-hearth-request-id", "call-1"),
            ("x-hearth-deadline-ms", "1700000000000"),
            ("x-hearth-function-arn", "arn:aws:lambda:eu-west-1:1:function:f"),
            ("x-hearth-function-version", "7"),
            ("x-amzn-trace-id", "Root=1-2"),
            ("x-amz-client-context", context.as_str()),
            ("x-amz-log-type", "Tail"),
            ("content-type", "application/json"),
        ];
        caller.send("POST", INVOKE_PATH, &headers, r#"{"n":1}"#).await
    });
    rig.output_until("before\n").await;
    assert!(!ready.is_finished());

    let mut runtime = rig.runtime().await;
    let next = runtime.get(NEXT).await;
    assert_eq!((next.status, next.text()), (200, r#"{"n":1}"#.to_owned()));
    for (name, value) in [
        ("lambda-runtime-aws-request-id", "call-1"),
        ("lambda-runtime-deadline-ms", "1700000000000"),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-west-1:1:function:f",
        ),
        ("lambda-runtime-trace-id", "Root=1-2"),
        ("lambda-runtime-client-context", r#"{"client":1}"#),
        ("content-type", "application/json"),
    ] {
        assert_eq!(next.header(name), value, "{name}");
    }
    assert_eq!(reply(ready).await.status, 200);

    rig.agent.client.workload_stdin("written meanwhile\n").await.unwrap();
    rig.output_until("written meanwhile\n").await;
    let accepted = runtime
        .send(
            "POST",
            &response("call-1"),
            &[("content-type", "application/x-own")],
            "the answer",
        )
        .await;
    assert_eq!(
        (accepted.status, accepted.text()),
        (202, "{\"status\":\"OK\"}\n".to_owned())
    );
    let answer = reply(pending).await;
    assert_eq!((answer.status, answer.text()), (200, "the answer".to_owned()));
    assert_eq!(answer.header("content-type"), "application/x-own");
    assert_eq!(answer.header("x-amz-function-error"), "");
    let tail = String::from_utf8(STANDARD.decode(answer.header("x-amz-log-result")).unwrap()).unwrap();
    assert!(
        tail.starts_with("START RequestId: call-1 Version: 7\nwritten meanwhile\nEND RequestId: call-1\nREPORT RequestId: call-1\tDuration: "),
        "{tail}"
    );
    assert!(tail.contains("Init Duration: ") && !tail.contains("before"), "{tail}");
    // The host's log has the same lines.
    rig.output_until(&tail).await;
}

#[tokio::test]
async fn calls_in_sequence_keep_their_connections() {
    let rig = Rig::start(shell("cat")).await;
    let (mut caller, mut runtime) = (rig.caller().await, rig.runtime().await);
    let serving = tokio::spawn(async move {
        for _ in 0..20 {
            let next = runtime.get(NEXT).await;
            let id = next.header("lambda-runtime-aws-request-id").to_owned();
            let echoed = format!("{id} {}", next.text());
            assert_eq!(runtime.send("POST", &response(&id), &[], &echoed).await.status, 202);
        }
    });
    let mut ids = std::collections::BTreeSet::new();
    for number in 0..20 {
        let answer = caller.send("POST", INVOKE_PATH, &[], &number.to_string()).await;
        let id = answer.header("x-hearth-request-id").to_owned();
        assert_eq!(answer.text(), format!("{id} {number}"));
        assert_eq!(answer.header("x-amz-log-result"), "");
        assert!(ids.insert(id), "an ID was made up twice");
    }
    tokio::time::timeout(LIMIT, serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn several_pollers_take_several_calls() {
    let rig = Rig::start(shell("cat")).await;
    let (mut one, mut other) = (rig.runtime().await, rig.runtime().await);
    let first = call(&rig, "a", "first").await;
    assert_eq!(one.get(NEXT).await.text(), "first");
    let second = call(&rig, "b", "second").await;
    assert_eq!(other.get(NEXT).await.text(), "second");
    // An ID that is under way is nobody else's.
    let twice = reply(call(&rig, "a", "again").await).await;
    assert_eq!(twice.status, 409);
    other.send("POST", &response("b"), &[], "second done").await;
    assert_eq!(reply(second).await.text(), "second done");
    one.send("POST", &response("a"), &[], "first done").await;
    assert_eq!(reply(first).await.text(), "first done");
}

#[tokio::test]
async fn errors_of_functions() {
    let rig = Rig::start(shell("cat")).await;
    let mut runtime = rig.runtime().await;
    let cases = [
        (
            r#"{"errorType":"ValueError","errorMessage":"no","stackTrace":[]}"#,
            "",
            "ValueError",
        ),
        ("", "Runtime.Odd", "Runtime.Odd"),
        ("", "", "Function.Unknown"),
        ("plain words", "Runtime.Odd", "Runtime.Odd"),
    ];
    for (body, kind, expected) in cases {
        let pending = call(&rig, "e", "{}").await;
        runtime.get(NEXT).await;
        let headers = [("lambda-runtime-function-error-type", kind)];
        assert_eq!(runtime.send("POST", &error("e"), &headers, body).await.status, 202);
        let answer = reply(pending).await;
        assert_eq!(
            (answer.status, answer.header("x-amz-function-error")),
            (200, "Unhandled")
        );
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.json()["errorType"], expected);
    }
}
