//! Whether a name of a template is free, taken by others, or one's own.

use hearth_api::Role;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{e2b::code, template_and_sandbox};
use crate::tenancy::{Realm, asking};

#[tokio::test]
async fn a_name_is_free_or_taken_or_ones_own() {
    let r = Realm::new().await;
    r.project("a", json!({})).await;
    r.project("b", json!({})).await;
    for project in ["a", "default"] {
        template_and_sandbox(&r, project).await;
    }
    let key = r.key("b", Role::Developer, None).await.token;
    let ask = async |key: &str, name: &str| {
        r.ask(key, Method::GET, &format!("/templates/aliases/{name}"), None)
            .await
    };
    let set_public = async |project: &str, public: bool| {
        let mut request = asking(Method::PATCH, "/v2/templates/web", Some(json!({ "public": public })));
        let headers = request.headers_mut();
        headers.insert("x-hearth-project", project.parse().unwrap());
        let patched = r.f.send(request).await;
        assert_eq!(patched.status, StatusCode::OK, "{patched:?}");
    };
    // What is others' alone is as if there were none.
    for name in ["web", "a%2Fweb", "default%2Fweb", "none", "a%2Fnone", "c%2Fweb"] {
        assert_eq!(code(&ask(&key, name).await), 404, "{name}");
    }
    set_public("a", true).await;
    for name in ["a%2Fweb", "a%2Fweb:default"] {
        let taken = ask(&key, name).await;
        assert_eq!(code(&taken), 403, "{name}");
        assert!(taken.json::<Value>().get("templateID").is_none());
    }
    // A bare name is one's own, or that of a public one of project `default`.
    assert_eq!(code(&ask(&key, "web").await), 404);
    set_public("default", true).await;
    assert_eq!(code(&ask(&key, "web").await), 403);
    set_public("a", false).await;
    assert_eq!(code(&ask(&key, "a%2Fweb").await), 404);
    // A name that everybody has in front of them may be one's own all the same.
    template_and_sandbox(&r, "b").await;
    let own = ask(&key, "web").await;
    assert_eq!(own.status, StatusCode::OK, "{own:?}");
    let own: Value = own.json();
    assert_eq!(own["public"], false);
    let of_default: Value = r
        .ask(
            &r.key("default", Role::Viewer, None).await.token,
            Method::GET,
            "/templates/aliases/web",
            None,
        )
        .await
        .json();
    assert_eq!(of_default["public"], true);
    assert_ne!(own["templateID"], of_default["templateID"]);
}
