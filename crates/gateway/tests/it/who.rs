//! Who may call, and how often.

use hearth_domain::Traffic;
use http::Request;
use hyper::body::Incoming;

use crate::{
    client::{get, text},
    instance::{self, FakeInstance},
    world::{World, route},
};

#[tokio::test]
async fn keys_are_asked_for_and_never_passed_on() {
    let mut closed = route("closed");
    closed.function.public = false;
    let open = route("open");
    let (closed_id, open_id) = (closed.function.id, open.function.id);
    let world = World::new(vec![closed, open]).await;
    let instance = FakeInstance::serve(async |request: Request<Incoming>| {
        instance::text(format!("{:?}", request.headers().get("authorization")))
    })
    .await;
    world.register(closed_id, 1, instance.address).await;
    world.register(open_id, 1, instance.address).await;
    for (path, key, status) in [
        ("/fn/acme/closed", None, 401),
        ("/fn/acme/closed", Some("Bearer wrong"), 401),
        ("/fn/acme/closed", Some("Basic good"), 401),
        ("/fn/acme/closed", Some("Bearer other"), 403),
        ("/fn/acme/closed", Some("bearer good"), 200),
        ("/fn/acme/open", Some("Bearer wrong"), 200),
        ("/fn/acme/open?ours", Some("Bearer hth_0"), 200),
        ("/fn/acme/open?ours", Some("bearer  hth_"), 200),
    ] {
        let mut request = get(path);
        if let Some(key) = key {
            request.headers_mut().insert("authorization", key.parse().unwrap());
        }
        let response = world.client().send(request).await;
        assert_eq!(response.status(), status, "{path} {key:?}");
        assert_eq!(response.headers().contains_key("www-authenticate"), status == 401);
        if status == 200 {
            // A public function's authorization is the function's own affair.
            let passed_on = text(response).await != "None";
            assert_eq!(passed_on, path == "/fn/acme/open", "{path} {key:?}");
        }
    }
    assert_eq!(instance.requests(), 4);
}

#[tokio::test]
async fn a_project_beyond_its_rate_is_told_when_to_come_back() {
    let route = route("often");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |_| instance::text("ok")).await;
    world.register(function, 1, instance.address).await;
    *world.told.rate.lock().unwrap() = Some(1);
    assert_eq!(world.client().get("/fn/acme/often").await.0, 200);
    let response = world.client().send(get("/fn/acme/often")).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "2");
}

#[tokio::test]
async fn a_request_has_an_id_of_ours() {
    let route = route("id");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |request: Request<Incoming>| {
        instance::text(request.headers()["x-hearth-request-id"].to_str().unwrap().to_owned())
    })
    .await;
    world.register(function, 1, instance.address).await;
    let ours = hearth_ids::RequestId::new().to_string();
    for (given, kept) in [(ours.as_str(), true), ("evil", false)] {
        let mut request = get("/fn/acme/id");
        request
            .headers_mut()
            .insert("x-hearth-request-id", given.parse().unwrap());
        let response = world.client().send(request).await;
        let told = response.headers()["x-hearth-request-id"].to_str().unwrap().to_owned();
        assert_eq!(told == given, kept);
        assert_eq!(text(response).await, told);
    }
}

#[tokio::test]
async fn strangers_call_what_is_named_and_no_version_by_its_number() {
    let mut route = route("open");
    let facts = route.versions[&1];
    route.versions.insert(2, facts);
    route.live = Some(Traffic::all_to(2));
    route.aliases.insert("old".to_owned(), Traffic::all_to(1));
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |request: Request<Incoming>| {
        instance::text(format!("{:?}", request.headers().get("authorization")))
    })
    .await;
    world.register(function, 1, instance.address).await;
    world.register(function, 2, instance.address).await;
    for (path, key, status) in [
        ("/fn/acme/open", None, 200),
        ("/fn/acme/open:old", None, 200),
        ("/fn/acme/open:1", None, 401),
        ("/fn/acme/open:$LATEST", None, 401),
        ("/fn/acme/open:1", Some("Bearer wrong"), 401),
        ("/fn/acme/open:1", Some("Bearer other"), 403),
        ("/fn/acme/open:1", Some("Bearer good"), 200),
        ("/fn/acme/open:%24LATEST", Some("Bearer good"), 200),
    ] {
        let mut request = get(path);
        if let Some(key) = key {
            request.headers_mut().insert("authorization", key.parse().unwrap());
        }
        let response = world.client().send(request).await;
        assert_eq!(response.status(), status, "{path} {key:?}");
        if status == 200 {
            assert_eq!(text(response).await, "None");
        }
    }
    assert_eq!(instance.requests(), 4);
}

#[tokio::test]
async fn a_function_sees_the_host_that_led_to_it_and_no_header_of_ours_from_a_client() {
    let route = route("f");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |request: Request<Incoming>| {
        let names = request.headers().keys().map(ToString::to_string);
        let mut ours: Vec<_> = names.filter(|name| name.starts_with("x-hearth-")).collect();
        ours.sort();
        instance::text(format!("{:?} {ours:?}", request.headers()["host"]))
    })
    .await;
    world.register(function, 1, instance.address).await;
    let request = "GET http://user@f.acme.fn.localhost/x HTTP/1.1\r\nHost: evil\r\nX-Hearth-Attempt: 1\r\nx-hearth-anything: 1\r\nConnection: close\r\n\r\n";
    let answer = world.client().raw(request.as_bytes(), crate::world::LONG).await;
    let expected = r#""f.acme.fn.localhost" ["x-hearth-request-id"]"#;
    assert!(answer.ends_with(expected), "{answer}");
}
