//! Bodies that stream, both ways at once, and for long.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hearth_gateway::{Body, GatewayConfig};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};

use super::{h2, over_h2, post, soon, to, world};
use crate::{client::text, instance::FakeInstance};

const PIECE: usize = 64 * 1024;

fn frames(frames: impl futures::Stream<Item = Frame<Bytes>> + Send + 'static) -> Body {
    Body::new(StreamBody::new(frames.map(Ok::<_, Infallible>)))
}

/// A body, and where its pieces are put in.
fn piecewise() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, mut receiver) = mpsc::channel(1);
    let pieces = stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, frames(pieces.map(Frame::data)))
}

/// Gives back what it is given, piece by piece.
async fn echo() -> FakeInstance {
    FakeInstance::serve(async |request: Request<Incoming>| Response::new(Body::new(request.into_body()))).await
}

/// The next bytes, if any come.
async fn next(response: &mut Response<Incoming>) -> Option<Bytes> {
    loop {
        let frame = soon("a piece", response.frame()).await?;
        let piece = frame.unwrap().into_data().unwrap();
        // The last frame of HTTP/2 may be an empty one.
        if !piece.is_empty() {
            return Some(piece);
        }
    }
}

#[tokio::test]
async fn both_sides_speak_at_once() {
    let mut config = GatewayConfig::default();
    // Functions' bound on bodies that stand still is none here.
    config.client.body_idle = Duration::from_millis(100);
    let (world, house) = world(config, Vec::new()).await;
    let echo = echo().await;
    let id = house.enter(echo.address, |_| ());
    for round in ["HTTP/1.1", "HTTP/2"] {
        let (pieces, body) = piecewise();
        let request = post(echo.address, id, "/", body);
        // The answer begins though nothing of the request's body has come.
        let mut response = if round == "HTTP/2" {
            let mut sender = h2(&world).await;
            soon("head", sender.send_request(over_h2(request))).await.unwrap()
        } else {
            world.client().send(request).await
        };
        for piece in ["one", "two", "three"] {
            pieces.send(Bytes::from(piece)).await.unwrap();
            assert_eq!(next(&mut response).await.as_deref(), Some(piece.as_bytes()), "{round}");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        pieces.send(Bytes::from("after a while")).await.unwrap();
        assert_eq!(next(&mut response).await.unwrap(), "after a while", "{round}");
        drop(pieces);
        assert_eq!(next(&mut response).await, None, "{round}");
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let program = FakeInstance::serve(async |request: Request<Incoming>| {
        let came = request.into_body().collect().await.unwrap();
        let sum = came.trailers().unwrap()["x-sum"].clone();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", sum);
        let body = frames(stream::iter([Frame::data(came.to_bytes()), Frame::trailers(trailers)]));
        Response::builder().header("trailer", "x-sum").body(body).unwrap()
    })
    .await;
    let id = house.enter(program.address, |_| ());
    for round in ["HTTP/1.1", "HTTP/2"] {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "42".parse().unwrap());
        let body = frames(stream::iter([
            Frame::data(Bytes::from("data")),
            Frame::trailers(trailers),
        ]));
        let mut request = post(program.address, id, "/", body);
        request.headers_mut().insert("te", "trailers".parse().unwrap());
        request.headers_mut().insert("trailer", "x-sum".parse().unwrap());
        let response = if round == "HTTP/2" {
            h2(&world).await.send_request(over_h2(request)).await.unwrap()
        } else {
            world.client().send(request).await
        };
        let whole = soon("the end", response.collect()).await.unwrap();
        assert_eq!(whole.trailers().unwrap()["x-sum"], "42", "{round}");
        assert_eq!(whole.to_bytes(), "data", "{round}");
    }
}

#[tokio::test]
async fn who_does_not_read_holds_the_program_back() {
    const ALL: u64 = 1024;
    let mut config = GatewayConfig::default();
    // It may do so for longer than who calls a function.
    config.client.body_idle = Duration::from_millis(100);
    let (world, house) = world(config, Vec::new()).await;
    let told = Arc::new(AtomicU64::default());
    let counted = Arc::clone(&told);
    let program = FakeInstance::serve(move |_| {
        let counted = Arc::clone(&counted);
        let pieces = stream::iter(0..ALL).map(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Frame::data(vec![7; PIECE].into())
        });
        async move { Response::new(frames(pieces)) }
    })
    .await;
    let id = house.enter(program.address, |_| ());
    for round in ["HTTP/1.1", "HTTP/2"] {
        told.store(0, Ordering::SeqCst);
        let request = to(program.address, id, "/");
        let mut sender = h2(&world).await;
        let mut response = if round == "HTTP/2" {
            sender.send_request(over_h2(request)).await.unwrap()
        } else {
            world.client().send(request).await
        };
        // It has come to a stop when nothing more is told for a while.
        soon("a stop", async {
            let mut before = u64::MAX;
            while std::mem::replace(&mut before, told.load(Ordering::SeqCst)) != told.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        })
        .await;
        let held = told.load(Ordering::SeqCst);

        assert!(held < ALL / 2, "{round}: {held} of {ALL} pieces are held somewhere");
        let mut bytes = 0;
        while let Some(piece) = next(&mut response).await {
            bytes += piece.len() as u64;
        }
        assert_eq!(bytes, ALL * PIECE as u64, "{round}");
    }
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    const ALL: usize = 256;
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let echo = echo().await;
    let id = house.enter(echo.address, |_| ());
    let pieces =
        stream::iter(0..ALL).map(|number| Frame::data(vec![u8::try_from(number % 251).unwrap(); PIECE].into()));
    let mut response = world.client().send(post(echo.address, id, "/", frames(pieces))).await;
    let mut bytes = 0;
    while let Some(piece) = next(&mut response).await {
        let mut rest = piece.as_ref();
        while !rest.is_empty() {
            let (of_one, after) = rest.split_at(rest.len().min(PIECE - bytes % PIECE));
            let number = u8::try_from(bytes / PIECE % 251).unwrap();
            assert!(of_one.iter().all(|byte| *byte == number), "at {bytes}");
            bytes += of_one.len();
            rest = after;
        }
    }
    assert_eq!(bytes, ALL * PIECE);
}

#[tokio::test]
async fn a_program_is_told_that_nobody_listens_any_more() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let (pieces, body) = piecewise();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let program = FakeInstance::serve(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::new(body) }
    })
    .await;
    let id = house.enter(program.address, |_| ());
    let mut response = world.client().send(to(program.address, id, "/")).await;
    pieces.send(Bytes::from("one")).await.unwrap();
    assert_eq!(next(&mut response).await.unwrap(), "one");
    drop(response);
    soon("the end of the client", pieces.closed()).await;
}

/// The same before the answer has begun.
#[tokio::test]
async fn a_program_is_told_that_nobody_waits_any_more() {
    struct Told(mpsc::UnboundedSender<&'static str>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send("given up").unwrap();
        }
    }
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let (told, mut tells) = mpsc::unbounded_channel();
    let program = FakeInstance::serve(move |_| {
        let told = Told(told.clone());
        async move {
            told.0.send("asked").unwrap();
            std::future::pending().await
        }
    })
    .await;
    let id = house.enter(program.address, |_| ());
    for round in ["HTTP/1.1", "HTTP/2"] {
        let (client, mut sender) = (world.client(), h2(&world).await);
        let request = to(program.address, id, "/");
        let sending = tokio::spawn(async move {
            if round == "HTTP/2" {
                sender.send_request(over_h2(request)).await.map(drop)
            } else {
                client.connect().await.send_request(request).await.map(drop)
            }
        });
        assert_eq!(soon("the request", tells.recv()).await, Some("asked"), "{round}");
        sending.abort();
        assert_eq!(
            soon("the end of the client", tells.recv()).await,
            Some("given up"),
            "{round}"
        );
    }
}

#[tokio::test]
async fn an_upgraded_connection_passes_bytes_both_ways() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let program = FakeInstance::serve(async |mut request: Request<Incoming>| {
        assert_eq!(request.headers()["upgrade"], "websocket");
        assert_eq!(request.headers()["sec-websocket-key"], "key");
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
        response
            .header("sec-websocket-accept", "yes")
            .body(Body::empty())
            .unwrap()
    })
    .await;
    let id = house.enter(program.address, |_| ());
    let mut wish = to(program.address, id, "/ws");
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "key"),
    ] {
        wish.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = world.client().send(wish).await;
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-accept"], "yes");
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    for word in ["hello", "again"] {
        stream.write_all(word.as_bytes()).await.unwrap();
        let mut answer = [0; 5];
        soon("an echo", stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(answer, word.as_bytes());
    }
}

/// A program that does not want to upgrade answers as to any other request.
#[tokio::test]
async fn an_upgrade_may_be_declined() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let program = FakeInstance::serve(async |_| crate::instance::text("no")).await;
    let id = house.enter(program.address, |_| ());
    let mut wish = to(program.address, id, "/ws");
    wish.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    wish.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    let response = world.client().send(wish).await;
    assert_eq!(response.status(), 200);
    assert_eq!(text(response).await, "no");
}
