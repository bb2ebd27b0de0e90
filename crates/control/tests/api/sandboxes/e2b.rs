//! The same by E2B's API: its answers, its pages, its errors.

use std::sync::atomic::Ordering;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{fixture, old::lasts};
use crate::{
    fixture::{Answer, Fixture},
    tenancy::asking,
};

/// What an error is, after a look at its body.
pub(super) fn code(answer: &Answer) -> u64 {
    let body: Value = answer.json();
    assert!(
        body["message"].as_str().is_some_and(|text| !text.is_empty()),
        "{answer:?}"
    );
    assert_eq!(answer.headers["content-type"], "application/json");
    let code = body["code"].as_u64().unwrap();
    assert_eq!(code, u64::from(answer.status.as_u16()));
    code
}

pub(super) async fn made(f: &Fixture, mut fields: Value) -> Value {
    fields["templateID"] = "web".into();
    let answer = f.post_json("/v2/sandboxes", &fields).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()
}

pub(super) fn path(sandbox: &Value, rest: &str) -> String {
    format!("/sandboxes/{}{rest}", sandbox["sandboxID"].as_str().unwrap())
}

#[tokio::test]
async fn a_sandbox_lives_as_its_sdks_expect() {
    let f = fixture().await;
    let sandbox = made(
        &f,
        json!({ "metadata": { "a": "b" }, "timeout": 60, "somethingNew": true }),
    )
    .await;
    let token = &sandbox["envdAccessToken"];
    assert!(token.is_string() && sandbox["envdVersion"].is_string() && sandbox["alias"] == "web");
    let seen: Value = f.get(&path(&sandbox, "")).await.json();
    assert_eq!(
        (&seen["state"], &seen["metadata"]["a"]),
        (&json!("running"), &json!("b"))
    );
    assert_eq!(seen["memoryMB"], 256);

    assert_eq!(f.post(&path(&sandbox, "/pause")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(code(&f.post(&path(&sandbox, "/pause")).await), 409);
    let connected = f
        .post_json(&path(&sandbox, "/connect"), &json!({ "timeout": 60 }))
        .await;
    assert_eq!(connected.status, StatusCode::CREATED);
    assert_eq!(&connected.json::<Value>()["envdAccessToken"], token);
    let connected = f
        .post_json(&path(&sandbox, "/connect"), &json!({ "timeout": 60 }))
        .await;
    assert_eq!(connected.status, StatusCode::OK);
    assert_eq!(code(&f.post(&path(&sandbox, "/resume")).await), 409);
    let set = f
        .post_json(&path(&sandbox, "/timeout"), &json!({ "timeout": 90 }))
        .await;
    assert_eq!(set.status, StatusCode::NO_CONTENT);
    assert_eq!(
        f.post(&path(&sandbox, "/refreshes")).await.status,
        StatusCode::NO_CONTENT
    );
    let after: Value = f.get(&path(&sandbox, "")).await.json();
    assert!(after["endAt"].as_str() > seen["endAt"].as_str(), "{after}");

    assert_eq!(f.delete(&path(&sandbox, "")).await.status, StatusCode::NO_CONTENT);
    for gone in [
        f.get(&path(&sandbox, "")).await,
        f.delete(&path(&sandbox, "")).await,
        f.post_json(&path(&sandbox, "/connect"), &json!({ "timeout": 9 })).await,
    ] {
        assert_eq!(code(&gone), 404);
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_in_its_form() {
    let f = fixture().await;
    for (body, status) in [
        (json!({ "templateID": "web", "timeout": 0 }), 400),
        (json!({ "templateID": "none" }), 404),
        (json!({ "templateID": "web", "mcp": {} }), 400),
        (json!({ "templateID": 5 }), 400),
    ] {
        assert_eq!(code(&f.post_json("/v2/sandboxes", &body).await), status, "{body}");
    }
    assert_eq!(code(&f.get("/v2/sandboxes?state=gone").await), 400);
    assert_eq!(code(&f.get("/templates/aliases/none").await), 404);
    assert_eq!(f.get("/templates/aliases/web").await.status, StatusCode::OK);
}

#[tokio::test]
async fn pages_follow_one_another() {
    let f = fixture().await;
    for user in ["ada", "bob", "ada"] {
        made(&f, json!({ "metadata": { "user": user } })).await;
    }
    let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
    for wanted in [2, 1] {
        let page = f.get(&format!("/v2/sandboxes?{query}")).await;
        assert_eq!(page.headers["x-total-running"], "3");
        let rows: Vec<Value> = page.json();
        assert_eq!(rows.len(), wanted);
        seen.extend(rows.iter().map(|row| row["sandboxID"].as_str().unwrap().to_owned()));
        match page.headers.get("x-next-token") {
            Some(next) => query = format!("limit=2&nextToken={}", next.to_str().unwrap()),
            None => assert_eq!(wanted, 1),
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 3);
    let adas: Vec<Value> = f.get("/v2/sandboxes?metadata=user%3Dada").await.json();
    assert_eq!(adas.len(), 2);
}

#[tokio::test]
async fn a_template_is_built_in_two_steps() {
    let f = Fixture::new().await;
    f.node.exec_code.store(0, Ordering::Relaxed);
    let asked = f
        .post_json("/v3/templates", &json!({ "name": "two", "memoryMB": 256 }))
        .await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{asked:?}");
    let asked: Value = asked.json();
    let (template, build) = (
        asked["templateID"].as_str().unwrap(),
        asked["buildID"].as_str().unwrap(),
    );
    let start = format!("/v2/templates/{template}/builds/{build}");
    let body = json!({ "fromImage": crate::fixture::IMAGE });
    assert_eq!(f.post_json(&start, &body).await.status, StatusCode::ACCEPTED);
    assert_eq!(code(&f.post_json(&start, &body).await), 409);
    let status = format!("/templates/{template}/builds/{build}/status");
    let ready = f
        .until(&format!("{status}?logsOffset=0"), |answer| {
            answer.json::<Value>()["status"] == "ready"
        })
        .await;
    let lines = ready.json::<Value>()["logEntries"].as_array().unwrap().len();
    assert!(lines > 0);
    let rest: Value = f.get(&format!("{status}?logsOffset={lines}")).await.json();
    assert_eq!(rest["logEntries"], json!([]));
    let patched = asking(Method::PATCH, "/v2/templates/two", Some(json!({ "public": true })));
    assert_eq!(f.send(patched).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_not_offered_of_networks_is_not_dropped() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let network = json!({ "dns_servers": ["192.0.2.1"] });
    let asked = json!({ "templateID": "web", "network": network });
    assert_eq!(code(&f.post_json("/v2/sandboxes", &asked).await), 400);
    let update = asking(Method::PUT, &path(&sandbox, "/network"), Some(network));
    assert_eq!(code(&f.send(update).await), 400);
}

#[tokio::test]
async fn room_that_is_to_be_left_makes_the_disk_larger() {
    let f = Fixture::new().await;
    for (room, disk) in [(json!(null), 4096), (json!(0), 4096), (json!(20_000), 24_096)] {
        let asked = json!({ "name": "roomy", "minFreeDiskMb": room });
        let asked: Value = f.post_json("/v3/templates", &asked).await.json();
        let template = asked["templateID"].as_str().unwrap();
        let seen: Value = f.get(&format!("/templates/{template}")).await.json();
        assert_eq!(seen["builds"][0]["diskSizeMB"], disk, "{room}");
    }
}

#[tokio::test]
async fn copies_last_as_long_as_the_older_calls_sandboxes() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let copies: Value = f.post_json(&path(&sandbox, "/fork"), &json!({})).await.json();
    assert!((15..60).contains(&lasts(&f, &copies[0]["sandbox"]).await));
    assert_eq!(f.post(&path(&sandbox, "/pause")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(f.post(&path(&sandbox, "/connect")).await.status, StatusCode::CREATED);
    assert!((300..345).contains(&lasts(&f, &sandbox).await));
}

#[tokio::test]
async fn variables_are_bounded() {
    let f = fixture().await;
    let large = json!({ "templateID": "web", "envVars": { "A": "x".repeat(200_000) } });
    for call in ["/sandboxes", "/v2/sandboxes"] {
        assert_eq!(code(&f.post_json(call, &large).await), 400);
    }
}

#[tokio::test]
async fn a_build_that_fails_tells_what_its_step_said() {
    let f = Fixture::new().await;
    let asked: Value = f.post_json("/v3/templates", &json!({ "name": "two" })).await.json();
    let of = |key: &str| asked[key].as_str().unwrap().to_owned();
    let (template, build) = (of("templateID"), of("buildID"));
    // A command of the node in memory gives back 3: so does the one that makes the user.
    let body = json!({ "fromImage": crate::fixture::IMAGE, "steps": [{ "type": "RUN", "args": ["true"] }] });
    let start = format!("/v2/templates/{template}/builds/{build}");
    assert_eq!(f.post_json(&start, &body).await.status, StatusCode::ACCEPTED);
    let status = format!("/templates/{template}/builds/{build}/status");
    let failed = f.until(&status, |answer| answer.json::<Value>()["status"] == "error");
    let reason = failed.await.json::<Value>()["reason"].clone();
    assert_eq!(reason["step"], "base");
    let lines = reason["logEntries"].as_array().unwrap();
    assert!(
        !lines.is_empty() && lines.iter().all(|line| line["step"] == "base"),
        "{reason}"
    );
}

#[tokio::test]
async fn metadata_is_bounded() {
    let f = fixture().await;
    let many: serde_json::Map<_, _> = (0..101).map(|number| (number.to_string(), "x".into())).collect();
    let large = (0..20)
        .map(|number| (number.to_string(), "x".repeat(4000).into()))
        .collect();
    for metadata in [
        Value::Object(many),
        Value::Object(large),
        json!({ "a": "x".repeat(5000) }),
    ] {
        let refused = f
            .post_json("/v2/sandboxes", &json!({ "templateID": "web", "metadata": metadata }))
            .await;
        assert_eq!(code(&refused), 400);
    }
}
