//! Secrets and teams, as E2B's clients ask for them.

use hearth_api::Role;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::e2b::code;
use crate::{
    fixture::Fixture,
    tenancy::{Realm, asking},
};

async fn made(f: &Fixture, body: Value) -> Value {
    let answer = f.post_json("/secrets", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_secret_is_made_once_updated_and_destroyed_and_never_told() {
    let f = Fixture::new().await;
    let body = json!({ "name": "API_Key", "value": "hush-hush", "metadata": { "team": "a" } });
    let first = made(&f, body.clone()).await;
    assert_eq!(
        (&first["name"], &first["currentVersion"], &first["metadata"]["team"]),
        (&"api_key".into(), &1.into(), &"a".into())
    );
    assert_eq!(code(&f.post_json("/secrets", &body).await), 409);

    let id = first["secretID"].as_str().unwrap().to_owned();
    assert!(id.starts_with("sec_"), "{id}");
    for path in [
        "/secrets/api_key".to_owned(),
        "/secrets/API_KEY".to_owned(),
        format!("/secrets/{id}"),
    ] {
        let seen = f.get(&path).await;
        assert_eq!(seen.json::<Value>(), first, "{path}");
        assert!(!String::from_utf8_lossy(&seen.body).contains("hush"));
    }
    let updated = f
        .post_json(&format!("/secrets/{id}"), &json!({ "value": "anew" }))
        .await;
    assert_eq!(updated.status, StatusCode::OK, "{updated:?}");
    let updated: Value = updated.json();
    assert_eq!(
        (&updated["currentVersion"], &updated["metadata"]["team"]),
        (&2.into(), &"a".into())
    );
    let replaced = json!({ "value": "x", "metadata": {} });
    let replaced: Value = f.post_json("/secrets/api_key", &replaced).await.json();
    assert_eq!(replaced["metadata"], json!({}));

    let listed = f.get("/v1/secrets").await;
    assert!(
        String::from_utf8_lossy(&listed.body).contains("api_key"),
        "it is one of the project's own"
    );
    let remove = || asking(Method::DELETE, "/secrets/api_key", None);
    assert_eq!(f.send(remove()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(code(&f.send(remove()).await), 404);
    assert_eq!(code(&f.get("/secrets/api_key").await), 404);
    assert_eq!(
        code(&f.post_json("/secrets/api_key", &json!({ "value": "x" })).await),
        404
    );
}

#[tokio::test]
async fn what_a_secret_cannot_be_is_refused_by_its_field() {
    let f = Fixture::new().await;
    for (body, field) in [
        (json!({ "name": "sec_x", "value": "x" }), "name"),
        (json!({ "name": "a b", "value": "x" }), "name"),
        (json!({ "name": "a", "value": "" }), "value"),
        (json!({ "name": "a", "value": "hush".repeat(20_000) }), "value"),
        (
            json!({ "name": "a", "value": "x", "metadata": { "k": "v".repeat(2000) } }),
            "metadata",
        ),
        (json!({ "value": "x" }), "name"),
    ] {
        let refused = f.post_json("/secrets", &body).await;
        assert_eq!(code(&refused), 400, "{field}");
        let said = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(said.contains(field) && !said.contains("hushhush"), "{said}");
    }
    assert_eq!(code(&f.get("/secrets?limit=0").await), 400);
}

#[tokio::test]
async fn secrets_come_by_pages() {
    let f = Fixture::new().await;
    for name in ["b", "a", "c"] {
        made(&f, json!({ "name": name, "value": "x" })).await;
    }
    let (mut names, mut next) = (Vec::new(), String::new());
    loop {
        let page = f.get(&format!("/secrets?limit=2&nextToken={next}")).await;
        let listed: Vec<Value> = page.json();
        names.extend(listed.iter().map(|secret| secret["name"].as_str().unwrap().to_owned()));
        match page.headers.get("x-next-token") {
            Some(token) => next = token.to_str().unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_team_is_the_keys_project() {
    let r = Realm::new().await;
    r.project("a", json!({})).await;
    let key = r.key("a", Role::Viewer, None).await.token;
    let teams: Value = r.ask(&key, Method::GET, "/teams", None).await.json();
    assert_eq!(
        (&teams[0]["name"], &teams[0]["apiKey"], &teams[1]),
        (&"a".into(), &"".into(), &Value::Null)
    );
}
