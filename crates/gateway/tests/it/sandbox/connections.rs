//! Connections that are kept, and those that are stale.

use std::{convert::Infallible, net::SocketAddr, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures::stream;
use hearth_gateway::{Body, GatewayConfig};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::{post, soon, to, world};
use crate::{
    client::text,
    instance::{self, FakeInstance},
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_serves_again_and_one_sandbox_only() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let program = FakeInstance::serve(async |_| instance::text("ok")).await;
    let [one, two] = [(); 2].map(|()| house.enter(program.address, |_| ()));
    let mut client = world.client().connect().await;
    let connections = || program.load.connections.load(Ordering::SeqCst);
    for _ in 0..3 {
        client.ready().await.unwrap();
        let answer = client.send_request(to(program.address, one, "/")).await.unwrap();
        assert_eq!(text(answer).await, "ok");
    }
    assert_eq!(connections(), 1);
    client.ready().await.unwrap();
    let answer = client.send_request(to(program.address, two, "/")).await.unwrap();
    assert_eq!(text(answer).await, "ok");
    assert_eq!(connections(), 2);
}

#[tokio::test]
async fn idle_connections_are_closed_after_a_time() {
    let mut config = GatewayConfig::default();
    config.sandboxes.idle_timeout = Duration::from_millis(200);
    let (world, house) = world(config, Vec::new()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await.unwrap();
        stream.write_all(OK).await.unwrap();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
    });
    let id = house.enter(at, |_| ());
    assert_eq!(text(world.client().send(to(at, id, "/")).await).await, "ok");
    soon("the end of the idle connection", serving).await.unwrap();
}

/// A server that answers one request a connection, and closes that when it is asked a second time.
async fn once() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (told, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer_once(stream, told.clone()));
        }
    });
    (at, asked)
}

async fn answer_once(mut stream: TcpStream, told: mpsc::UnboundedSender<String>) {
    let mut buffer = [0; 1024];
    for answer in [OK, b""] {
        let read = stream.read(&mut buffer).await.unwrap();
        let line = String::from_utf8_lossy(&buffer[..read]);
        let line = line.lines().next().unwrap_or_default().to_owned();
        told.send(line).unwrap();
        stream.write_all(answer).await.unwrap();
    }
}

#[tokio::test]
async fn a_stale_connection_is_found_out_and_only_what_may_be_is_sent_twice() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let (at, mut asked) = once().await;
    let id = house.enter(at, |_| ());
    let mut client = world.client().connect().await;
    let mut send = async |request: Request<Body>| {
        client.ready().await.unwrap();
        let answer = soon("an answer", client.send_request(request)).await.unwrap();
        (answer.status().as_u16(), text(answer).await)
    };
    assert_eq!(send(to(at, id, "/1")).await, (200, "ok".to_owned()));
    // Asked twice: on the stale connection, and on a new one.
    assert_eq!(send(to(at, id, "/2")).await, (200, "ok".to_owned()));
    let (status, body) = send(post(at, id, "/3", Body::full("once"))).await;
    assert_eq!(status, 502);
    assert!(body.contains("closed the connection"), "{body}");
    assert_eq!(send(post(at, id, "/4", Body::full("once"))).await.0, 200);
    let mut lines = Vec::new();
    while let Ok(line) = asked.try_recv() {
        lines.push(line.replace(" HTTP/1.1", ""));
    }
    assert_eq!(lines, ["GET /1", "GET /2", "GET /2", "POST /3", "POST /4"]);
}

/// Servers that close after each answer, with or without a word.
#[tokio::test]
async fn who_closes_after_each_answer_is_asked_anew() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\n\r\nok",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let id = house.enter(at, |_| ());
        for _ in 0..5 {
            let request = post(at, id, "/", Body::empty());
            assert_eq!(text(world.client().send(request).await).await, "ok");
        }
        serving.abort();
    }
}

/// An answer that is whole before the request is: the connection is not used again before that.
#[tokio::test]
async fn a_connection_that_is_still_written_to_serves_nobody_else() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let program = FakeInstance::serve(async |request: Request<Incoming>| {
        let early = request.uri().path() == "/early";
        if early {
            tokio::spawn(http_body_util::BodyExt::collect(request.into_body()));
        }
        instance::text(if early { "early" } else { "other" })
    })
    .await;
    let id = house.enter(program.address, |_| ());
    let (pieces, mut received) = mpsc::channel::<Bytes>(1);
    let body = stream::poll_fn(move |cx| received.poll_recv(cx));
    let body = futures::StreamExt::map(body, |piece| Ok::<_, Infallible>(Frame::data(piece)));
    let body = Body::new(StreamBody::new(body));
    let response: Response<Incoming> = world.client().send(post(program.address, id, "/early", body)).await;
    assert_eq!(text(response).await, "early");
    for _ in 0..3 {
        let response = world.client().send(to(program.address, id, "/")).await;
        assert_eq!(text(response).await, "other");
    }
    drop(pieces);
}
