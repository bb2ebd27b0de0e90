//! Volumes by E2B's API: made, filled, mounted, and shut for whoever has not their token.

use bytes::Bytes;
use hearth_api::Role;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{e2b::code, fixture, template_and_sandbox};
use crate::{
    fixture::{Answer, Fixture, VOLUME_BYTES},
    tenancy::{Realm, asking},
};

async fn made(f: &Fixture, name: &str) -> Value {
    let answer = f.post_json("/volumes", &json!({ "name": name })).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()
}

fn content(volume: &Value, method: &str, rest: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let id = volume["volumeID"].as_str().unwrap();
    let token = volume["token"].as_str().unwrap();
    Request::builder()
        .method(method)
        .uri(format!("/volumecontent/{id}/{rest}"))
        .header("host", "localhost")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(body.into()))
        .unwrap()
}

async fn ask(f: &Fixture, volume: &Value, method: &str, rest: &str, body: impl Into<Bytes>) -> Answer {
    f.send(content(volume, method, rest, body)).await
}

#[tokio::test]
async fn a_volume_is_made_filled_and_removed() {
    let f = Fixture::new().await;
    let volume = made(&f, "data").await;
    let path = format!("/volumes/{}", volume["volumeID"].as_str().unwrap());
    assert_eq!(code(&f.post_json("/volumes", &json!({ "name": "data" })).await), 409);
    for bad in ["", "a/b", "ü", &"a".repeat(129)] {
        assert_eq!(
            code(&f.post_json("/volumes", &json!({ "name": bad })).await),
            400,
            "{bad:?}"
        );
    }
    assert_eq!(f.get(&path).await.json::<Value>(), volume);
    let listed: Value = f.get("/volumes").await.json();
    assert_eq!(listed, json!([{ "volumeID": volume["volumeID"], "name": "data" }]));

    let put = ask(&f, &volume, "PUT", "file?path=/a%20b&mode=384", "text").await;
    assert_eq!(put.status, StatusCode::CREATED, "{put:?}");
    let entry: Value = put.json();
    assert_eq!(
        (&entry["path"], &entry["size"], &entry["mode"]),
        (&json!("/a b"), &json!(4), &json!(0o600))
    );
    let read = ask(&f, &volume, "GET", "file?path=a%20b", "").await;
    assert_eq!(
        (&read.body[..], &read.headers["content-length"]),
        (&b"text"[..], &"4".parse().unwrap())
    );
    assert_eq!(
        ask(&f, &volume, "POST", "dir?path=/d/e&force=true", "").await.status,
        StatusCode::CREATED
    );
    assert_eq!(code(&ask(&f, &volume, "POST", "dir?path=/d", "").await), 409);
    assert_eq!(code(&ask(&f, &volume, "PUT", "file?path=/x/y", "z").await), 404);
    assert_eq!(code(&ask(&f, &volume, "PUT", "file?path=/d", "z").await), 400);
    let listed: Value = ask(&f, &volume, "GET", "dir?path=/&depth=2", "").await.json();
    let paths: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["path"].as_str())
        .collect();
    assert_eq!(paths, ["/a b", "/d", "/d/e"]);
    assert_eq!(code(&ask(&f, &volume, "GET", "dir?path=/&depth=0", "").await), 400);
    let changed: Value = ask(&f, &volume, "PATCH", "path?path=/d", r#"{"uid":5}"#).await.json();
    assert_eq!(changed["uid"], 5);
    assert_eq!(
        ask(&f, &volume, "DELETE", "path?path=/d", "").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(code(&ask(&f, &volume, "GET", "path?path=/d/e", "").await), 404);

    assert_eq!(f.delete(&path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(code(&f.delete(&path).await), 404);
    assert_eq!(code(&ask(&f, &volume, "GET", "file?path=/a", "").await), 404);
    // The name is free, and nothing of the old one is in the new one.
    let again = made(&f, "data").await;
    assert_ne!(again["token"], volume["token"]);
    let listed: Value = ask(&f, &again, "GET", "dir?path=/", "").await.json();
    assert_eq!(listed, json!([]));
}

#[tokio::test]
async fn paths_lead_nowhere_else() {
    let f = Fixture::new().await;
    let volume = made(&f, "data").await;
    let root = f
        .folder
        .path()
        .join("volumes")
        .join(volume["volumeID"].as_str().unwrap());
    std::os::unix::fs::symlink(f.folder.path(), root.join("out")).unwrap();
    for path in [
        "out/hearth.db",
        "../../hearth.db",
        "..%2f..%2fhearth.db",
        "/proc/self/environ",
    ] {
        assert_eq!(
            code(&ask(&f, &volume, "GET", &format!("file?path={path}"), "").await),
            404,
            "{path}"
        );
    }
    for path in ["a%00b".to_owned(), "a/".repeat(3000), "a".repeat(300)] {
        assert_eq!(
            code(&ask(&f, &volume, "PUT", &format!("file?path={path}"), "x").await),
            400
        );
    }
    assert_eq!(code(&ask(&f, &volume, "DELETE", "path?path=/", "").await), 400);
    let full = ask(
        &f,
        &volume,
        "PUT",
        "file?path=/a",
        vec![0; usize::try_from(VOLUME_BYTES).unwrap()],
    )
    .await;
    assert_eq!(code(&full), 507);
    let info: Value = ask(&f, &volume, "GET", "dir?path=/", "").await.json();
    assert_eq!(info.as_array().unwrap().len(), 1, "the link alone");
}

#[tokio::test]
async fn what_a_crash_left_is_swept() {
    let f = Fixture::new().await;
    let volume = made(&f, "data").await;
    ask(&f, &volume, "PUT", "file?path=/a", "kept").await;
    let folder = f.folder.path().join("volumes");
    let stray = folder.join(hearth_ids::VolumeId::new().to_string());
    std::fs::create_dir(&stray).unwrap();
    let f = f.reopen().await;
    assert!(!stray.exists());
    assert_eq!(&ask(&f, &volume, "GET", "file?path=/a", "").await.body[..], b"kept");
    // A folder that is lost is an empty one.
    std::fs::remove_dir_all(folder.join(volume["volumeID"].as_str().unwrap())).unwrap();
    let f = f.reopen().await;
    assert_eq!(
        ask(&f, &volume, "GET", "dir?path=/", "").await.json::<Value>(),
        json!([])
    );
}

#[tokio::test]
async fn sandboxes_mount_volumes_by_their_names() {
    let f = fixture().await;
    let volume = made(&f, "data").await;
    let asked = |mounts: Value| json!({ "templateID": "web", "volumeMounts": mounts });
    let mounts = json!([{ "name": "data", "path": "/mnt//data/" }]);
    let answer = f.post_json("/v2/sandboxes", &asked(mounts)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let sandbox: Value = answer.json();
    let id = sandbox["sandboxID"].as_str().unwrap();
    let seen: Value = f.get(&format!("/sandboxes/{id}")).await.json();
    assert_eq!(seen["volumeMounts"], json!([{ "name": "data", "path": "/mnt/data" }]));
    let listed: Value = f.get("/v2/sandboxes").await.json();
    assert_eq!(listed[0]["volumeMounts"], seen["volumeMounts"]);
    for (mounts, why) in [
        (json!([{ "name": "none", "path": "/a" }]), "none"),
        (json!([{ "name": "data", "path": "a" }]), "absolute"),
        (json!([{ "name": "data", "path": "/proc" }]), "system"),
        (
            json!([{ "name": "data", "path": "/a" }, { "name": "data", "path": "/a/" }]),
            "twice",
        ),
    ] {
        let refused = f.post_json("/v2/sandboxes", &asked(mounts)).await;
        assert_eq!(code(&refused), 400);
        assert!(
            refused.json::<Value>()["message"].as_str().unwrap().contains(why),
            "{refused:?}"
        );
    }
    // Gone at once, whoever mounts it.
    let path = format!("/volumes/{}", volume["volumeID"].as_str().unwrap());
    assert_eq!(f.delete(&path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(f.get(&format!("/sandboxes/{id}")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn nobody_else_opens_a_volume() {
    let r = Realm::new().await;
    r.project("a", json!({})).await;
    r.project("b", json!({})).await;
    template_and_sandbox(&r, "b").await;
    let own = r.key("a", Role::Developer, None).await.token;
    let foreign = r.key("b", Role::Admin, None).await.token;
    let new = |name: &str| Some(json!({ "name": name }));
    let volume: Value = r.ask(&own, Method::POST, "/volumes", new("data")).await.json();
    let other: Value = r.ask(&foreign, Method::POST, "/volumes", new("data")).await.json();
    let path = format!("/volumes/{}", volume["volumeID"].as_str().unwrap());
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(code(&r.ask(&foreign, method, &path, None).await), 404);
    }
    let listed: Value = r.ask(&foreign, Method::GET, "/volumes", None).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    // By its name each finds its own.
    assert_eq!(listed[0]["volumeID"], other["volumeID"]);
    assert_eq!(
        r.ask(&own, Method::DELETE, &path, None).await.status,
        StatusCode::NO_CONTENT
    );
    let mounts = json!({ "templateID": "web", "volumeMounts": [{ "name": "data", "path": "/a" }] });
    let sandbox = r.ask(&foreign, Method::POST, "/v2/sandboxes", Some(mounts)).await;
    assert_eq!(sandbox.status, StatusCode::CREATED, "{sandbox:?}");
}

#[tokio::test]
async fn each_operation_wants_the_volumes_own_token() {
    let r = Realm::new().await;
    r.project("a", json!({})).await;
    let key = r.key("a", Role::Admin, None).await.token;
    let new = |name: &str| Some(json!({ "name": name }));
    let volume: Value = r.ask(&key, Method::POST, "/volumes", new("one")).await.json();
    let other: Value = r.ask(&key, Method::POST, "/volumes", new("two")).await.json();
    let id = volume["volumeID"].as_str().unwrap();
    let guessed = hearth_ids::VolumeId::new().to_string();
    let tokens = [None, Some(""), other["token"].as_str(), Some(key.as_str()), Some("x")];
    for (method, rest) in [
        (Method::GET, "path"),
        (Method::PATCH, "path"),
        (Method::DELETE, "path"),
        (Method::GET, "dir"),
        (Method::POST, "dir"),
        (Method::GET, "file"),
        (Method::PUT, "file"),
    ] {
        for (id, tokens) in [
            (id, &tokens[..]),
            (&guessed, &[volume["token"].as_str()]),
            ("..", &[None]),
        ] {
            for token in tokens {
                let mut request = asking(method.clone(), &format!("/volumecontent/{id}/{rest}?path=/a"), None);
                if let Some(token) = token {
                    let value = format!("Bearer {token}").parse().unwrap();
                    request.headers_mut().insert("authorization", value);
                }
                let answer = r.send(None, request).await;
                assert_eq!(code(&answer), 401, "{method} {rest} of {id} with {token:?}");
            }
        }
    }
}
