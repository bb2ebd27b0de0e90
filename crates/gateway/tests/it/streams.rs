//! Bodies and connections that stream.

use std::{convert::Infallible, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hearth_gateway::Body;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::timeout,
};

use crate::{
    client::{get, request, text},
    doubles::until,
    instance::{self, FakeInstance},
    world::{LONG, World, route},
};

fn streamed(bytes: impl futures::Stream<Item = Bytes> + Send + 'static) -> Body {
    Body::new(StreamBody::new(
        bytes.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes))),
    ))
}

#[tokio::test]
async fn events_come_one_by_one() {
    let route = route("sse");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let (events, received) = mpsc::channel::<Bytes>(1);
    let received = std::sync::Arc::new(std::sync::Mutex::new(Some(received)));
    let instance = FakeInstance::serve(move |_| {
        let mut received = received.lock().unwrap().take().unwrap();
        async move {
            let body = streamed(stream::poll_fn(move |cx| received.poll_recv(cx)));
            let response = Response::builder().header("content-type", "text/event-stream");
            response.body(body).unwrap()
        }
    })
    .await;
    world.register(function, 1, instance.address).await;
    let mut response = world.client().send(get("/fn/acme/sse")).await;
    for number in 0..3 {
        // The next is sent only when the one before has come through.
        let event = Bytes::from(format!("data: {number}\n\n"));
        events.send(event.clone()).await.unwrap();
        let frame = timeout(LONG, response.frame()).await.expect("an event is held back");
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), event);
    }
    drop(response);
    // The instance is told that nobody listens any more.
    timeout(LONG, events.closed())
        .await
        .expect("the instance sends to nobody");
    let calls = until(&world.told.calls, |calls| calls.len() == 1).await;
    assert_eq!(calls[0].error, Some(hearth_gateway::CallError::ClientGone));
}

/// Head and body may come apart or together, and the next request finds the connection either way.
#[tokio::test]
async fn a_connection_serves_again_however_its_answers_came() {
    let route = route("again");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |request: Request<Incoming>| {
        let pause = Duration::from_millis(match request.uri().path() {
            "/together" => return instance::text("whole"),
            "/apart" => 2,
            // Longer than the wait for the rest of the request.
            _ => 20,
        });
        let pieces = stream::iter(["wh", "ole"]).then(move |piece| async move {
            tokio::time::sleep(pause).await;
            Bytes::from_static(piece.as_bytes())
        });
        let response = streamed(pieces);
        if request.uri().path() == "/early" {
            // Answered before the request is read, which is done beside it.
            tokio::spawn(request.into_body().collect());
        }
        Response::new(response)
    })
    .await;
    world.register(function, 1, instance.address).await;
    let mut client = world.client().connect().await;
    for round in 0..4 {
        for path in ["/apart", "/together", "/early", "/apart", "/together"] {
            let pieces = stream::iter(0..3).then(|_| async {
                tokio::time::sleep(Duration::from_millis(3)).await;
                Bytes::from_static(b"piece")
            });
            let early = path == "/early";
            let body = if early { streamed(pieces) } else { Body::empty() };
            let request = Request::builder().uri(format!("/fn/acme/again{path}"));
            let request = request.method(if early { "POST" } else { "GET" });
            let request = request.header("host", "gateway").body(body).unwrap();
            client.ready().await.unwrap();
            let answer = timeout(LONG, client.send_request(request)).await;
            let answer = answer.unwrap_or_else(|_| panic!("no answer to {path} in round {round}"));
            assert_eq!(text(answer.unwrap()).await, "whole", "{path} in round {round}");
        }
    }
    assert_eq!(instance.load.connections.load(Ordering::SeqCst), 1);
    assert_eq!(instance.requests(), 20);
}

#[tokio::test]
async fn an_upgraded_connection_passes_bytes_both_ways() {
    let route = route("ws");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |mut request: Request<Incoming>| {
        assert_eq!(request.headers()["upgrade"], "websocket");
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut buffer = [0; 1024];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..read]).await.unwrap();
            }
        });
        let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let response = response.header("connection", "upgrade").header("upgrade", "websocket");
        response.body(Body::empty()).unwrap()
    })
    .await;
    world.register(function, 1, instance.address).await;
    let mut wish = get("/fn/acme/ws");
    wish.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    wish.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    let response = world.client().send(wish).await;
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["upgrade"], "websocket");
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    for word in ["hello", "again"] {
        stream.write_all(word.as_bytes()).await.unwrap();
        let mut answer = [0; 5];
        timeout(LONG, stream.read_exact(&mut answer))
            .await
            .expect("no echo")
            .unwrap();
        assert_eq!(answer, word.as_bytes());
    }
    drop(stream);
    let calls = until(&world.told.calls, |calls| calls.len() == 1).await;
    assert_eq!((calls[0].status, calls[0].bytes_in, calls[0].bytes_out), (101, 10, 10));
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_asked() {
    let route = route("wait");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |request: Request<Incoming>| {
        assert!(!request.headers().contains_key("expect"));
        let body = request.into_body().collect().await.unwrap().to_bytes();
        instance::text(String::from_utf8(body.to_vec()).unwrap())
    })
    .await;
    world.register(function, 1, instance.address).await;
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let head = "POST /fn/acme/wait HTTP/1.1\r\nhost: g\r\nexpect: 100-continue\r\ncontent-length: 5\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; 25];
    timeout(LONG, stream.read_exact(&mut asked))
        .await
        .expect("nobody asks")
        .unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    timeout(LONG, stream.read_to_string(&mut answer))
        .await
        .expect("no answer")
        .unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_beyond_the_bound_or_that_stands_still_is_refused() {
    let mut config = hearth_gateway::GatewayConfig::default();
    config.client.body_bytes = Some(10);
    config.client.body_idle = Duration::from_millis(200);
    let route = route("small");
    let function = route.function.id;
    let world = World::with(config, vec![route]).await;
    let instance = FakeInstance::serve(async |request: Request<Incoming>| {
        let whole = request.into_body().collect().await;
        instance::text(if whole.is_ok() { "whole" } else { "cut" })
    })
    .await;
    world.register(function, 1, instance.address).await;
    let path = "/fn/acme/small";
    let send = |body: Body| world.client().send(request("POST", path, "").map(|_| body));
    assert_eq!(send(Body::full("0123456789")).await.status(), 200);
    assert_eq!(send(Body::full("0123456789a")).await.status(), 413);
    let pieces = streamed(stream::repeat(Bytes::from_static(b"01234")).take(3));
    assert_eq!(send(pieces).await.status(), 413);
    let stuck = streamed(stream::iter([Bytes::from_static(b"01234")]).chain(stream::pending()));
    assert_eq!(send(stuck).await.status(), 408);
}
