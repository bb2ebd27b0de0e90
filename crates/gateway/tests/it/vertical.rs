//! The two flows: a warm call and a cold one.

use hearth_coord::ProvisionQueue as _;
use hearth_gateway::{Body, CallOptions, Qualifier, Target};

use crate::{
    client::{get, request, text},
    doubles::until,
    instance::{self, FakeInstance},
    world::{World, route},
};

#[tokio::test]
async fn a_warm_call_is_passed_on_and_kept_on_one_connection() {
    let route = route("hello");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |request: http::Request<hyper::body::Incoming>| {
        let (parts, body) = request.into_parts();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        let seen = format!("{} {} {}", parts.method, parts.uri, String::from_utf8_lossy(&body));
        instance::text(seen)
    })
    .await;
    world.register(function, 1, instance.address).await;

    assert_eq!(world.client().get("/fn/acme/hello").await, (200, "GET / ".to_owned()));
    let answered = world.client().get("/fn/acme/hello/a?b=c").await;
    assert_eq!(answered, (200, "GET /a?b=c ".to_owned()));
    let response = world
        .client()
        .send(request("POST", &format!("/run/{function}/x"), "body"))
        .await;
    assert!(response.headers().contains_key("x-hearth-request-id"));
    assert_eq!(text(response).await, "POST /x body");
    assert_eq!(instance.load.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(world.queue.len().await.unwrap(), 0, "no other instance was wanted");

    let calls = until(&world.told.calls, |calls| calls.len() == 3).await;
    assert!(
        calls
            .iter()
            .all(|call| call.status == 200 && !call.cold && call.machine.is_some())
    );
}

#[tokio::test]
async fn a_cold_call_waits_for_its_instance() {
    let route = route("hello");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let client = world.client();
    let call = tokio::spawn(async move { client.get("/fn/acme/hello").await });
    let instance = FakeInstance::serve(async |_| instance::text("up")).await;
    let claim = world.provision(&instance).await;
    assert_eq!(claim.request.function_id, function);
    assert_eq!(claim.request.version, Some(1));
    assert_eq!(call.await.unwrap(), (200, "up".to_owned()));
    let calls = until(&world.told.calls, |calls| calls.len() == 1).await;
    assert!(calls[0].cold && !calls[0].queued.is_zero());
}

#[tokio::test]
async fn control_calls_by_the_same_pools() {
    let route = route("hello");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |_| instance::text("hi")).await;
    world.register(function, 1, instance.address).await;
    let target = Target {
        function,
        qualifier: Qualifier::Live,
    };
    let called = world
        .gateway
        .call(target, get("/x").map(|_: Body| Body::empty()), CallOptions::default());
    assert_eq!(called.await.unwrap().status(), 200);
    assert_eq!(instance.requests(), 1);
}
