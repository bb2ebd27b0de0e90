//! Clients that do not read: an instance's place is theirs no longer than a call's time.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hearth_gateway::{Body, GatewayConfig};
use http::Response;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    doubles::until,
    instance::{self, FakeInstance},
    world::{LONG, World, route},
};

/// A function with one place whose answer has no end, and at most so long a time.
async fn world(body_idle: Duration) -> (World, FakeInstance) {
    let mut route = route("endless");
    route.versions.get_mut(&1).unwrap().timeout_ms = 500;
    route.function.scale.max = 1;
    route.function.scale.concurrency = 1;
    let function = route.function.id;
    let mut config = GatewayConfig::default();
    config.client.body_idle = body_idle;
    let world = World::with(config, vec![route]).await;
    let instance = FakeInstance::serve(async |_| {
        let frames = stream::repeat(Bytes::from(vec![7; 64 * 1024]));
        let frames = frames.map(|data| Ok::<_, std::convert::Infallible>(Frame::data(data)));
        Response::new(Body::new(StreamBody::new(frames)))
    })
    .await;
    world.register(function, 1, instance.address).await;
    (world, instance)
}

/// The same function with a small answer.
async fn small_world(body_idle: Duration) -> (World, FakeInstance) {
    let route = route("endless");
    let function = route.function.id;
    let mut config = GatewayConfig::default();
    config.client.body_idle = body_idle;
    let world = World::with(config, vec![route]).await;
    let instance = FakeInstance::serve(async |_| instance::text("small")).await;
    world.register(function, 1, instance.address).await;
    (world, instance)
}

/// A connection of HTTP/2 that asks for `/` of the function and never lets the server send a byte of a body.
const NO_WINDOW: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\
    \x00\x00\x1e\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41\x19endless.acme.fn.localhost";

#[tokio::test]
async fn who_does_not_read_gives_up_the_place_when_the_time_is_over() {
    // Whether the connection itself is idle for too long is not what ends it here.
    let (world, _instance) = world(Duration::from_hours(1)).await;
    let plain = b"GET / HTTP/1.1\r\nhost: endless.acme.fn.localhost\r\n\r\n";
    let mut open = Vec::new();
    for (number, request) in [plain.as_slice(), NO_WINDOW].into_iter().enumerate() {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        open.push(stream);
        let calls = until(&world.told.calls, |calls| calls.len() > number).await;
        assert_eq!(calls[number].error.as_ref().unwrap().code(), "timeout");
    }
}

#[tokio::test]
async fn who_does_not_even_take_the_end_loses_the_connection() {
    let (world, _instance) = world(Duration::from_millis(300)).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(NO_WINDOW).await.unwrap();
    let ended = timeout(LONG, stream.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "the connection goes on");
}

#[tokio::test]
async fn answers_that_are_not_taken_keep_no_calls_out() {
    let mut route = route("endless");
    route.versions.get_mut(&1).unwrap().contract = hearth_domain::Contract::Lambda;
    let function = route.function.id;
    let mut config = GatewayConfig::default();
    config.client.held_bytes = 100 * 1024;
    let world = World::with(config, vec![route]).await;
    let instance = FakeInstance::serve(async |_| instance::text("7".repeat(60 * 1024))).await;
    world.register(function, 1, instance.address).await;
    let mut open = Vec::new();
    for number in 0..2 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(NO_WINDOW).await.unwrap();
        open.push(stream);
        until(&world.told.calls, |calls| calls.len() > number).await;
    }
    // An event takes room as well, but not that of answers.
    let event = crate::client::request("POST", "/fn/acme/endless", "e".repeat(50 * 1024));
    let response = world.client().send(event).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_small_answer_that_is_not_taken_is_not_held_for_ever() {
    let one_byte: &[u8] = b"\x00\x04\x00\x00\x00\x01";
    let window = NO_WINDOW
        .windows(6)
        .position(|bytes| bytes == b"\x00\x04\x00\x00\x00\x00");
    let window = window.unwrap();
    // Of the second a byte is sent, and the rest waits in the connection itself.
    let mut of_one_byte = NO_WINDOW.to_vec();
    of_one_byte[window..window + 6].copy_from_slice(one_byte);
    let (world, _instance) = small_world(Duration::from_millis(300)).await;
    for request in [NO_WINDOW, &of_one_byte] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut read = Vec::new();
        let ended = timeout(LONG, stream.read_to_end(&mut read)).await;
        assert!(ended.is_ok(), "the connection goes on");
        assert!(
            !read.windows(5).any(|bytes| bytes == b"small"),
            "it was sent without a window"
        );
    }
}
