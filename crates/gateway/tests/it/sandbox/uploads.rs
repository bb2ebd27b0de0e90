//! Uploads that are answered before they are through.

use std::{convert::Infallible, io, net::SocketAddr};

use bytes::Bytes;
use futures::stream;
use hearth_gateway::{Body, GatewayConfig};
use http::StatusCode;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{post, soon, to, world};
use crate::client::text;

const PIECE: usize = 64 * 1024;
/// More than sockets hold on the way.
const PIECES: usize = 256;

/// A program that takes no upload, and says so without reading any. It closes as the agent does: not before its client has sent all.
async fn full() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(refuse(stream));
        }
    });
    address
}

async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    let mut head = vec![0; 4096];
    let _ = stream.read(&mut head).await?;
    let answer = "HTTP/1.1 507 Full\r\nConnection: close\r\nContent-Length: 4\r\n\r\nsaid";
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

fn upload() -> Body {
    let pieces = (0..PIECES).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; PIECE]))));
    Body::new(StreamBody::new(stream::iter(pieces)))
}

#[tokio::test]
async fn a_client_hears_why_and_its_connection_stays_whole() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let address = full().await;
    let id = house.enter(address, |_| ());
    let mut client = world.client().connect().await;
    for round in 0..5 {
        let response = soon("an answer", client.send_request(post(address, id, "/", upload()))).await;
        let response = response.unwrap_or_else(|error| panic!("{round}: {error:?}"));
        assert_eq!(response.status(), StatusCode::INSUFFICIENT_STORAGE, "{round}");
        assert_eq!(text(response).await, "said", "{round}");
        soon("the rest to be taken", client.ready()).await.unwrap();
        let response = soon("an answer", client.send_request(to(address, id, "/"))).await;
        assert_eq!(text(response.unwrap()).await, "said", "{round}");
    }
}

#[tokio::test]
async fn a_sandbox_that_is_not_there_takes_no_upload_and_the_client_hears_so() {
    let (world, _house) = world(GatewayConfig::default(), Vec::new()).await;
    let nobody = hearth_ids::SandboxId::new();
    let mut client = world.client().connect().await;
    for _ in 0..2 {
        let request = post("127.0.0.1:1".parse().unwrap(), nobody, "/", upload());
        let response = soon("an answer", client.send_request(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        response.into_body().collect().await.unwrap();
        soon("the rest to be taken", client.ready()).await.unwrap();
    }
}

#[tokio::test]
async fn who_sends_without_end_is_cut_off() {
    let (world, _house) = world(GatewayConfig::default(), Vec::new()).await;
    let pieces = stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; PIECE]))));
    let mut client = world.client().connect().await;
    let endless = Body::new(StreamBody::new(pieces));
    let request = post(
        "127.0.0.1:1".parse().unwrap(),
        hearth_ids::SandboxId::new(),
        "/",
        endless,
    );
    // It may hear why before that, or not.
    let _ = soon("an answer or an end", client.send_request(request)).await;
    soon("the end of the connection", async {
        while client.ready().await.is_ok() {}
    })
    .await;
}
