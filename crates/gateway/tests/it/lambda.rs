//! Functions of the Lambda contract.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hearth_domain::Contract;
use hearth_gateway::{Body, CallOptions, Qualifier, RetireReason, Route, Target};
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};

use crate::{
    client::{get, request, text, with_key},
    doubles::until,
    instance::{self, FakeInstance},
    world::{World, route},
};

fn lambda(name: &str) -> Route {
    let mut route = route(name);
    let facts = route.versions.get_mut(&1).unwrap();
    facts.contract = Contract::Lambda;
    facts.timeout_ms = 300;
    route
}

async fn body(request: Request<Incoming>) -> Value {
    let bytes = request.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn a_request_becomes_an_event_and_its_answer_a_response() {
    let route = lambda("Hello_1");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let seen = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&seen);
    let instance = FakeInstance::serve(move |request: Request<Incoming>| {
        let kept = Arc::clone(&kept);
        async move {
            assert_eq!(request.method(), "POST");
            assert_eq!(request.uri(), "/2015-03-31/functions/function/invocations");
            let headers = request.headers().clone();
            *kept.lock().unwrap() = Some((headers, body(request).await));
            let answer = json!({"statusCode": 418, "headers": {"x-a": "1"}, "cookies": ["c=1"], "body": "tea"});
            instance::text(answer.to_string())
        }
    })
    .await;
    world.register(function, 1, instance.address).await;
    let mut wish = with_key(request("POST", "/fn/acme/hello-1:1/a%20b?x=1&x=2", r#"{"a":1}"#));
    wish.headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    wish.headers_mut().insert("cookie", "k=v".parse().unwrap());
    let response = world.client().send(wish).await;
    assert_eq!(response.status(), 418);
    assert_eq!(response.headers()["x-a"], "1");
    assert_eq!(response.headers()["set-cookie"], "c=1");
    assert_eq!(text(response).await, "tea");

    let (headers, event) = seen.lock().unwrap().take().unwrap();
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:Hello_1:1";
    assert_eq!(headers["x-hearth-function-arn"], arn);
    assert_eq!(headers["x-hearth-function-version"], "1");
    assert!(headers.contains_key("x-hearth-request-id"));
    let deadline: u128 = headers["x-hearth-deadline-ms"].to_str().unwrap().parse().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!(deadline.abs_diff(now.as_millis()) < 60_000);
    assert_eq!(event["version"], "2.0");
    assert_eq!(event["rawPath"], "/a%20b");
    assert_eq!(event["rawQueryString"], "x=1&x=2");
    assert_eq!(event["queryStringParameters"], json!({"x": "1,2"}));
    assert_eq!(event["cookies"], json!(["k=v"]));
    assert_eq!(event["requestContext"]["http"]["method"], "POST");
    assert_eq!(event["requestContext"]["http"]["sourceIp"], "127.0.0.1");
    assert_eq!(event["body"], r#"{"a":1}"#);
    assert_eq!(event["isBase64Encoded"], false);
}

#[tokio::test]
async fn a_failed_program_is_502_outside_and_as_it_is_inside() {
    let route = lambda("fails");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |_| {
        let mut response = instance::text(r#"{"errorMessage":"no","errorType":"ValueError"}"#);
        let kind = "Unhandled".parse().unwrap();
        response.headers_mut().insert("x-amz-function-error", kind);
        response
    })
    .await;
    world.register(function, 1, instance.address).await;
    assert_eq!(
        world.client().get("/fn/acme/fails").await,
        (502, "the function failed\n".to_owned())
    );
    let target = Target {
        function,
        qualifier: Qualifier::Latest,
    };
    let options = CallOptions {
        raw_event: true,
        ..CallOptions::default()
    };
    let raw = world
        .gateway
        .call(target, request("POST", "/", "1"), options)
        .await
        .unwrap();
    assert_eq!(raw.status(), 200);
    assert_eq!(raw.headers()["x-amz-function-error"], "Unhandled");
    let whole = raw.into_body().collect().await.unwrap().to_bytes();
    assert!(whole.starts_with(b"{\"errorMessage\""));
}

#[tokio::test]
async fn an_instance_whose_program_is_late_is_retired() {
    let route = lambda("late");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |_| std::future::pending().await).await;
    let key = world.register(function, 1, instance.address).await;
    assert_eq!(world.client().get("/fn/acme/late").await.0, 504);
    let retired = until(&world.told.retired, |retired| !retired.is_empty()).await;
    assert_eq!(retired, [(key, RetireReason::TimedOut)]);
}

#[tokio::test]
async fn an_event_goes_on_without_its_caller_and_the_place_is_kept() {
    let mut route = lambda("on");
    route.versions.get_mut(&1).unwrap().timeout_ms = 10_000;
    route.function.scale.max = 1;
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let held = Arc::clone(&go);
    let instance = FakeInstance::serve(move |_| {
        let go = Arc::clone(&held);
        async move {
            go.acquire().await.unwrap().forget();
            instance::text("1")
        }
    })
    .await;
    world.register(function, 1, instance.address).await;
    let first = tokio::spawn(world.client().send(get("/fn/acme/on")));
    while instance.requests() == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    let second = tokio::spawn(world.client().send(get("/fn/acme/on")));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(instance.requests(), 1, "two events at a time");
    go.add_permits(2);
    assert_eq!(second.await.unwrap().status(), 200);
    assert_eq!(instance.load.most.load(std::sync::atomic::Ordering::SeqCst), 1);
    let calls = until(&world.told.calls, |calls| calls.len() == 2).await;
    assert_eq!(calls[0].status, 200, "it ended well, though nobody saw it");
}

#[tokio::test]
async fn a_streamed_answer_has_a_prelude() {
    let route = lambda("stream");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |_| {
        let pieces: [&[u8]; 4] = [
            br#"{"statusCode":201,"he"#,
            b"aders\":{\"x-a\":\"1\"}}\0\0\0\0",
            b"\0\0\0\0fir",
            b"st",
        ];
        let frames = pieces.map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(piece))));
        let response = Response::builder()
            .header("x-hearth-response-mode", "streaming")
            .header("content-type", "application/vnd.awslambda.http-integration-response");
        response.body(Body::new(StreamBody::new(stream::iter(frames)))).unwrap()
    })
    .await;
    world.register(function, 1, instance.address).await;
    let response = world.client().send(get("/fn/acme/stream")).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["x-a"], "1");
    assert_eq!(text(response).await, "first");
}

#[tokio::test]
async fn an_instance_whose_program_has_ended_gets_no_more_calls() {
    let route = lambda("ended");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |_| {
        let mut response = instance::text(r#"{"errorType":"Runtime.ExitError","errorMessage":"exit status 3"}"#);
        let unhandled = "Unhandled".parse().unwrap();
        response.headers_mut().insert("x-amz-function-error", unhandled);
        response
    })
    .await;
    let key = world.register(function, 1, instance.address).await;
    assert_eq!(world.client().get("/fn/acme/ended").await.0, 502);
    let retired = until(&world.told.retired, |retired| !retired.is_empty()).await;
    assert_eq!(retired, [(key, RetireReason::Ended)]);
}

#[tokio::test]
async fn an_answer_with_too_many_headers_is_not_valid() {
    let route = lambda("headers");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |_| {
        let headers: serde_json::Map<_, _> = (0..30_000).map(|n| (format!("x-{n}"), json!(""))).collect();
        instance::text(json!({"statusCode": 200, "headers": headers}).to_string())
    })
    .await;
    world.register(function, 1, instance.address).await;
    assert_eq!(world.client().get("/fn/acme/headers").await.0, 502);
}

#[tokio::test]
async fn a_prelude_in_many_pieces_is_read_once() {
    let mut route = lambda("pieces");
    route.versions.get_mut(&1).unwrap().timeout_ms = 15_000;
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |_| {
        let space = " ".repeat(60_000);
        let whole = format!("{{{space}\"statusCode\":201}}\0\0\0\0\0\0\0\0first");
        let pieces = stream::iter(whole.into_bytes()).map(|byte| Bytes::copy_from_slice(&[byte]));
        let frames = pieces.map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(piece)));
        let response = Response::builder()
            .header("x-hearth-response-mode", "streaming")
            .header("content-type", "application/vnd.awslambda.http-integration-response");
        response.body(Body::new(StreamBody::new(frames))).unwrap()
    })
    .await;
    world.register(function, 1, instance.address).await;
    let response = world.client().send(get("/fn/acme/pieces")).await;
    assert_eq!(response.status(), 201);
    assert_eq!(text(response).await, "first");
}
