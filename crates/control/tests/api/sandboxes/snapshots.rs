//! Snapshots of sandboxes by E2B's API: each has a tag of a template's, and goes by itself.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    built,
    e2b::{code, made, path},
    fixture,
};
use crate::fixture::{Answer, Fixture};

async fn take(f: &Fixture, sandbox: &Value, body: Value) -> Answer {
    f.post_json(&path(sandbox, "/snapshots"), &body).await
}

/// A snapshot of this name, which has been made.
async fn taken(f: &Fixture, sandbox: &Value, name: &str) -> Value {
    let answer = take(f, sandbox, json!({ "name": name })).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()
}

async fn ids(f: &Fixture, query: &str) -> Vec<String> {
    let listed: Vec<Value> = f.get(&format!("/snapshots{query}")).await.json();
    let id = |snapshot: &Value| snapshot["snapshotID"].as_str().unwrap().to_owned();
    listed.iter().map(id).collect()
}

fn id(snapshot: &Value) -> &str {
    snapshot["snapshotID"].as_str().unwrap()
}

#[tokio::test]
async fn each_tag_is_a_snapshot() {
    let f = fixture().await;
    let (one, other) = (made(&f, json!({})).await, made(&f, json!({})).await);
    let first = taken(&f, &one, "kept:v1").await;
    let second = taken(&f, &other, "kept:v2").await;
    assert_eq!(first["names"], json!(["default/kept:v1"]));
    assert!(id(&first).ends_with(":v1") && id(&second).ends_with(":v2"));
    assert_eq!(ids(&f, "").await, [id(&second), id(&first)]);
    // Each is of who made it.
    let of = |sandbox: &Value| format!("?sandboxID={}", sandbox["sandboxID"].as_str().unwrap());
    assert_eq!(ids(&f, &of(&one)).await, [id(&first)]);
    assert_eq!(ids(&f, &of(&other)).await, [id(&second)]);
    for (name, found) in [
        ("kept", 2),
        ("kept:v1", 1),
        ("default/kept", 2),
        ("default/kept:v2", 1),
        ("kept:v3", 0),
        ("other/kept", 0),
    ] {
        assert_eq!(ids(&f, &format!("?name={name}")).await.len(), found, "{name}");
    }
    // And is made of by its own.
    let snapshots = f.node.snapshot_ids().len();
    for snapshot in [&first, &second] {
        let body = json!({ "templateID": id(snapshot) });
        assert_eq!(f.post_json("/v2/sandboxes", &body).await.status, StatusCode::CREATED);
    }
    let body = json!({ "templateID": "kept" });
    assert_eq!(code(&f.post_json("/v2/sandboxes", &body).await), 404);
    // One goes, and the other stays.
    let gone = f.delete(&format!("/templates/{}", id(&first))).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(code(&f.delete(&format!("/templates/{}", id(&first))).await), 404);
    assert_eq!(ids(&f, "").await, [id(&second)]);
    assert_eq!(f.node.snapshot_ids().len(), snapshots - 1);
    let gone = f.delete(&format!("/templates/{}", id(&second))).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(ids(&f, "").await, [""; 0]);
    assert_eq!(f.node.snapshot_ids().len(), snapshots - 2);
}

#[tokio::test]
async fn snapshots_come_by_pages() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let mut all = Vec::new();
    for name in ["a", "b:x", "b:y"] {
        all.insert(0, id(&taken(&f, &sandbox, name).await).to_owned());
    }
    let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
    for wanted in [2, 1] {
        let page = f.get(&format!("/snapshots?{query}")).await;
        let rows: Vec<Value> = page.json();
        assert_eq!(rows.len(), wanted);
        seen.extend(rows.iter().map(|row| id(row).to_owned()));
        match page.headers.get("x-next-token") {
            Some(next) => query = format!("limit=2&nextToken={}", next.to_str().unwrap()),
            None => assert_eq!(wanted, 1),
        }
    }
    assert_eq!(seen, all);
    assert_eq!(code(&f.get("/snapshots?nextToken=none").await), 400);
}

#[tokio::test]
async fn a_snapshot_takes_no_name_from_a_template_nor_the_other_way_round() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    assert_eq!(code(&take(&f, &sandbox, json!({ "name": "web" })).await), 409);
    assert_eq!(built(&f).await.tags.len(), 1, "it is as it was");
    taken(&f, &sandbox, "kept").await;
    assert_eq!(
        code(&f.post_json("/v3/templates", &json!({ "name": "kept" })).await),
        409
    );
}
