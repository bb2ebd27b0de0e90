//! Copies of a sandbox of which some cannot be made.

use hearth_api::Role;
use hearth_node_api::{ErrorKind, NodeError};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    e2b::{code, made, path},
    fixture, template_and_sandbox,
};
use crate::{fixture::Fixture, tenancy::Realm};

/// The copies that were made, and the errors of those that were not. Each entry has one of both.
fn sorted(answer: &[Value]) -> (Vec<Value>, Vec<Value>) {
    for entry in answer {
        let fields: Vec<_> = entry.as_object().unwrap().keys().collect();
        assert!(fields == ["sandbox"] || fields == ["error"], "{entry}");
    }
    let of = |field: &str| {
        let entries = answer.iter().filter_map(|entry| entry.get(field));
        entries.cloned().collect()
    };
    (of("sandbox"), of("error"))
}

async fn running(f: &Fixture) -> usize {
    f.get("/v2/sandboxes?state=running").await.json::<Vec<Value>>().len()
}

#[tokio::test]
async fn each_copy_is_made_or_fails_by_itself() {
    let f = fixture().await;
    let sandbox = made(&f, json!({ "metadata": { "a": "b" } })).await;
    let snapshots = f.node.snapshot_ids();
    let refusal = NodeError::new(ErrorKind::Unavailable, "no more today");
    *f.node.later_refusal.lock().unwrap() = Some((1, refusal));
    let forked = f
        .post_json(&path(&sandbox, "/fork"), &json!({ "count": 3, "timeout": 60 }))
        .await;
    assert_eq!(forked.status, StatusCode::CREATED, "{forked:?}");
    let (copies, errors) = sorted(&forked.json::<Vec<Value>>());
    assert_eq!((copies.len(), errors.len()), (2, 1));
    let told = json!({ "code": 503, "message": "no more today", "error_code": "unavailable" });
    assert_eq!(errors[0], told);
    for copy in &copies {
        assert_ne!(copy["sandboxID"], sandbox["sandboxID"]);
        assert_ne!(copy["envdAccessToken"], sandbox["envdAccessToken"]);
        let seen: Value = f.get(&path(copy, "")).await.json();
        assert_eq!(
            (&seen["state"], &seen["metadata"]),
            (&json!("running"), &json!({ "a": "b" }))
        );
    }
    // Nothing is left of the one that failed, nor of what they were made of.
    assert_eq!((running(&f).await, f.node.count()), (3, 3));
    assert_eq!(f.node.snapshot_ids(), snapshots);
}

#[tokio::test]
async fn that_none_could_be_made_is_told_of_each() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let snapshots = f.node.snapshot_ids();
    let refusal = NodeError::new(ErrorKind::Timeout, "it took too long");
    *f.node.refusal.lock().unwrap() = Some(refusal);
    let forked = f.post(&path(&sandbox, "/fork")).await;
    assert_eq!(forked.status, StatusCode::CREATED, "{forked:?}");
    let (copies, errors) = sorted(&forked.json::<Vec<Value>>());
    assert_eq!((copies.len(), errors.len()), (0, 1));
    assert_eq!(errors[0]["code"], 504);
    assert_eq!((running(&f).await, f.node.count()), (1, 1));
    assert_eq!(f.node.snapshot_ids(), snapshots);
}

#[tokio::test]
async fn before_any_copy_is_tried_all_fails_as_one() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let snapshots = f.node.snapshot_ids();
    let fork = async |body: Value| f.post_json(&path(&sandbox, "/fork"), &body).await;
    for wrong in [
        json!({ "count": 0 }),
        json!({ "count": 101 }),
        json!({ "count": -1 }),
        json!({ "timeout": 0 }),
    ] {
        assert_eq!(code(&fork(wrong).await), 400);
    }
    let refusal = NodeError::new(ErrorKind::Unavailable, "the disk is busy");
    *f.node.snapshot_refusal.lock().unwrap() = Some(refusal);
    assert_eq!(code(&fork(json!({ "count": 2 })).await), 503);
    assert_eq!(f.node.snapshot_ids(), snapshots);
    assert_eq!(running(&f).await, 1);
    assert_eq!(fork(json!({})).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn as_many_are_made_as_the_quota_has_room_for() {
    let r = Realm::new().await;
    r.project("a", json!({ "machines": 3 })).await;
    template_and_sandbox(&r, "a").await;
    let key = r.key("a", Role::Developer, None).await.token;
    let list: Vec<Value> = r.ask(&key, Method::GET, "/v2/sandboxes", None).await.json();
    let body = Some(json!({ "count": 4 }));
    let forked = r.ask(&key, Method::POST, &path(&list[0], "/fork"), body).await;
    assert_eq!(forked.status, StatusCode::CREATED, "{forked:?}");
    let (copies, errors) = sorted(&forked.json::<Vec<Value>>());
    assert_eq!((copies.len(), errors.len()), (2, 2));
    assert!(errors.iter().all(|error| error["code"] == 429), "{errors:?}");
    let list: Vec<Value> = r.ask(&key, Method::GET, "/v2/sandboxes", None).await.json();
    assert_eq!((list.len(), r.f.node.count()), (3, 3));
}
