//! Builds that begin with an image that the node lacks, by E2B's API and from a real registry.

use std::{sync::atomic::Ordering, time::Duration};

use hearth_api::{ProblemCode, Role, TemplateBuild};
use hearth_testkit::{
    images::{Image, Layout},
    registry::{Registry, RegistryOptions},
};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{fixture::Fixture, tenancy::Realm};

const PASSWORD: &str = "of-the-registry";

/// A registry that wants a login, and has `mine/app:1`.
fn private(user: &str) -> Option<Registry> {
    let login = Some((user.to_owned(), PASSWORD.to_owned()));
    let registry = Registry::start(RegistryOptions {
        login,
        ..RegistryOptions::default()
    });
    let registry = registry.unwrap()?;
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::with_image(folder.path(), &Image::busybox("private").unwrap(), "x").unwrap();
    registry.push(layout.folder(), "x", "mine/app:1").unwrap();
    Some(registry)
}

/// Begins a build, and gives the path of its state.
async fn begun(f: &Fixture, start: Value) -> (StatusCode, Value, String) {
    let asked: Value = f.post_json("/v3/templates", &json!({ "name": "pulled" })).await.json();
    let of = |field: &str| asked[field].as_str().unwrap().to_owned();
    let (template, build) = (of("templateID"), of("buildID"));
    let started = f
        .post_json(&format!("/v2/templates/{template}/builds/{build}"), &start)
        .await;
    let answer = if started.body.is_empty() {
        Value::Null
    } else {
        started.json()
    };
    (
        started.status,
        answer,
        format!("/templates/{template}/builds/{build}/status"),
    )
}

async fn over(f: &Fixture, path: &str) -> Value {
    let is_over = |answer: &crate::fixture::Answer| {
        let state: Value = answer.json();
        ["ready", "error"].contains(&state["status"].as_str().unwrap())
    };
    f.until(path, is_over).await.json()
}

#[tokio::test]
async fn an_image_that_the_node_lacks_is_pulled_as_whom_the_build_names() {
    let Some(registry) = private("me") else { return };
    let f = Fixture::new().await;
    f.node.exec_code.store(0, Ordering::Relaxed);
    let image = format!("{}/mine/app:1", registry.host());
    let login = |password: &str| {
        let registry = json!({ "type": "registry", "username": "me", "password": password });
        json!({ "fromImage": image, "fromImageRegistry": registry })
    };
    for refused in [json!({ "fromImage": image }), login("wrong")] {
        let (status, _, path) = begun(&f, refused).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        let state = over(&f, &path).await;
        assert_eq!(
            (&state["status"], &state["reason"]["step"]),
            (&json!("error"), &json!("base"))
        );
        let why = state["reason"]["message"].as_str().unwrap();
        assert!(why.contains(&format!("cannot pull {image}")), "{why}");
        assert!(!state.to_string().contains("wrong"), "no password is told: {state}");
    }
    let (_, _, path) = begun(&f, login(PASSWORD)).await;
    let state = over(&f, &path).await;
    assert_eq!(state["status"], "ready", "{state}");
    let said: Vec<_> = state["logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    assert_eq!(said[0], format!("pulling {image}"));
    assert!(
        said.contains(&format!("FROM {image}").as_str()) && !state.to_string().contains(PASSWORD),
        "{said:?}"
    );
    // The next one finds it, and needs nobody's leave.
    let (_, _, path) = begun(&f, json!({ "fromImage": image })).await;
    let state = over(&f, &path).await;
    assert_eq!(
        (&state["status"], &state["logs"][0]),
        (&json!("ready"), &json!(format!("FROM {image}")))
    );
}

#[tokio::test]
async fn keys_of_googles_are_a_login_and_those_of_aws_are_refused() {
    let Some(registry) = private("_json_key") else { return };
    let f = Fixture::new().await;
    f.node.exec_code.store(0, Ordering::Relaxed);
    let image = format!("{}/mine/app:1", registry.host());
    let google = json!({ "type": "gcp", "serviceAccountJson": PASSWORD });
    let (_, _, path) = begun(&f, json!({ "fromImage": image, "fromImageRegistry": google })).await;
    assert_eq!(over(&f, &path).await["status"], "ready");
    let aws = json!({ "type": "aws", "awsAccessKeyId": "a", "awsSecretAccessKey": "b", "awsRegion": "c" });
    let (status, answer, _) = begun(&f, json!({ "fromImage": image, "fromImageRegistry": aws })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        answer["message"].as_str().unwrap().contains("get-login-password"),
        "{answer}"
    );
}

#[tokio::test]
async fn what_is_no_project_s_to_name_is_not_pulled() {
    let r = Realm::new().await;
    r.project("mine", json!({})).await;
    let key = r.key("mine", Role::Developer, None).await.token;
    let body = json!({ "name": "pulled", "image": "hearth/no-such" });
    let refused = r.ask(&key, Method::POST, "/v1/templates", Some(body)).await;
    assert_eq!(refused.problem().code, ProblemCode::Forbidden);
    let nonsense = json!({ "name": "pulled", "image": "no such image" });
    let refused = r.ask(&key, Method::POST, "/v1/templates", Some(nonsense)).await;
    assert!(refused.status.is_client_error(), "{refused:?}");
}

#[tokio::test]
async fn a_project_pulls_from_public_addresses_and_admins_of_the_host_from_everywhere() {
    let Some(registry) = private("me") else { return };
    let r = Realm::new().await;
    r.project("mine", json!({})).await;
    let developer = r.key("mine", Role::Developer, None).await.token;
    let admin = r.key("default", Role::Admin, None).await.token;
    let name = format!("{}/mine/app:1", registry.host());
    let auth = json!({ "kind": "basic", "username": "me", "password": PASSWORD });
    let pull = async |key: &str, reference: &str| {
        let body = json!({ "reference": reference, "auth": auth });
        let answer = r.ask(key, Method::POST, "/v1/images/pull", Some(body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.lines::<Value>().pop().unwrap()
    };
    for (reference, host, address) in [
        (name.as_str(), registry.host().as_str(), "127.0.0.1"),
        ("169.254.169.254/latest:1", "169.254.169.254", "169.254.169.254"),
    ] {
        let refused = pull(&developer, reference).await;
        assert_eq!(refused["problem"]["code"], "forbidden", "{refused}");
        let detail = refused["problem"]["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("{host} is at {address}")), "{detail}");
        assert!(detail.contains(&format!("--private-registry {host}")), "{detail}");
    }
    // Admins of their own project are none of the host.
    let chief = r.key("mine", Role::Admin, None).await.token;
    assert_eq!(pull(&chief, &name).await["problem"]["code"], "forbidden");
    let why = failed_build(&r, &developer, &name).await;
    assert!(
        why.contains(&format!("cannot pull {name}")) && why.contains("not a public address"),
        "{why}"
    );
    let pulled = pull(&admin, &name).await;
    assert!(pulled["image"]["id"].is_string(), "{pulled}");
}

/// Why a build that begins with `image` fails.
async fn failed_build(r: &Realm, key: &str, image: &str) -> String {
    let template = json!({ "name": "pulled", "image": image });
    let asked = r.ask(key, Method::POST, "/v1/templates", Some(template)).await;
    let build: TemplateBuild = asked.json();
    let path = format!("/v1/templates/pulled/builds/{}", build.id);
    let over = async {
        loop {
            let build: TemplateBuild = r.ask(key, Method::GET, &path, None).await.json();
            if build.state.is_over() {
                return build.reason.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), over).await.unwrap()
}
