//! The older calls of E2B's API, which its command line and older SDKs send.

use hearth_node_api::NodeService as _;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    e2b::{code, made, path},
    fixture,
};
use crate::fixture::Fixture;

/// How long a sandbox lasts from when it began, in seconds. It counts from when it was ready, a little later.
pub(super) async fn lasts(f: &Fixture, sandbox: &Value) -> i64 {
    let seen: Value = f.get(&path(sandbox, "")).await.json();
    let time = |field: &str| -> jiff::Timestamp { seen[field].as_str().unwrap().parse().unwrap() };
    time("endAt").duration_since(time("startedAt")).as_secs()
}

async fn paused(f: &Fixture, sandbox: &Value, memory: bool) {
    let answer = f
        .post_json(&path(sandbox, "/pause"), &json!({ "memory": memory }))
        .await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
}

async fn on_timeout(f: &Fixture, sandbox: &Value) -> Value {
    let seen: Value = f.get(&path(sandbox, "")).await.json();
    seen["lifecycle"]["onTimeout"].clone()
}

#[tokio::test]
async fn one_that_is_made_lasts_a_quarter_of_a_minute_and_has_a_token() {
    let f = fixture().await;
    let body = json!({ "templateID": "web", "secure": false, "metadata": { "a": "b" } });
    let answer = f.post_json("/sandboxes", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let old: Value = answer.json();
    assert!(
        old["envdAccessToken"].is_string() && old["clientID"].is_string(),
        "{old}"
    );
    assert_eq!(answer.headers["location"].to_str().unwrap(), path(&old, ""));
    assert!((15..60).contains(&lasts(&f, &old).await));
    let new = made(&f, json!({})).await;
    assert!((300..345).contains(&lasts(&f, &new).await));
    let told: Value = f
        .post_json("/sandboxes", &json!({ "templateID": "web", "timeout": 100 }))
        .await
        .json();
    assert!((100..145).contains(&lasts(&f, &told).await));
}

#[tokio::test]
async fn those_are_listed_that_run() {
    let f = fixture().await;
    let (ada, bob) = (
        made(&f, json!({ "metadata": { "user": "ada" } })).await,
        made(&f, json!({ "metadata": { "user": "bob" } })).await,
    );
    let rests = made(&f, json!({ "metadata": { "user": "ada" } })).await;
    paused(&f, &rests, true).await;
    let list = async |query: &str| -> Vec<Value> {
        let answer = f.get(&format!("/sandboxes?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert!(!answer.headers.contains_key("x-next-token"));
        let rows: Vec<Value> = answer.json();
        assert!(rows.iter().all(|row| row["state"] == "running"), "{rows:?}");
        rows.into_iter().map(|row| row["sandboxID"].clone()).collect()
    };
    // The newest first.
    assert_eq!(list("").await, [bob["sandboxID"].clone(), ada["sandboxID"].clone()]);
    assert_eq!(list("metadata=user%3Dada").await, [ada["sandboxID"].clone()]);
    assert!(list("metadata=user%3Deve").await.is_empty());
    // It has no pages, and knows of no others.
    assert_eq!(list("state=paused").await.len(), 2);
    assert_eq!(list("limit=1").await.len(), 2);
}

#[tokio::test]
async fn one_that_is_resumed_lasts_as_long_as_is_said() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let resume = async |body: Value| f.post_json(&path(&sandbox, "/resume"), &body).await;
    for (body, seconds) in [(json!({}), 15), (json!({ "timeout": 600 }), 600)] {
        paused(&f, &sandbox, true).await;
        let resumed = resume(body).await;
        assert_eq!(resumed.status, StatusCode::CREATED, "{resumed:?}");
        assert_eq!(resumed.json::<Value>()["envdAccessToken"], sandbox["envdAccessToken"]);
        let lasts = lasts(&f, &sandbox).await;
        assert!((seconds..seconds + 45).contains(&lasts), "{lasts} s");
    }
    assert_eq!(code(&resume(json!({ "timeout": 60 })).await), 409);
    paused(&f, &sandbox, true).await;
    for wrong in [
        json!({ "timeout": 0 }),
        json!({ "timeout": "x" }),
        json!({ "autoPause": 1 }),
    ] {
        assert_eq!(code(&resume(wrong).await), 400);
    }
    let seen: Value = f.get(&path(&sandbox, "")).await.json();
    assert_eq!(seen["state"], "paused");
}

#[tokio::test]
async fn what_becomes_of_one_at_its_end_may_change_when_it_is_resumed() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let resume = async |body: Value| {
        paused(&f, &sandbox, true).await;
        let resumed = f.post_json(&path(&sandbox, "/resume"), &body).await;
        assert_eq!(resumed.status, StatusCode::CREATED, "{resumed:?}");
    };
    for (body, wanted) in [
        (json!({}), "kill"),
        (json!({ "autoPause": true }), "pause"),
        (json!({}), "pause"),
        (json!({ "autoPause": false }), "kill"),
    ] {
        resume(body.clone()).await;
        assert_eq!(on_timeout(&f, &sandbox).await, wanted, "{body}");
    }
    // A call that resumes nothing changes nothing.
    let body = json!({ "autoPause": true });
    assert_eq!(code(&f.post_json(&path(&sandbox, "/resume"), &body).await), 409);
    assert_eq!(on_timeout(&f, &sandbox).await, "kill");
    resume(json!({ "timeout": 1, "autoPause": true })).await;
    f.until(&path(&sandbox, ""), |answer| {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json::<Value>()["state"] == "paused"
    })
    .await;
}

#[tokio::test]
async fn a_boot_instead_of_a_restore_is_not_passed_over() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    for call in ["/resume", "/connect"] {
        paused(&f, &sandbox, true).await;
        let mut news = f.node.events();
        let booted = f
            .post_json(&path(&sandbox, call), &json!({ "timeout": 60, "memory": false }))
            .await;
        assert_eq!(booted.status, StatusCode::CREATED, "{call}");
        // Who boots has been at rest before.
        let mut events = std::iter::from_fn(|| news.try_recv().ok());
        assert!(events.any(|event| event.state.is_at_rest()), "{call}");
    }
    // Where there is no memory, nothing is asked for.
    let sandbox = made(&f, json!({})).await;
    paused(&f, &sandbox, false).await;
    let resumed = f
        .post_json(&path(&sandbox, "/resume"), &json!({ "memory": false }))
        .await;
    assert_eq!(resumed.status, StatusCode::CREATED, "{resumed:?}");
    let runs = f
        .post_json(&path(&sandbox, "/resume"), &json!({ "memory": false }))
        .await;
    assert_eq!(code(&runs), 409);
}
