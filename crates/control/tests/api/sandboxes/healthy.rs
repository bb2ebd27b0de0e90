//! Pauses of sandboxes whose agent does not answer.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    e2b::{code, made, path},
    fixture,
};
use crate::fixture::{Answer, Fixture};

async fn pause(f: &Fixture, sandbox: &Value, body: Value) -> Answer {
    f.post_json(&path(sandbox, "/pause"), &body).await
}

async fn state(f: &Fixture, sandbox: &Value) -> Value {
    f.get(&path(sandbox, "")).await.json::<Value>()["state"].clone()
}

/// Looks at a refusal, after which the sandbox goes on.
async fn assert_refused(f: &Fixture, sandbox: &Value, body: Value) {
    let refused = pause(f, sandbox, body).await;
    assert_eq!(code(&refused), 503, "{refused:?}");
    assert_eq!(refused.headers["should-retry"], "false");
    let message = refused.json::<Value>()["message"].as_str().unwrap().to_owned();
    assert!(message.contains(sandbox["sandboxID"].as_str().unwrap()), "{message}");
    assert_eq!(state(f, sandbox).await, "running");
}

#[tokio::test]
async fn one_that_is_well_is_paused_either_way() {
    let f = fixture().await;
    for body in [
        json!({ "requireHealthyGuest": true }),
        json!({ "requireHealthyGuest": true, "memory": false }),
        json!({ "memory": false }),
    ] {
        let sandbox = made(&f, json!({})).await;
        assert_eq!(pause(&f, &sandbox, body.clone()).await.status, StatusCode::NO_CONTENT);
        assert_eq!(state(&f, &sandbox).await, "paused", "{body}");
        // Which comes before how it is.
        assert_eq!(code(&pause(&f, &sandbox, body).await), 409);
    }
}

#[tokio::test]
async fn one_whose_agent_is_gone_goes_on_where_that_is_wished() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let guest = f.node.guest.lock().unwrap().take();
    assert_refused(&f, &sandbox, json!({ "requireHealthyGuest": true })).await;
    // Without its agent its disk is not written, and without its memory that would be all.
    assert_refused(&f, &sandbox, json!({ "memory": false })).await;
    assert_refused(&f, &sandbox, json!({ "memory": false, "requireHealthyGuest": false })).await;
    for body in [json!({}), json!({ "requireHealthyGuest": false })] {
        assert_eq!(pause(&f, &sandbox, body).await.status, StatusCode::NO_CONTENT);
        let connected = f
            .post_json(&path(&sandbox, "/connect"), &json!({ "timeout": 60 }))
            .await;
        assert_eq!(connected.status, StatusCode::CREATED);
    }
    *f.node.guest.lock().unwrap() = guest;
    let strict = pause(&f, &sandbox, json!({ "requireHealthyGuest": true })).await;
    assert_eq!(strict.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn an_agent_that_hangs_is_not_waited_for_long() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let hangs = f.node.agent.lock().await;
    let from = Instant::now();
    assert_refused(&f, &sandbox, json!({ "requireHealthyGuest": true })).await;
    assert!(from.elapsed() < Duration::from_secs(15), "{:?}", from.elapsed());
    drop(hangs);
    let strict = pause(&f, &sandbox, json!({ "requireHealthyGuest": true })).await;
    assert_eq!(strict.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn hearths_own_call_pauses_whatever_the_agent_says() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    *f.node.guest.lock().unwrap() = None;
    let own = format!("/v1{}", path(&sandbox, "/pause"));
    let paused = f.post_json(&own, &json!({ "memory": false })).await;
    assert_eq!(paused.status, StatusCode::OK, "{paused:?}");
}
