//! When sandboxes end: in time, by being paused, with their machine, or when somebody says so.

use std::time::Instant;

use hearth_api::{Sandbox, SandboxList, SandboxState};
use hearth_domain::{ExitStatus, MachineEvent};
use hearth_node_api::{ErrorKind, NodeError};
use http::StatusCode;
use serde_json::json;

use super::{fixture, made, path, seen, until_gone};
use crate::fixture::Fixture;

async fn until_state(f: &Fixture, sandbox: &Sandbox, state: SandboxState) {
    let there = |answer: &crate::fixture::Answer| {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json::<Sandbox>().state == state
    };
    f.until(&path(sandbox, ""), there).await;
}

#[tokio::test]
async fn one_whose_time_is_over_is_gone_and_not_before() {
    let f = fixture().await;
    let from = Instant::now();
    let (short, long) = (made(&f, json!({ "timeout_s": 1 })).await, made(&f, json!({})).await);
    until_gone(&f, &short).await;
    assert!(from.elapsed().as_millis() >= 1000);
    assert_eq!(seen(&f, &long).await.state, SandboxState::Running);
}

#[tokio::test]
async fn one_is_paused_whose_maker_wished_so() {
    let f = fixture().await;
    let memory = made(&f, json!({ "timeout_s": 1, "on_timeout": "pause" })).await;
    let disk = made(&f, json!({ "timeout_s": 1, "on_timeout": "pause_disk" })).await;
    until_state(&f, &memory, SandboxState::Paused).await;
    until_state(&f, &disk, SandboxState::Stopped).await;
    let resumed = f.post_json(&path(&disk, "/resume"), &json!({ "timeout_s": 60 })).await;
    assert_eq!(resumed.json::<Sandbox>().state, SandboxState::Running);
}

#[tokio::test]
async fn an_end_is_put_off_or_brought_nearer() {
    let f = fixture().await;
    let sandbox = made(&f, json!({ "timeout_s": 2 })).await;
    let set = async |seconds: i64| {
        f.post_json(&path(&sandbox, "/timeout"), &json!({ "timeout_s": seconds }))
            .await
    };
    let later = set(600).await;
    assert_eq!(later.status, StatusCode::OK);
    assert!(later.json::<Sandbox>().ends_at > sandbox.ends_at);
    assert!(seen(&f, &sandbox).await.ends_at > sandbox.ends_at);
    for wrong in [-1, 2_678_401] {
        assert_eq!(set(wrong).await.problem().field.as_deref(), Some("timeout_s"));
    }
    assert_eq!(set(0).await.status, StatusCode::OK);
    until_gone(&f, &sandbox).await;
}

#[tokio::test]
async fn one_whose_machine_ends_by_itself_is_gone() {
    let f = fixture().await;
    let (stops, lost) = (
        made(&f, json!({})).await,
        made(&f, json!({ "on_timeout": "pause" })).await,
    );
    let exit = ExitStatus::default();
    f.node.happen(stops.machine, MachineEvent::Exit(exit.clone())).unwrap();
    until_gone(&f, &stops).await;
    // Even where a time-out would pause it: there is nothing to pause.
    f.node.happen(lost.machine, MachineEvent::Exit(exit)).unwrap();
    until_gone(&f, &lost).await;
}

#[tokio::test]
async fn one_that_cannot_be_removed_is_not_there_and_removed_later() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let refusal = NodeError::new(ErrorKind::Internal, "not now");
    *f.node.removal_refusal.lock().unwrap() = Some(refusal);
    let refused = f.delete(&path(&sandbox, "")).await;
    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(f.get(&path(&sandbox, "")).await.status, StatusCode::NOT_FOUND);
    let list: SandboxList = f.get("/v1/sandboxes").await.json();
    assert_eq!(list.total, 0);
    until_gone(&f, &sandbox).await;
}

#[tokio::test]
async fn one_whose_time_went_by_while_nobody_looked_ends_at_the_next_start() {
    let mut f = fixture().await;
    let sandbox = made(&f, json!({ "timeout_s": 1 })).await;
    f.stop().await;
    let left = sandbox.ends_at.duration_since(jiff::Timestamp::now());
    tokio::time::sleep(left.try_into().unwrap_or_default()).await;
    let f = f.reopen().await;
    until_gone(&f, &sandbox).await;
}
