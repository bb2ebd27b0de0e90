//! Answers that are passed on as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hearth_guest_api::runtime::INVOKE_PATH;
use http::HeaderMap;

use crate::rig::{LIMIT, Rig, shell};
use crate::{NEXT, STREAMING, response};

#[tokio::test]
async fn a_stream_passes_as_it_comes() {
    let rig = Rig::start(shell("cat")).await;
    let caller = rig.caller().await;
    let headers = [
        ("x-hearth-request-id", "s"),
        ("te", "trailers"),
        ("x-amz-log-type", "Tail"),
    ];
    let answer = tokio::spawn(async move { caller.begin("POST", INVOKE_PATH, &headers, "{}").await });
    let mut runtime = rig.runtime().await;
    runtime.get(NEXT).await;
    let mut upload = runtime
        .upload(&response("s"), &[STREAMING, ("content-type", "text/event-stream")])
        .await;
    let mut answer = tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap();
    assert_eq!(answer.header("x-hearth-response-mode"), "streaming");
    assert_eq!(answer.header("content-type"), "text/event-stream");
    for piece in ["one", "two", "three"] {
        upload.piece(piece).await;
        assert_eq!(answer.piece().await.unwrap().unwrap(), piece);
    }
    assert_eq!(upload.end(None).await.status, 202);
    assert!(answer.piece().await.is_none());
    let tail = STANDARD.decode(&answer.trailers["x-amz-log-result"]).unwrap();
    assert!(String::from_utf8(tail).unwrap().contains("REPORT RequestId: s"));
    assert!(!answer.trailers.contains_key("lambda-runtime-function-error-type"));
}

#[tokio::test]
async fn a_stream_that_fails_ends_in_trailers_or_is_cut() {
    let rig = Rig::start(shell("cat")).await;
    let mut runtime = rig.runtime().await;
    for te in ["trailers", ""] {
        let caller = rig.caller().await;
        let answer = tokio::spawn(async move {
            let headers = [("x-hearth-request-id", "f"), ("te", te)];
            caller.begin("POST", INVOKE_PATH, &headers, "{}").await
        });
        runtime.get(NEXT).await;
        let mut upload = runtime.upload(&response("f"), &[STREAMING]).await;
        upload.piece("half").await;
        let mut trailers = HeaderMap::new();
        trailers.insert("lambda-runtime-function-error-type", "Runtime.Bad".parse().unwrap());
        trailers.insert("lambda-runtime-function-error-body", "e30=".parse().unwrap());
        trailers.insert("x-other", "1".parse().unwrap());
        assert_eq!(upload.end(Some(trailers)).await.status, 202);
        let mut answer = tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap();
        assert_eq!(answer.piece().await.unwrap().unwrap(), "half");
        if te.is_empty() {
            assert!(answer.piece().await.unwrap().is_err());
            continue;
        }
        assert!(answer.piece().await.is_none());
        assert_eq!(answer.trailers["lambda-runtime-function-error-type"], "Runtime.Bad");
        assert_eq!(answer.trailers["lambda-runtime-function-error-body"], "e30=");
        assert!(!answer.trailers.contains_key("x-other"));
    }

    // One that breaks off is told apart from one that ends.
    let caller = rig.caller().await;
    let headers = [("x-hearth-request-id", "b"), ("te", "trailers")];
    let answer = tokio::spawn(async move { caller.begin("POST", INVOKE_PATH, &headers, "{}").await });
    runtime.get(NEXT).await;
    let mut upload = runtime.upload(&response("b"), &[STREAMING]).await;
    upload.piece("half").await;
    let mut answer = tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap();
    assert_eq!(answer.piece().await.unwrap().unwrap(), "half");
    runtime.close();
    assert!(answer.piece().await.is_none());
    assert_eq!(
        answer.trailers["lambda-runtime-function-error-type"],
        "Runtime.TruncatedResponse"
    );
}

#[tokio::test]
async fn a_slow_reader_of_a_stream_holds_the_runtime_back() {
    let rig = Rig::start(shell("cat")).await;
    let caller = rig.caller().await;
    let answer = tokio::spawn(async move {
        caller
            .begin("POST", INVOKE_PATH, &[("x-hearth-request-id", "s")], "{}")
            .await
    });
    let mut runtime = rig.runtime().await;
    runtime.get(NEXT).await;
    let mut upload = runtime.upload(&response("s"), &[STREAMING]).await;
    let mut answer = tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap();
    let (pieces, sent) = (200, Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        let piece = "x".repeat(1 << 20);
        for _ in 0..pieces {
            upload.piece(&piece).await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
        upload.end(None).await
    });
    // Until it stands still: nothing more fits between both ends.
    let mut last = (sent.load(Ordering::Relaxed), Instant::now());
    while last.1.elapsed() < Duration::from_millis(500) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = sent.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    assert!(last.0 < pieces / 2, "{} MiB went to nobody", last.0);
    assert!(rig.agent.memory_mib() < 64, "{} MiB", rig.agent.memory_mib());
    let mut received = 0;
    while let Some(piece) = answer.piece().await {
        received += piece.unwrap().len();
    }
    assert_eq!(received, pieces << 20);
    assert_eq!(tokio::time::timeout(LIMIT, sending).await.unwrap().unwrap().status, 202);
}
