//! Who may do what: every operation of the OpenAPI document, asked by everybody.

use std::collections::BTreeMap;

use bytes::Bytes;
use hearth_api::{CreateMachine, Role};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::{
    fixture::{IMAGE, machine},
    sandboxes,
    tenancy::{Realm, asking},
};

/// Who may ask for an operation.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    /// Everybody, without a key.
    All,
    /// Keys of these roles.
    Roles(&'static [Role]),
    /// Admins of the project `default`.
    Host,
}

/// What an operation is about.
#[derive(Debug, Clone, Copy, PartialEq)]
enum About {
    /// One thing of a project, which is not there for keys of others.
    Thing,
    /// The caller's own project, or what all share.
    Open,
}

use About::{Open, Thing};
use Who::{All, Host, Roles};

const ADMINS: Who = Roles(&[Role::Admin]);
const MAKERS: Who = Roles(&[Role::Admin, Role::Developer]);
const WATCHERS: Who = Roles(&[Role::Admin, Role::Developer, Role::Viewer]);
const CALLERS: Who = Roles(&[Role::Admin, Role::Developer, Role::Invoker]);
const KEYS: Who = Roles(&[Role::Admin, Role::Developer, Role::Invoker, Role::Viewer]);

/// Each operation of the document, and nothing else. An operation that is not here fails the test.
const TABLE: &[(&str, Who, About)] = &[
    ("attach_machine", MAKERS, Thing),
    ("build_template", MAKERS, Open),
    ("change_function", MAKERS, Thing),
    ("create_key", ADMINS, Open),
    ("create_machine", MAKERS, Open),
    ("create_project", Host, Open),
    ("create_sandbox", MAKERS, Open),
    ("create_snapshot", MAKERS, Open),
    ("deploy_function", MAKERS, Open),
    ("doctor", Host, Open),
    ("events", WATCHERS, Open),
    ("exec_machine", MAKERS, Thing),
    ("fork_machine", MAKERS, Thing),
    ("function_logs", WATCHERS, Thing),
    ("get_archive", MAKERS, Thing),
    ("get_function", WATCHERS, Thing),
    ("get_image", WATCHERS, Open),
    ("get_invocation", WATCHERS, Thing),
    ("get_invocation_result", CALLERS, Thing),
    ("get_kernel", WATCHERS, Open),
    ("get_key", ADMINS, Thing),
    ("get_machine", WATCHERS, Thing),
    ("get_project", KEYS, Thing),
    ("get_sandbox", WATCHERS, Thing),
    ("get_snapshot", WATCHERS, Thing),
    ("get_template", WATCHERS, Thing),
    ("get_template_build", WATCHERS, Thing),
    ("get_template_files", WATCHERS, Open),
    ("get_version", WATCHERS, Thing),
    ("health", All, Open),
    ("import_image", MAKERS, Open),
    ("import_kernel", Host, Open),
    ("invoke_function", CALLERS, Thing),
    ("kill_machine", MAKERS, Thing),
    ("kill_sandbox", MAKERS, Thing),
    ("list_aliases", WATCHERS, Thing),
    ("list_audit", ADMINS, Open),
    ("list_functions", WATCHERS, Open),
    ("list_images", WATCHERS, Open),
    ("list_instances", WATCHERS, Thing),
    ("list_invocations", WATCHERS, Open),
    ("list_kernels", WATCHERS, Open),
    ("list_keys", ADMINS, Open),
    ("list_machines", WATCHERS, Open),
    ("list_projects", KEYS, Open),
    ("list_sandboxes", WATCHERS, Open),
    ("list_secrets", WATCHERS, Open),
    ("list_snapshots", WATCHERS, Open),
    ("list_templates", WATCHERS, Open),
    ("list_triggers", WATCHERS, Thing),
    ("list_versions", WATCHERS, Thing),
    ("machine_logs", WATCHERS, Thing),
    ("machine_stats", WATCHERS, Thing),
    // Keys of the project `default` with any role that may look at the node; which is what `metrics` tests.
    ("metrics", Host, Open),
    ("node_info", WATCHERS, Open),
    ("pause_machine", MAKERS, Thing),
    ("fork_sandbox", MAKERS, Thing),
    ("snapshot_sandbox", MAKERS, Thing),
    ("set_sandbox_network", MAKERS, Thing),
    ("pause_sandbox", MAKERS, Thing),
    ("prune_images", Host, Open),
    ("pull_image", MAKERS, Open),
    ("put_alias", MAKERS, Thing),
    ("put_archive", MAKERS, Thing),
    ("put_template_files", MAKERS, Open),
    ("put_trigger", MAKERS, Thing),
    ("ready", All, Open),
    ("remove_alias", MAKERS, Thing),
    ("remove_function", MAKERS, Thing),
    ("remove_image", Host, Open),
    ("remove_kernel", Host, Open),
    ("remove_machine", MAKERS, Thing),
    ("remove_project", Host, Open),
    ("remove_secret", MAKERS, Thing),
    ("remove_snapshot", MAKERS, Thing),
    ("prune_template_layers", MAKERS, Open),
    ("remove_template", MAKERS, Thing),
    ("remove_trigger", MAKERS, Thing),
    ("remove_version", MAKERS, Thing),
    ("replay_invocation", CALLERS, Thing),
    ("restart_machine", MAKERS, Thing),
    ("resume_machine", MAKERS, Thing),
    ("resume_sandbox", MAKERS, Thing),
    ("revoke_key", ADMINS, Thing),
    ("rollback_function", MAKERS, Thing),
    ("rollback_machine", MAKERS, Thing),
    ("set_default_kernel", Host, Open),
    ("set_sandbox_timeout", MAKERS, Thing),
    ("set_secret", MAKERS, Open),
    ("start_machine", MAKERS, Thing),
    ("stop_machine", MAKERS, Thing),
    ("update_project", Host, Open),
    ("update_template", MAKERS, Thing),
    ("upload_source", MAKERS, Open),
    ("version", All, Open),
    ("wait_machine", WATCHERS, Thing),
];

/// The things of project `a` that paths lead to, and what of the query is required.
const PARTS: &[(&str, &str)] = &[
    ("{machine}", "web"),
    ("{project}", "a"),
    ("{key}", "kept"),
    ("{name}", "kept"),
    ("{snapshot}", "kept"),
    ("{function}", "hello"),
    ("{version}", "1"),
    ("{alias}", "live"),
    ("{trigger}", "none"),
    ("{invocation}", "inv00000000000000000000000000"),
    ("{sandbox}", "sbx"),
    ("{template}", "web"),
    ("{build}", "bld00000000000000000000000000"),
    ("{hash}", "0123456789abcdef0123456789abcdef"),
    ("{image}", "none"),
    ("{kernel}", "none"),
];

struct Operation {
    id: String,
    method: Method,
    path: String,
}

fn operations() -> Vec<Operation> {
    let document: serde_json::Value = serde_json::from_str(hearth_control::openapi_json()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else {
                continue;
            };
            let Some(id) = operation["operationId"].as_str() else {
                continue;
            };
            let mut path = PARTS
                .iter()
                .fold(path.clone(), |path, (part, name)| path.replace(part, name));
            assert!(!path.contains('{'), "PARTS says nothing of {path}");
            path.push_str(match id {
                "get_archive" | "put_archive" => "?path=/x",
                "import_image" => "?kind=oci",
                "wait_machine" => "?timeout_ms=1",
                _ => "",
            });
            operations.push(Operation {
                id: id.to_owned(),
                method,
                path,
            });
        }
    }
    operations
}

#[test]
fn the_table_has_each_operation_once() {
    let mut known = BTreeMap::new();
    for (id, who, _) in TABLE {
        assert!(known.insert(*id, who).is_none(), "{id} stands in the table twice");
    }
    let there = operations();
    for operation in &there {
        assert!(
            known.remove(operation.id.as_str()).is_some(),
            "{} is not in the table: say who may ask for it",
            operation.id
        );
    }
    assert!(known.is_empty(), "not in the document: {known:?}");
}

/// Project `a` with one thing of each kind.
async fn realm() -> Realm {
    let r = Realm::new().await;
    r.project("a", json!({})).await;
    r.project("b", json!({})).await;
    let wanted = CreateMachine {
        name: Some("web".into()),
        start: true,
        ..machine(&["sleep"])
    };
    for (method, path, body) in [
        (Method::POST, "/v1/machines", serde_json::to_value(wanted).unwrap()),
        (
            Method::POST,
            "/v1/snapshots",
            json!({ "machine": "web", "name": "kept" }),
        ),
        (Method::POST, "/v1/keys", json!({ "role": "viewer", "name": "kept" })),
        (Method::PUT, "/v1/secrets/kept", json!({ "value": "aGk=" })),
        (
            Method::PUT,
            "/v1/functions/hello",
            json!({ "image": IMAGE, "cmd": ["hello"], "driver": "fake" }),
        ),
    ] {
        let mut request = asking(method, path, Some(body));
        request.headers_mut().insert("x-hearth-project", "a".parse().unwrap());
        let made = r.f.send(request).await;
        assert!(made.status.is_success(), "{path}: {made:?}");
    }
    sandboxes::template_and_sandbox(&r, "a").await;
    r
}

fn rule(operation: &Operation) -> (Who, About) {
    let row = TABLE.iter().find(|(id, ..)| *id == operation.id).unwrap();
    (row.1, row.2)
}

/// Without a body: whether one may ask is said before anything of it is read.
fn request_of(operation: &Operation) -> Request<Full<Bytes>> {
    let mut request = asking(operation.method.clone(), &operation.path, None);
    if ["attach_machine", "exec_machine"].contains(&operation.id.as_str()) {
        for (name, value) in [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    request
}

async fn status(r: &Realm, key: Option<&str>, operation: &Operation) -> StatusCode {
    r.send(key, request_of(operation)).await.status
}

#[tokio::test]
async fn who_has_no_key_gets_nothing() {
    let r = realm().await;
    let revoked = r.key("a", Role::Admin, None).await;
    let path = format!("/v1/keys/{}", revoked.key.id);
    let mut revocation = asking(Method::DELETE, &path, None);
    revocation
        .headers_mut()
        .insert("x-hearth-project", "a".parse().unwrap());
    assert_eq!(r.f.send(revocation).await.status, StatusCode::NO_CONTENT);
    let expired = r.key("a", Role::Admin, Some(1)).await.token;
    let probe = asking(Method::GET, "/v1/projects", None);
    let ended = async {
        while r.send(Some(&expired), probe.clone()).await.status != StatusCode::UNAUTHORIZED {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::fixture::DEADLINE, ended).await.unwrap();

    for operation in operations() {
        let (who, _) = rule(&operation);
        for (what, key) in [
            ("no key", None),
            ("a revoked key", Some(revoked.token.as_str())),
            ("an expired key", Some(expired.as_str())),
        ] {
            let status = status(&r, key, &operation).await;
            let wanted = if who == All {
                StatusCode::OK
            } else {
                StatusCode::UNAUTHORIZED
            };
            assert_eq!(status, wanted, "{} with {what}", operation.id);
        }
    }
}

#[tokio::test]
async fn things_of_other_projects_are_not_there() {
    let r = realm().await;
    let foreign = r.key("b", Role::Admin, None).await.token;
    let own = r.key("a", Role::Admin, None).await.token;
    for operation in operations() {
        let found = status(&r, Some(&foreign), &operation).await;
        match rule(&operation) {
            (Host, _) => assert_eq!(found, StatusCode::FORBIDDEN, "{}", operation.id),
            (Roles(_), Thing) => assert_eq!(found, StatusCode::NOT_FOUND, "{}", operation.id),
            _ => assert!(![401, 403].contains(&found.as_u16()), "{}: {found}", operation.id),
        }
        // Nor by saying that it is meant.
        let mut request = request_of(&operation);
        request.headers_mut().insert("x-hearth-project", "a".parse().unwrap());
        let named = r.send(Some(&foreign), request).await.status;
        match rule(&operation).0 {
            All => assert_eq!(named, StatusCode::OK),
            Host => assert_eq!(named, StatusCode::FORBIDDEN, "{}", operation.id),
            Roles(_) => assert_eq!(named, StatusCode::NOT_FOUND, "{} named", operation.id),
        }
    }
    for path in [
        "/v1/machines/web",
        "/v1/keys/kept",
        "/v1/snapshots/kept",
        "/v1/projects/a",
        "/v1/functions/hello",
        "/v1/sandboxes/sbx",
        "/v1/templates/web",
    ] {
        let found = r.ask(&own, Method::GET, path, None).await;
        assert_eq!(found.status, StatusCode::OK, "{path} is still there");
    }
    let secrets = r.ask(&own, Method::GET, "/v1/secrets", None).await;
    assert!(String::from_utf8_lossy(&secrets.body).contains("kept"));
}

#[tokio::test]
async fn each_role_may_what_the_table_says() {
    let r = realm().await;
    let first = r.f.first_key.clone().unwrap();
    // From the one that may least to the one that may most, so that things are there for as long as they are asked for.
    for role in [Role::Invoker, Role::Viewer, Role::Developer, Role::Admin] {
        let key = r.key("a", role, None).await.token;
        for operation in operations() {
            let found = status(&r, Some(&key), &operation).await;
            let may = match rule(&operation).0 {
                All => true,
                Host => false,
                Roles(roles) => roles.contains(&role),
            };
            if may {
                assert!(
                    ![401, 403].contains(&found.as_u16()),
                    "{} as {role:?}: {found}",
                    operation.id
                );
            } else {
                assert_eq!(found, StatusCode::FORBIDDEN, "{} as {role:?}", operation.id);
            }
        }
    }
    for operation in operations() {
        let found = status(&r, Some(&first), &operation).await;
        assert!(
            ![401, 403].contains(&found.as_u16()),
            "{} as the host's admin: {found}",
            operation.id
        );
    }
}
