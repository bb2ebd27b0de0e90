//! Who may do what: every operation of the Lambda API, asked by everybody.

use std::collections::BTreeMap;

use hearth_api::Role;
use hearth_control::LAMBDA_OPERATIONS;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::kind;
use crate::{
    fixture::IMAGE,
    tenancy::{Realm, asking},
};

const MAKERS: &[Role] = &[Role::Admin, Role::Developer];
const WATCHERS: &[Role] = &[Role::Admin, Role::Developer, Role::Viewer];
const CALLERS: &[Role] = &[Role::Admin, Role::Developer, Role::Invoker];

/// Each operation, and who may ask for it. One that is not here fails the test.
const TABLE: &[(&str, &[Role])] = &[
    ("invoke_lambda", CALLERS),
    ("invoke_lambda_with_response_stream", CALLERS),
    ("lambda_add_permission", MAKERS),
    ("lambda_create_alias", MAKERS),
    ("lambda_create_function", MAKERS),
    ("lambda_create_function_url_config", MAKERS),
    ("lambda_delete_alias", MAKERS),
    ("lambda_delete_function", MAKERS),
    ("lambda_delete_function_concurrency", MAKERS),
    ("lambda_delete_function_url_config", MAKERS),
    ("lambda_get_account_settings", WATCHERS),
    ("lambda_get_alias", WATCHERS),
    ("lambda_get_function", WATCHERS),
    ("lambda_get_function_concurrency", WATCHERS),
    ("lambda_get_function_configuration", WATCHERS),
    ("lambda_get_function_url_config", WATCHERS),
    ("lambda_get_policy", WATCHERS),
    ("lambda_list_aliases", WATCHERS),
    ("lambda_list_function_url_configs", WATCHERS),
    ("lambda_list_functions", WATCHERS),
    ("lambda_list_tags", WATCHERS),
    ("lambda_list_versions_by_function", WATCHERS),
    ("lambda_publish_version", MAKERS),
    ("lambda_put_function_concurrency", MAKERS),
    ("lambda_remove_permission", MAKERS),
    ("lambda_tag_resource", MAKERS),
    ("lambda_untag_resource", MAKERS),
    ("lambda_update_alias", MAKERS),
    ("lambda_update_function_code", MAKERS),
    ("lambda_update_function_configuration", MAKERS),
    ("lambda_update_function_url_config", MAKERS),
];
/// What is about no function in particular.
const OPEN: &[&str] = &[
    "lambda_create_function",
    "lambda_get_account_settings",
    "lambda_list_functions",
];

fn path_of(path: &str) -> String {
    path.replace("{function}", "hello")
        .replace("{alias}", "live")
        .replace("{statement}", "none")
}

fn asked(method: &str, path: &str) -> Request<Full<bytes::Bytes>> {
    asking(method.parse().unwrap(), &path_of(path), None)
}

#[test]
fn the_table_has_each_operation_once() {
    let mut known: BTreeMap<&str, _> = TABLE.iter().copied().collect();
    assert_eq!(known.len(), TABLE.len());
    let mut there: Vec<&str> = LAMBDA_OPERATIONS.iter().map(|(.., name)| *name).collect();
    there.sort_unstable();
    there.dedup();
    for name in there {
        assert!(
            known.remove(name).is_some(),
            "{name} is not in the table: say who may ask for it"
        );
    }
    assert!(known.is_empty(), "no operations: {known:?}");
}

#[tokio::test]
async fn each_operation_is_asked_by_everybody() {
    let r = Realm::new().await;
    r.project("a", json!({})).await;
    r.project("b", json!({})).await;
    let foreign = r.key("b", Role::Admin, None).await.token;
    let mut keys = Vec::new();
    for role in [Role::Admin, Role::Developer, Role::Invoker, Role::Viewer] {
        keys.push((role, r.key("a", role, None).await.token));
    }
    for (method, path, name) in LAMBDA_OPERATIONS {
        // Each one meets the function, whatever the one before did to it.
        let body = json!({ "image": IMAGE, "cmd": ["hello"], "driver": "fake", "contract": "lambda" });
        let mut made = asking(Method::PUT, "/v1/functions/hello", Some(body));
        made.headers_mut().insert("x-hearth-project", "a".parse().unwrap());
        assert_eq!(r.f.send(made).await.status, StatusCode::OK);

        let nobody = r.send(None, asked(method, path)).await;
        assert_eq!(kind(&nobody), "MissingAuthenticationTokenException", "{name}");
        let unknown = r.send(Some("hth_no"), asked(method, path)).await;
        assert_eq!(kind(&unknown), "UnrecognizedClientException", "{name}");
        if !OPEN.contains(name) {
            let other = r.send(Some(&foreign), asked(method, path)).await;
            assert_eq!(kind(&other), "ResourceNotFoundException", "{name}");
        }
        let may = TABLE.iter().find(|(known, _)| known == name).unwrap().1;
        // Calls that may be made would start an instance, which is not what this is about.
        let calls = name.starts_with("invoke_");
        for (role, key) in keys.iter().filter(|(role, _)| !calls || !may.contains(role)) {
            let answer = r.send(Some(key), asked(method, path)).await;
            let denied = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(denied, !may.contains(role), "{name} as {role:?}: {answer:?}");
            if denied {
                assert_eq!(kind(&answer), "AccessDeniedException", "{name} as {role:?}");
            } else if answer.status.is_client_error() {
                assert_ne!(kind(&answer), "UnknownOperationException", "{name} has no route");
            }
            assert!(!answer.status.is_server_error(), "{name}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_operation_is_told_so() {
    let r = Realm::new().await;
    let key = r.key("default", Role::Admin, None).await.token;
    for (method, path) in [
        (Method::GET, "/2015-03-31/nothing"),
        (Method::PATCH, "/2015-03-31/functions/hello"),
        (Method::POST, "/2014-11-13/functions/hello/invoke-async"),
    ] {
        let answer = r.ask(&key, method, path, None).await;
        assert_eq!(kind(&answer), "UnknownOperationException", "{path}");
    }
}
