//! Templates: builds, tags, who may use them, and their removal.

use hearth_api::{BuildState, ProblemCode, Sandbox, Template, TemplateBuild, TemplateFiles, TemplateList};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{built, fixture, made, until_ready};
use crate::{
    fixture::{Answer, Fixture, IMAGE},
    tenancy::asking,
};

async fn patched(f: &Fixture, path: &str, body: Value) -> Answer {
    f.send(asking(Method::PATCH, &format!("/v1/templates/{path}"), Some(body)))
        .await
}

#[tokio::test]
async fn a_build_is_followed_by_its_log() {
    let f = Fixture::new().await;
    let body = json!({ "name": "web:v1", "image": IMAGE, "tags": ["blue"], "public": true });
    let begun = f.post_json("/v1/templates", &body).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{begun:?}");
    let build: TemplateBuild = begun.json();
    assert_eq!(build.state, BuildState::Building);
    let path = format!("/v1/templates/web/builds/{}", build.id);
    let over = f
        .until(&path, |answer| answer.json::<TemplateBuild>().state.is_over())
        .await;
    let over: TemplateBuild = over.json();
    assert_eq!((over.state, over.reason), (BuildState::Ready, None));
    assert!(over.snapshot.is_some() && over.finished_at.is_some());
    let words: Vec<_> = over.log.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(words.first(), Some(&format!("FROM {IMAGE}").as_str()));
    assert_eq!(words.last(), Some(&"the template is ready"));
    let rest: TemplateBuild = f.get(&format!("{path}?log_from=1&limit=1")).await.json();
    assert_eq!(rest.log, over.log[1..2]);
    let template = until_ready(&f, "web").await;
    assert!(template.public);
    let tags: Vec<_> = template.tags.iter().map(|row| (row.tag.as_str(), row.build)).collect();
    assert_eq!(tags, [("blue", build.id), ("v1", build.id)]);
    assert!(
        !f.node.snapshot_ids().is_empty() && f.node.count() == 0,
        "its machine is gone"
    );
}

#[tokio::test]
async fn a_build_that_fails_says_at_which_step() {
    let f = Fixture::new().await;
    // A command of the node in memory gives back 3.
    let steps = json!([{ "kind": "env", "args": ["A", "1"] }, { "kind": "run", "args": ["false"] }]);
    let body = json!({ "name": "web", "image": IMAGE, "steps": steps });
    let build: TemplateBuild = f.post_json("/v1/templates", &body).await.json();
    let path = format!("/v1/templates/web/builds/{}", build.id);
    let over = f
        .until(&path, |answer| answer.json::<TemplateBuild>().state.is_over())
        .await;
    let over: TemplateBuild = over.json();
    assert_eq!((over.state, over.step.as_deref()), (BuildState::Failed, Some("2")));
    assert!(over.reason.unwrap().contains("exit code 3"));
    assert_eq!(f.node.count(), 0);
    let unusable = f.post_json("/v1/sandboxes", &json!({ "template": "web" })).await;
    assert_eq!(unusable.problem().code, ProblemCode::TemplateNotFound);
}

#[tokio::test]
async fn what_cannot_be_built_leaves_no_template() {
    let f = Fixture::new().await;
    for (body, field) in [
        (json!({ "name": "Web", "image": IMAGE }), Some("name")),
        (json!({ "name": "web" }), Some("image")),
        (json!({ "name": "web", "image": IMAGE, "template": "x" }), Some("image")),
        (json!({ "name": "web", "image": IMAGE, "cpus": 0 }), Some("cpus")),
        (json!({ "name": "web", "image": IMAGE, "tags": ["a b"] }), Some("tags")),
        (
            json!({ "name": "web", "image": IMAGE, "steps": [{ "kind": "run" }] }),
            Some("steps[0]"),
        ),
        (json!({ "name": "other/web", "image": IMAGE }), Some("name")),
        (json!({ "name": "web", "image": "none" }), None),
    ] {
        let refused = f.post_json("/v1/templates", &body).await;
        assert_eq!(refused.problem().field.as_deref(), field, "{body}");
    }
    let list: TemplateList = f.get("/v1/templates").await.json();
    assert!(list.templates.is_empty(), "{list:?}");
}

#[tokio::test]
async fn tags_and_who_may_use_it_are_changed() {
    let f = fixture().await;
    let tagged = patched(&f, "web", json!({ "tag": ["stable", "v1"], "public": true })).await;
    let tagged: Template = tagged.json();
    let tags: Vec<_> = tagged.tags.iter().map(|row| row.tag.as_str()).collect();
    assert_eq!((tags, tagged.public), (vec!["default", "stable", "v1"], true));
    let of_tag = json!({ "template": "web:stable" });
    assert_eq!(f.post_json("/v1/sandboxes", &of_tag).await.status, StatusCode::CREATED);
    let untagged: Template = patched(&f, "web:v1", json!({ "untag": ["stable"] })).await.json();
    assert!(untagged.public && untagged.tags.len() == 2);
    let none = patched(&f, "web:stable", json!({ "tag": ["x"] })).await;
    assert_eq!(none.problem().code, ProblemCode::TemplateNotFound);
    let wrong = patched(&f, "web", json!({ "tag": ["a/b"] })).await;
    assert_eq!(wrong.problem().field.as_deref(), Some("tag"));
    assert!(f.post_json("/v1/sandboxes", &of_tag).await.status.is_client_error());
}

#[tokio::test]
async fn sandboxes_outlive_their_template() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let list: TemplateList = f.get("/v1/templates").await.json();
    let names: Vec<_> = list.templates.iter().map(|template| template.names.join(" ")).collect();
    assert_eq!(names, ["web"]);
    assert_eq!(list.templates[0].sandboxes, 1);
    assert_eq!(f.delete("/v1/templates/web").await.status, StatusCode::NO_CONTENT);
    assert!(f.node.snapshot_ids().is_empty());
    let absent = f.get("/v1/templates/web").await;
    assert_eq!(absent.problem().code, ProblemCode::TemplateNotFound);
    assert_eq!(super::seen(&f, &sandbox).await.id, sandbox.id);
    built(&f).await;
    let again: Sandbox = made(&f, json!({})).await;
    assert_ne!(again.template, sandbox.template);
}

#[tokio::test]
async fn files_are_kept_by_their_hash() {
    let f = Fixture::new().await;
    let path = format!("/v1/template-files/{}", "0a".repeat(32));
    let present = async || f.get(&path).await.json::<TemplateFiles>().present;
    assert!(!present().await);
    assert_eq!(f.call(Method::PUT, &path).await.status, StatusCode::NO_CONTENT);
    assert!(present().await);
    for wrong in ["x", "..%2F..%2Fetc%2Fpasswd", "0a0g0a0g0a0g0a0g0a0g0a0g0a0g0a0g"] {
        let refused = f.get(&format!("/v1/template-files/{wrong}")).await;
        assert_eq!(refused.problem().field.as_deref(), Some("hash"), "{wrong}");
    }
}
