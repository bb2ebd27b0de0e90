//! The Lambda Runtime API of the real agent: calls on one port, a fake runtime or AWS's own on the other.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod calls;
#[path = "../common/mod.rs"]
mod common;
mod endings;
mod hostile;
mod python;
mod rig;
mod snapshots;
mod streams;

use hearth_guest_api::runtime::INVOKE_PATH;
use rig::{LIMIT, Reply, Rig};

const NEXT: &str = "/2018-06-01/runtime/invocation/next";
const INIT_ERROR: &str = "/2018-06-01/runtime/init/error";
const RESTORE_NEXT: &str = "/2018-06-01/runtime/restore/next";
const RESTORE_ERROR: &str = "/2018-06-01/runtime/restore/error";
const STREAMING: (&str, &str) = ("lambda-runtime-function-response-mode", "streaming");

fn response(id: &str) -> String {
    format!("/2018-06-01/runtime/invocation/{id}/response")
}

fn error(id: &str) -> String {
    format!("/2018-06-01/runtime/invocation/{id}/error")
}

/// A call, made in the background.
async fn call(rig: &Rig, id: &'static str, event: &'static str) -> tokio::task::JoinHandle<Reply> {
    let mut caller = rig.caller().await;
    tokio::spawn(async move {
        caller
            .send("POST", INVOKE_PATH, &[("x-hearth-request-id", id)], event)
            .await
    })
}

async fn reply(call: tokio::task::JoinHandle<Reply>) -> Reply {
    tokio::time::timeout(LIMIT, call).await.unwrap().unwrap()
}

/// An answer whose body is this error.
fn assert_failed(reply: &Reply, kind: &str, message: &str) {
    assert_eq!((reply.status, reply.header("x-amz-function-error")), (200, "Unhandled"));
    let error = reply.json();
    assert_eq!(error["errorType"], kind, "{error}");
    assert!(error["errorMessage"].as_str().unwrap().contains(message), "{error}");
}
