//! A workload and callers that do what they should not.

use hearth_guest_api::runtime::{INVOKE_PATH, MAX_PAYLOAD_BYTES, READY_PATH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{LIMIT, Rig, shell};
use crate::{INIT_ERROR, NEXT, RESTORE_NEXT, STREAMING, assert_failed, call, error, reply, response};

#[tokio::test]
async fn what_comes_out_of_turn_is_refused() {
    let rig = Rig::start(shell("cat")).await;
    let mut runtime = rig.runtime().await;
    for path in [response("x"), error("x")] {
        let early = runtime.send("POST", &path, &[], "{}").await;
        assert_eq!(
            (early.status, early.json()["errorType"].as_str()),
            (403, Some("InvalidStateTransition"))
        );
    }
    let pending = call(&rig, "x", "{}").await;
    runtime.get(NEXT).await;
    for path in [response("unknown"), error("unknown")] {
        let unknown = runtime.send("POST", &path, &[], "{}").await;
        assert_eq!(
            (unknown.status, unknown.json()["errorType"].as_str()),
            (400, Some("InvalidRequestID"))
        );
    }
    let late = runtime.send("POST", INIT_ERROR, &[], "{}").await;
    assert_eq!(
        (late.status, late.json()["errorType"].as_str()),
        (403, Some("InvalidStateTransition"))
    );
    assert_eq!(runtime.send("POST", &response("x"), &[], "once").await.status, 202);
    assert_eq!(runtime.send("POST", &response("x"), &[], "twice").await.status, 400);
    assert_eq!(reply(pending).await.text(), "once");

    let pending = call(&rig, "mode", "{}").await;
    runtime.get(NEXT).await;
    let odd = [("lambda-runtime-function-response-mode", "odd")];
    let refused = runtime.send("POST", &response("mode"), &odd, "{}").await;
    assert_eq!(
        (refused.status, refused.json()["errorType"].as_str()),
        (400, Some("InvalidFunctionResponseMode"))
    );
    assert_failed(&reply(pending).await, "Runtime.InvalidResponseModeHeader", "");

    let late = runtime.get(RESTORE_NEXT).await;
    assert_eq!(
        (late.status, late.json()["errorType"].as_str()),
        (403, Some("InvalidStateTransition"))
    );
    assert_eq!(runtime.get(&response("x")).await.status, 405);
    assert_eq!(runtime.get("/2018-06-01/runtime/nothing").await.status, 404);
    let mut caller = rig.caller().await;
    assert_eq!(caller.get(INVOKE_PATH).await.status, 405);
    assert_eq!(caller.get("/").await.status, 404);
    let bad = [("x-hearth-deadline-ms", "soon")];
    assert_eq!(caller.send("POST", INVOKE_PATH, &bad, "{}").await.status, 400);
}

#[tokio::test]
async fn what_is_too_large_is_refused_on_both_sides() {
    let rig = Rig::start(shell("cat")).await;
    let huge = "x".repeat(MAX_PAYLOAD_BYTES + 1);
    let mut caller = rig.caller().await;
    assert_eq!(caller.send("POST", INVOKE_PATH, &[], &huge).await.status, 413);

    let mut runtime = rig.runtime().await;
    let pending = call(&rig, "l", "{}").await;
    runtime.get(NEXT).await;
    let refused = runtime.send("POST", &response("l"), &[], &huge).await;
    assert_eq!(
        (refused.status, refused.json()["errorType"].as_str()),
        (413, Some("RequestEntityTooLarge"))
    );
    assert_failed(
        &reply(pending).await,
        "Function.ResponseSizeTooLarge",
        &format!(
            "({} bytes) exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes).",
            huge.len()
        ),
    );

    // Nor without a length told.
    let pending = call(&rig, "c", "{}").await;
    let mut runtime = rig.runtime().await;
    runtime.get(NEXT).await;
    let mut upload = runtime.upload(&response("c"), &[]).await;
    for _ in 0..20 {
        upload.piece(&huge[..1 << 20]).await;
    }
    assert_eq!(upload.end(None).await.status, 413);
    assert_failed(&reply(pending).await, "Function.ResponseSizeTooLarge", "exceeded");

    // What just fits does, both ways.
    let most: &'static str = Box::leak(huge[..MAX_PAYLOAD_BYTES].to_owned().into_boxed_str());
    let pending = call(&rig, "m", most).await;
    let mut runtime = rig.runtime().await;
    assert_eq!(runtime.get(NEXT).await.body.len(), MAX_PAYLOAD_BYTES);
    assert_eq!(runtime.send("POST", &response("m"), &[], most).await.status, 202);
    assert_eq!(reply(pending).await.body.len(), MAX_PAYLOAD_BYTES);
}

#[tokio::test]
async fn an_answer_of_a_gibibyte_is_in_memory_no_further_than_may_be() {
    let rig = Rig::start(shell("cat")).await;
    let mut runtime = rig.runtime().await;
    let piece = "x".repeat(1 << 20);
    let pending = call(&rig, "g", "{}").await;
    runtime.get(NEXT).await;
    let mut upload = runtime.upload(&response("g"), &[]).await;
    for _ in 0..32 {
        upload.piece(&piece).await;
    }
    // Its caller is told before all of it was sent, for all that is left.
    assert_failed(&reply(pending).await, "Function.ResponseSizeTooLarge", "exceeded");
    for _ in 32..1024 {
        upload.piece(&piece).await;
    }
    assert_eq!(upload.end(None).await.status, 413);
    assert!(rig.agent.peak_memory_mib() < 64, "{} MiB", rig.agent.peak_memory_mib());

    // The workload goes on.
    let pending = call(&rig, "after", "{}").await;
    let mut runtime = rig.runtime().await;
    runtime.get(NEXT).await;
    assert_eq!(runtime.send("POST", &response("after"), &[], "fine").await.status, 202);
    assert_eq!(reply(pending).await.text(), "fine");
}

#[tokio::test]
async fn a_caller_who_leaves_takes_nothing_with_it() {
    let rig = Rig::start(shell("cat")).await;
    let mut runtime = rig.runtime().await;
    let running = call(&rig, "gone", "{}").await;
    runtime.get(NEXT).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert_eq!(
        runtime.send("POST", &response("gone"), &[], "for nobody").await.status,
        202
    );

    // One who left before the call was fetched is not called for.
    let left = rig.raw(&format!(
        "POST {INVOKE_PATH} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nunfit"
    ));
    rig.settled().await;
    drop(left);
    rig.settled().await;
    let stays = call(&rig, "stays", "seen").await;
    assert_eq!(runtime.get(NEXT).await.text(), "seen");
    runtime.send("POST", &response("stays"), &[], "done").await;
    assert_eq!(reply(stays).await.text(), "done");

    // A stream whose reader leaves is read to its end.
    let caller = rig.caller().await;
    let answer = tokio::spawn(async move {
        caller
            .begin("POST", INVOKE_PATH, &[("x-hearth-request-id", "s")], "{}")
            .await
    });
    runtime.get(NEXT).await;
    let mut upload = runtime.upload(&response("s"), &[STREAMING]).await;
    drop(tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap());
    let piece = "x".repeat(1 << 20);
    for _ in 0..40 {
        upload.piece(&piece).await;
    }
    assert_eq!(upload.end(None).await.status, 202);
}

#[tokio::test]
async fn a_poller_who_leaves_takes_no_call_with_it() {
    let rig = Rig::start(shell("cat")).await;
    let polling = rig.raw_runtime(&format!("GET {NEXT} HTTP/1.1\r\nhost: a\r\n\r\n"));
    // It polls once the workload counts as ready.
    assert_eq!(rig.caller().await.get(READY_PATH).await.status, 200);
    drop(polling);
    rig.settled().await;
    let pending = call(&rig, "p", "{}").await;
    let mut second = rig.runtime().await;
    assert_eq!(second.get(NEXT).await.header("lambda-runtime-aws-request-id"), "p");
    second.send("POST", &response("p"), &[], "done").await;
    assert_eq!(reply(pending).await.text(), "done");
}

#[tokio::test]
async fn garbage_harms_neither_port() {
    let rig = Rig::start(shell("cat")).await;
    let bomb = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let smuggled =
        format!("POST {INVOKE_PATH} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab");
    let broken = format!("POST {INVOKE_PATH} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n");
    let many: String = (0..500).fold(String::from("GET / HTTP/1.1\r\n"), |all, n| {
        all + &format!("h{n}: v\r\n")
    });
    let cases = [
        "\0\u{1}\u{2}garbage\r\n\r\n".as_bytes(),
        &[0xff; 4096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        bomb.as_bytes(),
        smuggled.as_bytes(),
        broken.as_bytes(),
        many.as_bytes(),
        b"POST /2018-06-01/runtime/invocation/%2e%2e/response HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
    ];
    for address in [rig.runtime, rig.calls] {
        for case in cases {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // It may be cut while we still write.
            let _ = stream.write_all(case).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer))
                .await
                .unwrap();
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
    }
    let pending = call(&rig, "after", "{}").await;
    let mut runtime = rig.runtime().await;
    assert_eq!(runtime.get(NEXT).await.header("lambda-runtime-aws-request-id"), "after");
    runtime.send("POST", &response("after"), &[], "fine").await;
    assert_eq!(reply(pending).await.text(), "fine");
}

#[tokio::test]
async fn what_waits_is_bounded_in_number() {
    let rig = Rig::start(shell("cat")).await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..1010 {
        let mut caller = rig.caller().await;
        callers.spawn(async move { caller.send("POST", INVOKE_PATH, &[], "{}").await });
    }
    for _ in 0..10 {
        let refused = tokio::time::timeout(LIMIT, callers.join_next()).await.unwrap();
        assert_eq!(refused.unwrap().unwrap().status, 429);
    }
    let mut runtime = rig.runtime().await;
    for _ in 0..1000 {
        let next = runtime.get(NEXT).await;
        let path = response(next.header("lambda-runtime-aws-request-id"));
        assert_eq!(runtime.send("POST", &path, &[], "ok").await.status, 202);
    }
    while let Some(answer) = callers.join_next().await {
        assert_eq!(answer.unwrap().text(), "ok");
    }
}
