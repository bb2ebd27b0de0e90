//! Sandboxes that go while they are used.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hearth_gateway::{Body, GatewayConfig};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use super::{h2, over_h2, own_address, post, soon, to, world};
use crate::{
    client::text,
    instance::{self, FakeInstance},
};

fn streamed(mut received: mpsc::Receiver<Bytes>) -> Body {
    let pieces = stream::poll_fn(move |cx| received.poll_recv(cx));
    Body::new(StreamBody::new(
        pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece))),
    ))
}

/// A program that answers once with what is put in; tells by the channel that it is cut off.
async fn program() -> (mpsc::Sender<Bytes>, FakeInstance) {
    let (pieces, received) = mpsc::channel(1);
    let received = Arc::new(Mutex::new(Some(received)));
    let program = FakeInstance::serve(move |_| {
        let received = received.lock().unwrap().take().unwrap();
        async move { Response::new(streamed(received)) }
    });
    (pieces, program.await)
}

#[tokio::test]
async fn a_stream_is_cut_on_both_sides_and_not_ended() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    for round in ["HTTP/1.1", "HTTP/2"] {
        let (pieces, program) = program().await;
        let id = house.enter(program.address, |_| ());
        let request = to(program.address, id, "/");
        let mut sender = h2(&world).await;
        let mut response = if round == "HTTP/2" {
            sender.send_request(over_h2(request)).await.unwrap()
        } else {
            world.client().send(request).await
        };
        pieces.send(Bytes::from("one")).await.unwrap();
        let piece = soon("a piece", response.frame()).await.unwrap().unwrap();
        assert_eq!(piece.into_data().unwrap(), "one");
        house.go(id);
        let end = soon("the cut", response.frame()).await;
        assert!(end.is_some_and(|end| end.is_err()), "{round}: it looks whole");
        soon("the program's end", pieces.closed()).await;
    }
}

/// Neither a length nor chunks tell of the end: the closed connection alone must not pass for it.
#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_cut_too() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (ended, end) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await.unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhalf").await.unwrap();
        let rest = stream.read(&mut buffer).await;
        ended.send(matches!(rest, Ok(0) | Err(_))).unwrap();
    });
    let id = house.enter(at, |_| ());
    let mut client = TcpStream::connect(world.address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nhost: {}-{id}.d\r\n\r\n", at.port());
    client.write_all(head.as_bytes()).await.unwrap();
    let mut came = Vec::new();
    soon("the first half", async {
        while !came.windows(4).any(|bytes| bytes == b"half") {
            assert!(client.read_buf(&mut came).await.unwrap() > 0);
        }
    })
    .await;
    house.go(id);
    // Closed, by a reset or not.
    let _ = soon("the cut", client.read_to_end(&mut came)).await;
    let came = String::from_utf8(came).unwrap();
    assert!(
        came.contains("transfer-encoding: chunked") && !came.contains("\r\n0\r\n"),
        "{came}"
    );
    assert!(soon("the sandbox's side", end).await.unwrap());
}

#[tokio::test]
async fn an_upload_is_cut() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let (came, mut comes) = mpsc::unbounded_channel();
    let program = FakeInstance::serve(move |request: Request<Incoming>| {
        let came = came.clone();
        async move {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                came.send(frame.is_ok()).unwrap();
            }
            instance::text("whole")
        }
    })
    .await;
    let id = house.enter(program.address, |_| ());
    let (pieces, received) = mpsc::channel(1);
    let (client, request) = (world.client(), post(program.address, id, "/", streamed(received)));
    let sending = tokio::spawn(async move { client.send(request).await });
    pieces.send(Bytes::from("one")).await.unwrap();
    assert_eq!(soon("the first piece", comes.recv()).await, Some(true));
    house.go(id);
    // Whoever waits for the head is told why there is none.
    let response = soon("the refusal", sending).await.unwrap();
    assert_eq!(response.status(), 502);
    assert!(text(response).await.contains("The sandbox was not found"));
    assert_ne!(soon("the cut", comes.recv()).await, Some(true));
    soon("the client's end", pieces.closed()).await;
}

#[tokio::test]
async fn an_upgraded_connection_is_cut() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let (ended, mut end) = mpsc::unbounded_channel();
    let program = FakeInstance::serve(move |mut request: Request<Incoming>| {
        let (upgrade, ended) = (hyper::upgrade::on(&mut request), ended.clone());
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            stream.write_all(b"hello").await.unwrap();
            let read = stream.read(&mut [0; 1]).await;
            ended.send(matches!(read, Ok(0) | Err(_))).unwrap();
        });
        let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let response = response.header("connection", "upgrade").header("upgrade", "x");
        async move { response.body(Body::empty()).unwrap() }
    })
    .await;
    let id = house.enter(program.address, |_| ());
    let mut wish = to(program.address, id, "/");
    wish.headers_mut().insert("connection", "upgrade".parse().unwrap());
    wish.headers_mut().insert("upgrade", "x".parse().unwrap());
    let response = world.client().send(wish).await;
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut hello = [0; 5];
    soon("hello", stream.read_exact(&mut hello)).await.unwrap();
    house.go(id);
    let read = soon("the cut", stream.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(0) | Err(_)));
    assert_eq!(soon("the sandbox's side", end.recv()).await, Some(true));
}

/// Its address may be another's already, so nothing is sent there.
#[tokio::test]
async fn nothing_is_sent_to_who_came_after() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let other = FakeInstance::serve(async |_| instance::text("another's")).await;
    let gone = CancellationToken::new();
    gone.cancel();
    let id = house.enter(other.address, |known| known.gone = gone);
    let response = world.client().send(to(other.address, id, "/")).await;
    assert_eq!(response.status(), 502);
    assert!(text(response).await.contains("The sandbox was not found"));
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
async fn connections_go_with_the_machine_that_they_led_to() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let listener = TcpListener::bind((own_address(), 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let (ended, mut end) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let ended = ended.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        .await
                        .unwrap();
                }
                ended.send(()).unwrap();
            });
        }
    });
    let id = house.enter(at, |_| ());
    let mut client = world.client().connect().await;
    for _ in 0..3 {
        client.ready().await.unwrap();
        let answer = soon("an answer", client.send_request(to(at, id, "/"))).await.unwrap();
        assert_eq!(text(answer).await, "ok");
    }
    assert!(end.try_recv().is_err(), "a connection was not kept");
    house.go(id);
    soon("the end of the idle connection", end.recv()).await.unwrap();
    let answer = soon("an answer", client.send_request(to(at, id, "/"))).await.unwrap();
    assert_eq!(text(answer).await, "ok");
}
