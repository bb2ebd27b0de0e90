//! Templates: builds, tags, who may use them, and their removal.

use std::sync::atomic::Ordering;

use hearth_api::{BuildState, ProblemCode, Sandbox, Template, TemplateBuild, TemplateFiles, TemplateList};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{built, fixture, made, until_ready};
use crate::{
    fixture::{Answer, Fixture, IMAGE},
    tenancy::{Realm, asking},
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

/// What a build said, once it is ready.
async fn said(f: &Fixture, body: Value) -> Vec<String> {
    let build: TemplateBuild = f.post_json("/v1/templates", &body).await.json();
    let name = body["name"].as_str().unwrap();
    let path = format!("/v1/templates/{name}/builds/{}", build.id);
    let over = f
        .until(&path, |answer| answer.json::<TemplateBuild>().state.is_over())
        .await;
    let over: TemplateBuild = over.json();
    assert_eq!((over.state, over.reason), (BuildState::Ready, None));
    over.log.into_iter().map(|line| line.message).collect()
}

#[tokio::test]
async fn steps_are_taken_from_before_up_to_the_first_that_differs() {
    let f = Fixture::new().await;
    f.node.exec_code.store(0, Ordering::Relaxed);
    let run = |command: &str| json!({ "kind": "run", "args": [command] });
    let asked = |name: &str, steps: &[Value]| json!({ "name": name, "image": IMAGE, "steps": steps });
    let cached = |said: Vec<String>| said.iter().filter(|line| line.contains("] CACHED ")).count();
    let steps = [json!({ "kind": "env", "args": ["A", "1"] }), run("one"), run("two")];
    assert_eq!(cached(said(&f, asked("web", &steps)).await), 0);
    assert_eq!(cached(said(&f, asked("web", &steps)).await), 3);
    // Of the same project, by what was done and not by the name.
    assert_eq!(cached(said(&f, asked("other", &steps)).await), 3);
    let further = [&steps[..], &[run("three")]].concat();
    assert_eq!(cached(said(&f, asked("web", &further)).await), 3);
    let different = [run("two"), run("one")];
    assert_eq!(cached(said(&f, asked("web", &different)).await), 0);
    let mut forced = asked("web", &steps);
    forced["force"] = true.into();
    assert_eq!(cached(said(&f, forced).await), 0);
    assert_eq!(f.node.count(), 0);
    // A layer that the node has lost is made again.
    for id in f.node.snapshot_ids() {
        f.node.lose_snapshot(id);
    }
    let again = said(&f, asked("web", &steps)).await;
    assert!(again.iter().any(|line| line.contains("cannot be used")), "{again:?}");
    assert_eq!(cached(said(&f, asked("web", &steps)).await), 3);
}

#[tokio::test]
async fn builds_that_no_tag_means_go() {
    let f = Fixture::new().await;
    let body = json!({ "name": "web", "image": IMAGE });
    for _ in 0..4 {
        said(&f, body.clone()).await;
    }
    // The one that the tag means, and the one before it.
    crate::program::until(async || (f.node.snapshot_ids().len() == 2).then_some(())).await;
    assert_eq!(f.delete("/v1/templates/web").await.status, StatusCode::NO_CONTENT);
    // One of them may be going already.
    crate::program::until(async || f.node.snapshot_ids().is_empty().then_some(())).await;
}

#[tokio::test]
async fn what_a_build_begins_with_is_what_it_is_when_its_turn_comes() {
    let f = fixture().await;
    f.node.exec_code.store(0, Ordering::Relaxed);
    let ask = async |body: Value| f.post_json("/v1/templates", &body).await.json::<TemplateBuild>();
    let again = json!({ "name": "web", "image": IMAGE, "steps": [{ "kind": "run", "args": ["true"] }] });
    // The first is gone by the time that the last one's turn comes.
    for _ in 0..3 {
        ask(again.clone()).await;
    }
    let build = ask(json!({ "name": "on-it", "template": "web" })).await;
    let path = format!("/v1/templates/on-it/builds/{}", build.id);
    let over = f
        .until(&path, |answer| answer.json::<TemplateBuild>().state.is_over())
        .await;
    let over: TemplateBuild = over.json();
    assert_eq!((over.state, over.reason), (BuildState::Ready, None));
}

#[tokio::test]
async fn nobody_takes_a_name_from_others() {
    let r = Realm::new().await;
    for project in ["a", "b"] {
        let body = json!({ "name": project });
        let made = r.f.send(asking(Method::POST, "/v1/projects", Some(body))).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    }
    let ask = async |project: &str, path: &str, body: Value| {
        let mut request = asking(Method::POST, path, Some(body));
        request
            .headers_mut()
            .insert("x-hearth-project", project.parse().unwrap());
        r.f.send(request).await
    };
    let build = json!({ "name": "tool", "image": IMAGE, "public": true });
    assert_eq!(
        ask("a", "/v1/templates", build.clone()).await.status,
        StatusCode::ACCEPTED
    );
    crate::program::until(async || {
        let made = ask("b", "/v1/sandboxes", json!({ "template": "a/tool" })).await;
        (made.status == StatusCode::CREATED).then_some(())
    })
    .await;
    let bare = ask("b", "/v1/sandboxes", json!({ "template": "tool" })).await;
    assert_eq!(bare.problem().code, ProblemCode::TemplateNotFound);
    assert_eq!(
        ask("default", "/v1/templates", build).await.status,
        StatusCode::ACCEPTED
    );
    crate::program::until(async || {
        let made = ask("b", "/v1/sandboxes", json!({ "template": "tool" })).await;
        (made.status == StatusCode::CREATED).then_some(())
    })
    .await;
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
        // No name of an image, and the ID of none.
        (json!({ "name": "web", "image": "no image" }), None),
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
