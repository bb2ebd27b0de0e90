//! Who may do what by E2B's API: every operation, asked by everybody.

use std::collections::BTreeMap;

use bytes::Bytes;
use hearth_api::{Role, SandboxList};
use hearth_control::E2B_OPERATIONS;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{e2b::code, template_and_sandbox};
use crate::tenancy::{Realm, asking};

const MAKERS: &[Role] = &[Role::Admin, Role::Developer];
const WATCHERS: &[Role] = &[Role::Admin, Role::Developer, Role::Viewer];

/// Operations that look and change nothing.
fn may(name: &str) -> &'static [Role] {
    let looks = ["e2b_get_", "e2b_list_"].iter().any(|begin| name.starts_with(begin));
    // Where files are put is asked by who is about to build.
    // And a volume is shown with what opens it.
    if looks && !["e2b_get_template_files", "e2b_get_volume"].contains(&name) {
        WATCHERS
    } else {
        MAKERS
    }
}

/// What is about no sandbox and no template in particular, so that keys of other projects find nothing missing.
fn is_open(name: &str) -> bool {
    // A list of metrics is one of sandboxes that are named: those of others are not in it.
    name.starts_with("e2b_list_sandboxes")
        || name.starts_with("e2b_list_templates")
        || [
            "e2b_list_snapshots",
            "e2b_create_template",
            "e2b_list_volumes",
            "e2b_create_volume",
            "e2b_list_secrets",
            "e2b_create_secret",
            "e2b_list_teams",
        ]
        .contains(&name)
}

/// What is opened by a token of its own instead of a key.
fn has_own_token(path: &str, name: &str) -> bool {
    name == "e2b_put_template_files" || path.starts_with("/volumecontent/")
}

/// What operations want to be told before they look for anything.
fn body_of(name: &str) -> Option<Value> {
    match name {
        "e2b_create_sandbox" | "e2b_create_sandbox_v2" => Some(json!({ "templateID": "web" })),
        "e2b_set_sandbox_timeout" => Some(json!({ "timeout": 60 })),
        "e2b_start_template_build" => Some(json!({ "fromImage": "none" })),
        "e2b_assign_template_tags" => Some(json!({ "target": "web", "tags": ["x"] })),
        "e2b_delete_template_tags" => Some(json!({ "name": "web", "tags": ["x"] })),
        "e2b_create_template" => Some(json!({ "name": "new" })),
        "e2b_create_volume" => Some(json!({ "name": format!("new-{}", hearth_ids::VolumeId::new()) })),
        "e2b_create_secret" => Some(json!({ "name": "new", "value": "x" })),
        "e2b_update_secret" => Some(json!({ "value": "x" })),
        _ => None,
    }
}

fn asked(method: &str, path: &str, name: &str, sandbox: &str) -> Request<Full<Bytes>> {
    let path = path
        .replace("{sandbox}", sandbox)
        .replace("{template}", "web")
        .replace("{alias}", "web")
        .replace("{volume}", "vol00000000000000000000000000")
        .replace("{secret}", "kept")
        .replace("{build}", "00000000-0000-0000-0000-000000000000")
        .replace("{hash}", &"0".repeat(64));
    let query = if name == "e2b_list_sandboxes_metrics" {
        format!("?sandbox_ids={sandbox}")
    } else {
        String::new()
    };
    let path = path + &query;
    assert!(!path.contains('{'), "{path}");
    asking(method.parse().unwrap(), &path, body_of(name))
}

/// Asks as E2B's clients do.
async fn send(r: &Realm, key: Option<&str>, mut request: Request<Full<Bytes>>) -> crate::fixture::Answer {
    if let Some(key) = key {
        request.headers_mut().insert("x-api-key", key.parse().unwrap());
    }
    r.send(None, request).await
}

/// A sandbox and a template in project `a`, whatever became of those before.
async fn there(r: &Realm, admin: &str) -> String {
    let list: SandboxList = r.ask(admin, Method::GET, "/v1/sandboxes", None).await.json();
    let template = r.ask(admin, Method::GET, "/v1/templates/web", None).await.status;
    if let (Some(sandbox), StatusCode::OK) = (list.sandboxes.first(), template) {
        return sandbox.id.to_string();
    }
    template_and_sandbox(r, "a").await;
    let list: SandboxList = r.ask(admin, Method::GET, "/v1/sandboxes", None).await.json();
    list.sandboxes[0].id.to_string()
}

#[test]
fn each_operation_has_a_name_of_its_own() {
    let mut names = BTreeMap::new();
    for (method, path, name) in E2B_OPERATIONS {
        assert!(names.insert(name, (method, path)).is_none(), "{name} stands twice");
        assert!(name.starts_with("e2b_"), "{name}");
    }
}

#[tokio::test]
async fn each_operation_is_asked_by_everybody() {
    let r = Realm::new().await;
    r.project("a", json!({})).await;
    r.project("b", json!({})).await;
    let foreign = r.key("b", Role::Admin, None).await.token;
    let mut keys = Vec::new();
    for role in [Role::Invoker, Role::Viewer, Role::Developer, Role::Admin] {
        keys.push((role, r.key("a", role, None).await.token));
    }
    let admin = keys.last().unwrap().1.clone();
    for (method, path, name) in E2B_OPERATIONS {
        let sandbox = there(&r, &admin).await;
        let request = || asked(method, path, name, &sandbox);
        if has_own_token(path, name) {
            let refused = send(&r, None, request()).await;
            assert!(refused.status.is_client_error(), "{refused:?}");
            continue;
        }
        for key in [None, Some("hth_no")] {
            assert_eq!(code(&send(&r, key, request()).await), 401, "{name} with {key:?}");
        }
        let other = send(&r, Some(&foreign), request()).await;
        if is_open(name) {
            assert!(other.status.is_success(), "{name}: {other:?}");
        } else {
            assert_eq!(code(&other), 404, "{name}");
        }
        for (role, key) in &keys {
            let sandbox = there(&r, &admin).await;
            let answer = send(&r, Some(key), asked(method, path, name, &sandbox)).await;
            let denied = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(denied, !may(name).contains(role), "{name} as {role:?}: {answer:?}");
            assert!(!answer.status.is_server_error(), "{name} as {role:?}: {answer:?}");
            if !answer.status.is_success() {
                code(&answer);
            }
        }
    }
}

#[tokio::test]
async fn who_only_looks_is_not_told_what_opens_one() {
    let r = Realm::new().await;
    r.project("a", json!({})).await;
    template_and_sandbox(&r, "a").await;
    let viewer = r.key("a", Role::Viewer, None).await.token;
    let developer = r.key("a", Role::Developer, None).await.token;
    let opens = async |key: &str| {
        let answer = r.ask(key, Method::GET, "/v1/sandboxes/sbx", None).await;
        let seen: Value = answer.json();
        let by_e2b = r
            .ask(
                key,
                Method::GET,
                &format!("/sandboxes/{}", seen["id"].as_str().unwrap()),
                None,
            )
            .await;
        let by_e2b: Value = by_e2b.json();
        (seen["access_token"].is_string(), by_e2b["envdAccessToken"].is_string())
    };
    assert_eq!(opens(&viewer).await, (false, false));
    assert_eq!(opens(&developer).await, (true, true));
}
