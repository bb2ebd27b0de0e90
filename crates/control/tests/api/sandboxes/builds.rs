//! What builds of templates may take: how many there are, how large, for how long, and what is left of them.

use hearth_api::{BuildState, ProblemCode, Template, TemplateBuild, TemplateList};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    fixture::{Answer, Fixture, IMAGE},
    program::until,
    tenancy::{Realm, asking},
};

/// Asks for a build that is never ready: no command of the node in memory ends well.
async fn endless(f: &Fixture, name: &str) -> Answer {
    let body = json!({ "name": name, "image": IMAGE, "memory_mib": 256, "ready_cmd": "false" });
    f.post_json("/v1/templates", &body).await
}

#[tokio::test]
async fn a_project_has_twenty_builds_that_are_not_over() {
    let f = Fixture::new().await;
    for _ in 0..19 {
        assert_eq!(endless(&f, "web").await.status, StatusCode::ACCEPTED);
    }
    let asked = json!({ "name": "e2b" });
    let waits = f.post_json("/v3/templates", &asked).await;
    assert_eq!(waits.status, StatusCode::ACCEPTED, "{waits:?}");
    let refused = endless(&f, "another").await;
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    let refused = refused.problem();
    assert_eq!((refused.code, refused.status), (ProblemCode::QuotaExceeded, 429));
    assert!(refused.detail.contains("20 builds"), "{refused:?}");
    let refused = f.post_json("/v3/templates", &asked).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json::<Value>()["code"], 429, "{refused:?}");
    let list: TemplateList = f.get("/v1/templates").await.json();
    assert_eq!(list.templates.len(), 2, "{list:?}");
    assert_eq!(f.delete("/v1/templates/web").await.status, StatusCode::NO_CONTENT);
    assert_eq!(endless(&f, "another").await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn of_builds_that_failed_the_last_ten_are_kept() {
    let f = Fixture::new().await;
    let body = json!({ "name": "web", "image": IMAGE, "steps": [{ "kind": "run", "args": ["false"] }] });
    let mut first = None;
    for _ in 0..12 {
        let build: TemplateBuild = f.post_json("/v1/templates", &body).await.json();
        let path = format!("/v1/templates/web/builds/{}", build.id);
        f.until(&path, |answer| answer.json::<TemplateBuild>().state.is_over())
            .await;
        first.get_or_insert(path);
    }
    let kept = until(async || {
        let template: Template = f.get("/v1/templates/web").await.json();
        (template.builds.len() == 10).then_some(template.builds)
    })
    .await;
    assert!(kept.iter().all(|build| build.state == BuildState::Failed), "{kept:?}");
    assert_eq!(f.get(&first.unwrap()).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_template_has_a_hundred_tags_and_fifty_at_a_time() {
    let f = Fixture::new().await;
    super::built(&f).await;
    let tags = |from: u32, to: u32| (from..to).map(|n| format!("v{n}")).collect::<Vec<_>>();
    let tag = async |tags: Vec<String>| {
        let body = json!({ "target": "web", "tags": tags });
        f.post_json("/templates/tags", &body).await
    };
    assert_eq!(tag(tags(0, 51)).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(tag(tags(0, 50)).await.status, StatusCode::CREATED);
    // With `default`, one too many.
    let refused = tag(tags(50, 100)).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{refused:?}");
    assert_eq!(refused.json::<Value>()["error_code"], "quota_exceeded");
    assert_eq!(tag(tags(50, 99)).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn removing_a_template_ends_its_build_and_gives_others_its_turn() {
    let f = Fixture::new().await;
    assert_eq!(endless(&f, "web").await.status, StatusCode::ACCEPTED);
    until(async || (f.node.count() == 1).then_some(())).await;
    // It waits for the turn of its project.
    let next = json!({ "name": "next", "image": IMAGE, "memory_mib": 256 });
    assert_eq!(f.post_json("/v1/templates", &next).await.status, StatusCode::ACCEPTED);
    assert_eq!(f.delete("/v1/templates/web").await.status, StatusCode::NO_CONTENT);
    super::until_ready(&f, "next").await;
    assert_eq!(f.node.count(), 0);
}

#[tokio::test]
async fn what_the_project_may_never_hold_is_not_built() {
    let r = Realm::new().await;
    r.project("small", json!({ "cpus": 4, "memory_mib": 1024 })).await;
    let ask = async |path: &str, body: Value| {
        let mut request = asking(Method::POST, path, Some(body));
        let headers = request.headers_mut();
        headers.insert("x-hearth-project", "small".parse().unwrap());
        r.f.send(request).await
    };
    let large = json!({ "name": "web", "image": IMAGE, "memory_mib": 2048 });
    let refused = ask("/v1/templates", large).await.problem();
    assert_eq!(
        (refused.code, refused.field.as_deref()),
        (ProblemCode::QuotaExceeded, Some("memory_mib"))
    );
    let wide = ask("/v3/templates", json!({ "name": "web", "cpuCount": 8 })).await;
    assert_eq!(wide.status, StatusCode::TOO_MANY_REQUESTS, "{wide:?}");
    let fits = ask(
        "/v1/templates",
        json!({ "name": "web", "image": IMAGE, "memory_mib": 1024 }),
    )
    .await;
    assert_eq!(fits.status, StatusCode::ACCEPTED, "{fits:?}");
}
