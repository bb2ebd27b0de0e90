//! Lists of sandboxes: filters, pages, counts.

use hearth_api::{ProblemCode, Sandbox, SandboxList};
use http::StatusCode;
use serde_json::json;

use super::{fixture, made, path};
use crate::fixture::Fixture;

async fn list(f: &Fixture, query: &str) -> SandboxList {
    let answer = f.get(&format!("/v1/sandboxes?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

fn ids(list: &SandboxList) -> Vec<String> {
    list.sandboxes.iter().map(|sandbox| sandbox.id.to_string()).collect()
}

#[tokio::test]
async fn pages_follow_one_another_and_tell_how_many_there_are() {
    let f = fixture().await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(made(&f, json!({})).await.id.to_string());
    }
    all.sort_unstable();
    all.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(&f, &format!("limit=2{cursor}")).await;
        assert_eq!(page.total, 5);
        assert!(page.sandboxes.len() <= 2 && page.sandboxes.iter().all(|s| s.access_token.is_none()));
        seen.extend(ids(&page));
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, all);
    for (query, field) in [("cursor=x", "cursor"), ("limit=0", "limit"), ("limit=1001", "limit")] {
        let refused = f.get(&format!("/v1/sandboxes?{query}")).await;
        assert_eq!(refused.problem().field.as_deref(), Some(field));
    }
}

#[tokio::test]
async fn those_are_listed_that_are_asked_for() {
    let f = fixture().await;
    let ada = made(&f, json!({ "metadata": { "user": "ada & co", "app": "x" } })).await;
    let bob = made(&f, json!({ "metadata": { "user": "bob", "app": "x" } })).await;
    let one = |sandbox: &Sandbox| vec![sandbox.id.to_string()];
    assert_eq!(ids(&list(&f, "metadata=user%3Dada%2520%2526%2520co").await), one(&ada));
    assert_eq!(list(&f, "metadata=app%3Dx").await.total, 2);
    assert_eq!(list(&f, "metadata=app%3Dx%26user%3Dbob").await.total, 1);
    assert_eq!(list(&f, "metadata=app").await.total, 0);
    assert_eq!(f.post(&path(&bob, "/pause")).await.status, StatusCode::OK);
    assert_eq!(ids(&list(&f, "state=paused").await), one(&bob));
    assert_eq!(ids(&list(&f, "state=running").await), one(&ada));
    assert_eq!(list(&f, "state=stopped").await.total, 0);
    assert_eq!(list(&f, "template=web").await.total, 2);
    assert_eq!(list(&f, &format!("template={}", ada.template)).await.total, 2);
    assert_eq!(list(&f, "template=other").await.total, 0);
    assert!(f.get("/v1/sandboxes?state=gone").await.status.is_client_error());
}

#[tokio::test]
async fn a_beginning_of_an_id_will_do_that_only_one_has() {
    let f = fixture().await;
    let first = made(&f, json!({})).await;
    let found: Sandbox = f.get("/v1/sandboxes/sbx").await.json();
    assert_eq!(found.id, first.id);
    made(&f, json!({})).await;
    let either = f.get("/v1/sandboxes/sbx").await;
    assert_eq!(either.problem().code, ProblemCode::Ambiguous);
    for wrong in ["sbxx", "x", "SBX"] {
        let absent = f.get(&format!("/v1/sandboxes/{wrong}")).await;
        assert_eq!(absent.problem().code, ProblemCode::SandboxNotFound, "{wrong}");
    }
}
