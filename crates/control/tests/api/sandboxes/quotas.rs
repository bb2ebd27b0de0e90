//! How much a project may have: sandboxes by its quota, templates by a bound that is the same for all.

use hearth_api::{ProblemCode, Role};
use hearth_ids::TemplateId;
use hearth_store::{NewTemplate, TEMPLATES_MAX};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    e2b::{code, made, path},
    fixture, store, template_and_sandbox,
};
use crate::{
    fixture::{Answer, Fixture, IMAGE},
    tenancy::Realm,
};

/// Looks at a refusal that nothing but a removal helps with.
fn assert_full(refused: &Answer, of: &str) {
    assert_eq!(code(refused), 429, "{refused:?}");
    assert_eq!(refused.headers["should-retry"], "false");
    let body: Value = refused.json();
    assert_eq!(body["error_code"], "quota_exceeded");
    assert!(body["message"].as_str().unwrap().contains(of), "{body}");
}

#[tokio::test]
async fn a_project_has_as_many_sandboxes_as_its_quota_lets_it() {
    let r = Realm::new().await;
    r.project("a", json!({ "machines": 2 })).await;
    r.project("b", json!({ "memory_mib": 400 })).await;
    for project in ["a", "b"] {
        template_and_sandbox(&r, project).await;
    }
    let (a, b) = (
        r.key("a", Role::Developer, None).await.token,
        r.key("b", Role::Developer, None).await.token,
    );
    let make = async |key: &str| {
        let body = json!({ "templateID": "web" });
        r.ask(key, Method::POST, "/v2/sandboxes", Some(body)).await
    };
    let second = make(&a).await;
    assert_eq!(second.status, StatusCode::CREATED, "{second:?}");
    let second: Value = second.json();
    let refused = make(&a).await;
    assert_full(&refused, "2 machines");
    assert_eq!(refused.headers["retry-after"], "30");
    assert_full(&make(&b).await, "400 MiB");
    // One that is paused is still held.
    let paused = r.ask(&a, Method::POST, &path(&second, "/pause"), None).await;
    assert_eq!(paused.status, StatusCode::NO_CONTENT);
    assert_full(&make(&a).await, "2 machines");
    let body = json!({ "template": "web" });
    let by_hearth = r.ask(&a, Method::POST, "/v1/sandboxes", Some(body)).await.problem();
    assert_eq!(
        (by_hearth.code, by_hearth.field.as_deref()),
        (ProblemCode::QuotaExceeded, Some("machines"))
    );
    // Nothing of those that were refused is left.
    let list: Vec<Value> = r.ask(&a, Method::GET, "/v2/sandboxes", None).await.json();
    assert_eq!((list.len(), r.f.node.count()), (2, 3));

    let killed = r.ask(&a, Method::DELETE, &path(&second, ""), None).await;
    assert_eq!(killed.status, StatusCode::NO_CONTENT);
    assert_eq!(make(&a).await.status, StatusCode::CREATED);
    assert_full(&make(&a).await, "2 machines");
}

/// Gives the project `default`, which has one already, all the templates that it may have.
async fn filled(f: &Fixture) {
    let store = store(f).await;
    let project = store.find_project("default").await.unwrap().unwrap().id;
    for number in 1..TEMPLATES_MAX {
        let new = NewTemplate {
            id: TemplateId::new(),
            project,
            name: Some(format!("t{number}")),
            public: false,
            sandbox: None,
            created_unix_ms: 1,
        };
        store.upsert_template(&new).await.unwrap();
    }
    store.close().await;
}

#[tokio::test]
async fn a_project_has_only_so_many_templates() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    filled(&f).await;
    let snapshots = f.node.snapshot_ids();
    let create = async |name: &str| f.post_json("/v3/templates", &json!({ "name": name })).await;
    assert_full(&create("new").await, "1000 templates");
    // A snapshot of a sandbox is one as well.
    let copied = f.post_json(&path(&sandbox, "/snapshots"), &json!({})).await;
    assert_full(&copied, "1000 templates");
    assert_eq!(f.node.snapshot_ids(), snapshots);
    let by_hearth = f
        .post_json("/v1/templates", &json!({ "name": "new", "image": IMAGE }))
        .await;
    assert_eq!(by_hearth.problem().code, ProblemCode::QuotaExceeded);
    // A further build of one that is there makes no template.
    assert_eq!(create("web").await.status, StatusCode::ACCEPTED);
    assert_eq!(f.delete("/templates/t7").await.status, StatusCode::NO_CONTENT);
    assert_eq!(create("new").await.status, StatusCode::ACCEPTED);
    assert_full(&create("newer").await, "1000 templates");
}
