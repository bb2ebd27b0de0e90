//! What goes wrong, as E2B's clients are told: the status, the same in the body, and whether to send it again.

use bytes::Bytes;
use hearth_api::Role;
use hearth_domain::Capacity;
use hearth_node_api::{ErrorKind, NodeError};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{
    e2b::{code, made, path},
    fixture, template_and_sandbox,
};
use crate::{
    fixture::{Answer, Fixture, json_request, request},
    tenancy::Realm,
};

/// Looks at a refusal: its status, what kind it is, and whether it should be sent again, where that is said.
#[track_caller]
fn assert_told(refused: &Answer, status: u64, kind: &str, again: Option<&str>) {
    assert_eq!(code(refused), status, "{refused:?}");
    let body: Value = refused.json();
    assert_eq!(body["error_code"], kind, "{body}");
    let said = refused.headers.get("should-retry");
    assert_eq!(said.map(|said| said.to_str().unwrap()), again, "{refused:?}");
    assert!(refused.headers.contains_key("x-request-id"));
}

async fn make(f: &Fixture) -> Answer {
    f.post_json("/v2/sandboxes", &json!({ "templateID": "web" })).await
}

#[tokio::test]
async fn what_a_client_did_wrong_is_not_worth_sending_again() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let wrong = f
        .post_json("/v2/sandboxes", &json!({ "templateID": "web", "timeout": -1 }))
        .await;
    assert_told(&wrong, 400, "invalid_field", None);
    let broken = f.send(json_request("/v2/sandboxes", b"{".to_vec())).await;
    assert_told(&broken, 400, "invalid_request", None);
    let untyped: Request<Full<Bytes>> = request(Method::POST, "/v2/sandboxes")
        .body(Full::from(r#"{"templateID":"web"}"#))
        .unwrap();
    assert_told(&f.send(untyped).await, 400, "unsupported_media_type", None);
    assert_told(&f.get("/v2/sandboxes?limit=0").await, 400, "invalid_field", None);
    assert_told(&f.get("/sandboxes/none").await, 404, "sandbox_not_found", None);
    assert_told(&f.delete("/templates/none").await, 404, "template_not_found", None);
    assert_told(&f.get("/v2/nothing/here").await, 404, "not_found", None);
    let method = f.call(Method::PUT, "/v2/sandboxes").await;
    assert_told(&method, 405, "method_not_allowed", None);
    assert_eq!(f.post(&path(&sandbox, "/pause")).await.status, StatusCode::NO_CONTENT);
    let twice = f.post(&path(&sandbox, "/pause")).await;
    assert_told(&twice, 409, "state_conflict", None);
}

#[tokio::test]
async fn a_key_that_made_one_thing_makes_no_other() {
    let f = fixture().await;
    let make = async |timeout: u32| {
        let body = json!({ "templateID": "web", "timeout": timeout });
        let mut request = json_request("/v2/sandboxes", serde_json::to_vec(&body).unwrap());
        request.headers_mut().insert("idempotency-key", "once".parse().unwrap());
        f.send(request).await
    };
    let first: Value = make(60).await.json();
    let again = make(60).await;
    assert_eq!(again.status, StatusCode::CREATED, "{again:?}");
    assert_eq!(again.json::<Value>()["sandboxID"], first["sandboxID"]);
    assert_told(&make(61).await, 400, "idempotency_mismatch", None);
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let r = Realm::new().await;
    r.project("a", json!({})).await;
    template_and_sandbox(&r, "a").await;
    let viewer = r.key("a", Role::Viewer, None).await.token;
    let body = || Some(json!({ "templateID": "web" }));
    let unknown = r.ask("hth_no", Method::POST, "/v2/sandboxes", body()).await;
    assert_told(&unknown, 401, "unauthorized", None);
    let looks = r.ask(&viewer, Method::POST, "/v2/sandboxes", body()).await;
    assert_told(&looks, 403, "forbidden", None);
}

#[tokio::test]
async fn who_asks_too_often_may_ask_again_in_a_moment() {
    let r = Realm::new().await;
    r.project("slow", json!({ "requests_per_second": 1 })).await;
    let key = r.key("slow", Role::Viewer, None).await.token;
    let refused = crate::program::until(async || {
        let answer = r.ask(&key, Method::GET, "/v2/sandboxes", None).await;
        (answer.status != StatusCode::OK).then_some(answer)
    })
    .await;
    assert_told(&refused, 429, "too_many_requests", Some("true"));
    assert_eq!(refused.headers["retry-after"], "1");
}

#[tokio::test]
async fn what_a_node_cannot_do_is_told_by_why() {
    let f = fixture().await;
    for (kind, status, word, again) in [
        (ErrorKind::Internal, 500, "internal", None),
        (ErrorKind::Unavailable, 503, "unavailable", Some("false")),
        (ErrorKind::Timeout, 504, "timeout", Some("false")),
        (ErrorKind::Conflict, 409, "state_conflict", None),
    ] {
        *f.node.refusal.lock().unwrap() = Some(NodeError::new(kind, "not today"));
        let refused = make(&f).await;
        assert_told(&refused, status, word, again);
        assert_eq!(refused.json::<Value>()["message"], "not today");
    }
    f.node.has(Capacity {
        cpu_millis: 100,
        memory_mib: 100,
    });
    assert_told(&make(&f).await, 503, "no_capacity", Some("false"));
    // Nothing of those is left, neither here nor there.
    assert_eq!(f.get("/v2/sandboxes").await.json::<Value>(), json!([]));
    assert_eq!(f.node.count(), 0);
}
